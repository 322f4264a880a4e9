//! A transcript and its media as deliveries. It must not know what the transcript says.

use hookyard::{Content, Delivery};

use crate::media::Media;
use crate::options::{Options, Via};
use crate::transcript::Transcript;

/// A transcript in its format, with the names that it goes by.
pub(crate) struct Document {
    /// Its path with folders.
    pub(crate) path: String,
    /// One line.
    pub(crate) subject: String,
    pub(crate) content: Content,
}

/// What is sent to each of the destinations. Media never share a delivery with the transcript, which must not be lost when
/// one of them can no longer be fetched.
pub(crate) fn deliveries(
    options: &Options,
    transcript: &Transcript,
    document: &Document,
    media: &[Media],
) -> Vec<Delivery> {
    let mut list = Vec::new();
    for to in &options.to {
        match options.via {
            Via::Http => list.push(http(options, to, document)),
            Via::Sftp => {
                // First what expires.
                list.extend(media.iter().map(|file| {
                    Delivery::sftp(to, file.path.as_str()).content(Content::Fetch(file.url.clone()))
                }));
                list.push(Delivery::sftp(to, document.path.as_str()).content(document.content.clone()));
            }
            Via::Email => {
                list.extend(media_mail(to, transcript, document, media));
                let name = base(&document.path);
                let text = format!(
                    "{}\n\nThe transcript is attached as {name}.\n{}",
                    transcript.title,
                    summary(transcript)
                );
                let mail = Delivery::email(to).subject(document.subject.as_str()).text(text);
                list.push(
                    mail.attach(name, options.format.content_type(), document.content.clone()).delivery(),
                );
            }
        }
    }
    list
}

fn http(options: &Options, to: &str, document: &Document) -> Delivery {
    let request = Delivery::http(to);
    match &document.content {
        Content::Bytes(bytes) => request
            .header("content-disposition", disposition(base(&document.path)))
            .bytes(options.format.content_type(), bytes.clone()),
        _ => request.original(),
    }
}

/// One mail with all media, if there are any.
fn media_mail(to: &str, transcript: &Transcript, document: &Document, media: &[Media]) -> Option<Delivery> {
    let files = match media.len() {
        0 => return None,
        1 => "1 file of the customer is attached".to_owned(),
        n => format!("{n} files of the customer are attached"),
    };
    let mut mail = Delivery::email(to).subject(format!("{} (media)", document.subject)).text(format!(
        "{files}.\n\n{}\n{}",
        transcript.title,
        summary(transcript)
    ));
    for file in media {
        mail = mail.attach(file.name.as_str(), file.content_type, Content::Fetch(file.url.clone()));
    }
    Some(mail.delivery())
}

/// The facts, line by line.
fn summary(transcript: &Transcript) -> String {
    let mut text = String::new();
    for (label, value) in &transcript.facts {
        text.push_str(&format!("\n{label}: {value}"));
    }
    text.push('\n');
    text
}

fn base(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// The header that gives a file its name: in ASCII, and as it is by RFC 8187 where it is more than that.
fn disposition(name: &str) -> String {
    let ascii: String = name
        .chars()
        .map(|c| if (' '..='~').contains(&c) && !matches!(c, '"' | '\\') { c } else { '_' })
        .collect();
    let mut value = format!("attachment; filename=\"{ascii}\"");
    if ascii != name {
        value.push_str("; filename*=UTF-8''");
        for b in name.bytes() {
            match b {
                b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'-' | b'.' | b'_' | b'~' => {
                    value.push(char::from(b));
                }
                b => value.push_str(&format!("%{b:02X}")),
            }
        }
    }
    value
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_name_beyond_ascii_is_given_twice() {
        assert_eq!(
            super::disposition("a \"b\".pdf"),
            "attachment; filename=\"a _b_.pdf\"; filename*=UTF-8''a%20%22b%22.pdf"
        );
        assert_eq!(
            super::disposition("ł.pdf"),
            "attachment; filename=\"_.pdf\"; filename*=UTF-8''%C5%82.pdf"
        );
        assert_eq!(super::disposition("NB-1.pdf"), "attachment; filename=\"NB-1.pdf\"");
    }
}
