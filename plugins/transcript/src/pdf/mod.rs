//! A transcript as PDF: text that can be read, searched and copied, on pages with numbers.
//!
//! `shape` turns text into glyphs of the `font`, `lines` into lines, `pages` puts these on pages, and `file` writes the
//! objects of ISO 32000-1. The same transcript gives the same bytes: the only moment in it is the event's.

mod arabic;
mod file;
mod font;
mod lines;
mod pages;
mod shape;

use self::font::Font;
use self::pages::{Face, Pages};
use crate::options::Paper;
use crate::transcript::{Body, Transcript};

/// Why there is no PDF. None of these hangs on what people wrote.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PdfError {
    #[error("the embedded font cannot be read: {0}")]
    Font(ttf_parser::FaceParsingError),
    #[error("the embedded font cannot be reduced to what is used: {0}")]
    Subset(subsetter::Error),
}

const TITLE: Face = Face { size: 15.0, leading: 20.0, bold: true, grey: 0.0 };
const LABEL: Face = Face { size: 8.5, leading: 12.5, bold: false, grey: 0.4 };
const VALUE: Face = Face { size: 8.5, leading: 12.5, bold: false, grey: 0.0 };
const WHO: Face = Face { size: 8.5, leading: 13.0, bold: true, grey: 0.0 };
const WHEN: Face = Face { size: 7.5, leading: 13.0, bold: false, grey: 0.4 };
const TEXT: Face = Face { size: 9.5, leading: 13.5, bold: false, grey: 0.0 };
const REMARK: Face = Face { size: 9.5, leading: 13.5, bold: false, grey: 0.4 };
const NOTE: Face = Face { size: 7.5, leading: 10.5, bold: false, grey: 0.4 };

/// Where the values of facts begin, and how far messages are set in from the bar beside them.
const FACTS: f32 = 100.0;
const INDENT: f32 = 12.0;

/// The document.
///
/// # Errors
/// When the embedded font is not as it should be.
pub(crate) fn write(transcript: &Transcript, paper: Paper) -> Result<Vec<u8>, PdfError> {
    let mut font = Font::new()?;
    let mut pages = Pages::new(paper);
    pages.paragraph(&mut font, &transcript.title, 0.0, TITLE);
    pages.space(6.0);
    for (label, value) in &transcript.facts {
        pages.pair(&mut font, (label, LABEL), (value, VALUE), FACTS);
    }
    pages.space(4.0);
    pages.rule();
    for entry in &transcript.entries {
        pages.space(10.0);
        // The head stays with the first line of what it is about.
        pages.keep(WHO.leading + TEXT.leading);
        pages.open_bar(entry.side);
        pages.head(&mut font, (&entry.who, WHO), (&entry.when, WHEN), INDENT);
        let face = if matches!(entry.body, Body::Text(_)) { TEXT } else { REMARK };
        pages.paragraph(&mut font, entry.body.as_str(), INDENT, face);
        pages.close_bar();
    }
    pages.space(12.0);
    pages.rule();
    pages.space(4.0);
    pages.paragraph(&mut font, &transcript.origin, 0.0, NOTE);
    let pages = pages.finish(&mut font, &transcript.title, NOTE);
    file::write(pages, &font, &transcript.title, &transcript.received)
}
