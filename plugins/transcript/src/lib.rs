//! Makes the transcript of a case as PDF, HTML, text or JSON, and delivers it by mail, SFTP or HTTP. The README lists the
//! settings.
//!
//! The way of an event: `case` finds the cases, `redact` leaves out what must not be seen, `transcript` says what there
//! is to show, `pdf`, `html` and `text` lay it out, and `send` makes deliveries of it.

mod case;
mod clean;
mod html;
mod media;
mod moment;
mod options;
mod pdf;
mod redact;
mod send;
mod text;
mod transcript;

use std::collections::BTreeSet;

use hookyard::template::Variables;
use hookyard::{Content, Event, Result, Verdict};

use crate::case::Case;
use crate::media::{ended, unique};
use crate::options::{Format, Options};
use crate::send::Document;
use crate::transcript::Transcript;

/// Delivers a transcript for each case of the event; drops what is not about a case.
#[hookyard::plugin]
fn handle(event: &Event) -> Result<Verdict> {
    let options = Options::read()?;
    let cases = case::of(event)?;
    if cases.is_empty() {
        return Ok(Verdict::drop("it is not about a case"));
    }
    let mut taken = BTreeSet::new();
    let mut deliveries = Vec::new();
    for mut case in cases {
        if options.redacted {
            redact::redact(&mut case.payload);
        }
        let variables = Variables::of(&case.payload, event.received_ms);
        let path = unique(file_path(&options, &case, &variables), &mut taken);
        let media = if options.media {
            media::of(&case, &options.media_name, &variables, &mut taken)
        } else {
            Vec::new()
        };
        let transcript = Transcript::of(&case, event, options.redacted, &media);
        let content = match options.format {
            Format::Pdf => Content::Bytes(pdf::write(&transcript, options.paper)?),
            Format::Html => html::write(&transcript).into(),
            Format::Text => text::write(&transcript).into(),
            Format::Json if case.untouched && !options.redacted => Content::Original,
            Format::Json => Content::json(&case.payload)?,
        };
        let document = Document { path, subject: options.subject.line(&case.payload, &variables), content };
        deliveries.extend(send::deliveries(&options, &transcript, &document, &media));
    }
    Ok(Verdict::deliver(deliveries))
}

/// Where the transcript goes below the destination's folder.
fn file_path(options: &Options, case: &Case, variables: &Variables) -> String {
    let mut path = options.file_name.path(&case.payload, variables);
    let extension = options.format.extension();
    if let Some((part, _)) = case.part {
        // Before the ending, if the template has it.
        let stem = path.strip_suffix(&format!(".{extension}")).unwrap_or(&path);
        path = format!("{stem}-part{part}");
    }
    ended(path, extension)
}

#[cfg(test)]
mod tests;
