//! What the demo's mailbox got: the files in a mail, found as a reader of mail finds them (RFC 2045, RFC 2183).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// The attachments of a message that are written as base64: their names and what they hold.
pub(super) fn attachments(message: &[u8]) -> Vec<(String, Vec<u8>)> {
    let text = String::from_utf8_lossy(message).replace("\r\n", "\n");
    // Parts begin behind a line with two hyphens and the boundary; that of a part around others holds none of its own.
    let parts = text.split("\n--").filter_map(|part| part.split_once("\n\n"));
    parts.filter_map(|(head, body)| Some((name(head)?, content(head, body)?))).collect()
}

/// The name in `Content-Disposition: attachment; filename="…"`.
fn name(head: &str) -> Option<String> {
    // A header may go on in the next line, behind a space.
    let head = head.replace("\n ", " ").replace("\n\t", " ");
    let disposition =
        head.lines().find(|line| line.to_ascii_lowercase().starts_with("content-disposition:"))?;
    let (_, name) = disposition.split_once("filename=")?;
    let name = match name.strip_prefix('"') {
        Some(quoted) => quoted.split('"').next()?,
        None => name.split(';').next()?.trim(),
    };
    disposition.contains("attachment").then(|| name.to_owned())
}

fn content(head: &str, body: &str) -> Option<Vec<u8>> {
    let head = head.to_ascii_lowercase();
    let packed: String = body.split_ascii_whitespace().collect();
    STANDARD.decode(packed).ok().filter(|_| head.contains("content-transfer-encoding: base64"))
}

#[cfg(test)]
mod tests {
    use lettre::message::{Attachment, MultiPart, SinglePart};

    use super::*;

    #[test]
    fn files_are_found_beside_texts() {
        let (pdf, png) = ("%PDF-1.7 é\n".repeat(500).into_bytes(), vec![0_u8, 255, 10, 13, 45, 45]);
        let attach = |name: &str, body: &[u8], kind: &str| {
            Attachment::new(name.to_owned()).body(body.to_vec(), kind.parse().unwrap())
        };
        let parts = MultiPart::mixed()
            .multipart(MultiPart::alternative_plain_html("text".to_owned(), "<p>text</p>".to_owned()))
            .singlepart(attach("CL 1_2.pdf", &pdf, "application/pdf"))
            .singlepart(attach("a.png", &png, "image/png"))
            .singlepart(SinglePart::plain("more".to_owned()));
        let mail = lettre::Message::builder()
            .from("a@x.example".parse().unwrap())
            .to("b@x.example".parse().unwrap())
            .multipart(parts)
            .unwrap();
        let expected = [("CL 1_2.pdf".to_owned(), pdf), ("a.png".to_owned(), png)];
        assert_eq!(attachments(&mail.formatted()), expected);
        assert_eq!(attachments(b"Subject: none\r\n\r\nnothing"), []);
    }
}
