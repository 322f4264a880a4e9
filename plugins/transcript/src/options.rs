//! The settings of the subscription, checked. It must not know what is made of them.

use hookyard::settings::{self, SettingError};
use hookyard::template::{DEFAULT_FILE_NAME, Template};

/// What media files are called unless the setting `media-name` says otherwise.
const DEFAULT_MEDIA_NAME: &str = "${referenceId}_${partialId}_${message.id}";

/// The subject of mails unless the setting `subject` says otherwise.
const DEFAULT_SUBJECT: &str = "Transcript of ${referenceId}";

/// What the carrier wants.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) format: Format,
    pub(crate) via: Via,
    /// Names of destinations; at least one.
    pub(crate) to: Vec<String>,
    pub(crate) file_name: Template,
    pub(crate) media_name: Template,
    /// Of one line.
    pub(crate) subject: Template,
    pub(crate) redacted: bool,
    /// Whether the customer's media are sent, too.
    pub(crate) media: bool,
    pub(crate) paper: Paper,
}

/// What a transcript is written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Pdf,
    Html,
    Text,
    Json,
}

impl Format {
    /// Of the file, without its dot.
    pub(crate) fn extension(self) -> &'static str {
        match self {
            Self::Pdf => "pdf",
            Self::Html => "html",
            Self::Text => "txt",
            Self::Json => "json",
        }
    }

    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::Pdf => "application/pdf",
            Self::Html => "text/html; charset=utf-8",
            Self::Text => "text/plain; charset=utf-8",
            Self::Json => "application/json",
        }
    }
}

/// How it is sent: the kind of its destinations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Via {
    Email,
    Sftp,
    Http,
}

/// The pages of a PDF.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Paper {
    A4,
    Letter,
}

impl Options {
    /// Reads all settings, so that a mistake shows with the first event.
    ///
    /// # Errors
    /// When one is missing or not valid; the error names it and what it takes.
    pub(crate) fn read() -> Result<Self, SettingError> {
        let to = settings::required("to")?;
        let to: Vec<String> =
            to.split('|').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect();
        if to.is_empty() {
            return Err(settings::invalid("to", "it names no destination"));
        }
        let options = Self {
            format: one_of(
                "format",
                &[
                    ("pdf", Format::Pdf),
                    ("html", Format::Html),
                    ("text", Format::Text),
                    ("json", Format::Json),
                ],
            )?
            .unwrap_or(Format::Pdf),
            via: one_of("via", &[("email", Via::Email), ("sftp", Via::Sftp), ("http", Via::Http)])?
                .ok_or_else(|| settings::invalid("via", "it is missing: say email, sftp or http"))?,
            to,
            file_name: template("file-name", DEFAULT_FILE_NAME, Template::parse)?,
            media_name: template("media-name", DEFAULT_MEDIA_NAME, Template::parse)?,
            subject: template("subject", DEFAULT_SUBJECT, Template::parse_line)?,
            redacted: settings::parse::<bool>("redacted")?.unwrap_or_default(),
            media: one_of("media", &[("none", false), ("fetch", true)])?.unwrap_or_default(),
            paper: one_of("paper", &[("a4", Paper::A4), ("letter", Paper::Letter)])?.unwrap_or(Paper::A4),
        };
        if options.media && options.via == Via::Http {
            return Err(settings::invalid(
                "media",
                "files are fetched for email and sftp, and `via` is http",
            ));
        }
        Ok(options)
    }
}

/// A setting that takes one of a few words; `None` when it is not made.
fn one_of<T: Copy>(key: &str, words: &[(&str, T)]) -> Result<Option<T>, SettingError> {
    let Some(text) = settings::get(key) else { return Ok(None) };
    let found = words.iter().find(|(word, _)| text.trim().eq_ignore_ascii_case(word));
    found.map(|(_, value)| Some(*value)).ok_or_else(|| {
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        settings::invalid(key, format!("{text:?} is none of {}", known.join(", ")))
    })
}

fn template<E: std::fmt::Display>(
    key: &str,
    default: &str,
    parse: impl Fn(&str) -> Result<Template, E>,
) -> Result<Template, SettingError> {
    let text = settings::get(key);
    parse(text.as_deref().unwrap_or(default)).map_err(|error| settings::invalid(key, error))
}
