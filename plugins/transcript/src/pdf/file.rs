//! The objects of a PDF file: pages, the font with what its numbers stand for, and the title. It must not know how the
//! pages came about.

use miniz_oxide::deflate::core::{
    CompressorOxide, TDEFLFlush, TDEFLStatus, compress_to_output, create_comp_flags_from_zip_params,
};
use pdf_writer::types::{CidFontType, FontFlags, SystemInfo, UnicodeCmap};
use pdf_writer::{Date, Filter, Finish, Name, Pdf, Rect, Ref, Str, TextStr};

use super::PdfError;
use super::font::{self, Font};
use super::pages::{FONT, Finished};

const CATALOG: Ref = Ref::new(1);
const TREE: Ref = Ref::new(2);
const INFO: Ref = Ref::new(3);
const TYPE0: Ref = Ref::new(4);
const CID_FONT: Ref = Ref::new(5);
const DESCRIPTOR: Ref = Ref::new(6);
const FONT_FILE: Ref = Ref::new(7);
const TO_UNICODE: Ref = Ref::new(8);
const GLYPHS: Ref = Ref::new(9);
const FIRST_PAGE: i32 = 10;

/// Speed before size: half as long again buys a few percent.
const LEVEL: i32 = 4;

/// `Identity` in the words of the standard: numbers are two bytes and stand for themselves.
const IDENTITY: SystemInfo<'_> =
    SystemInfo { registry: Str(b"Adobe"), ordering: Str(b"Identity"), supplement: 0 };
const UCS: SystemInfo<'_> = SystemInfo { registry: Str(b"Adobe"), ordering: Str(b"UCS"), supplement: 0 };

/// The file. `created` is a moment of RFC 3339 in UTC.
///
/// # Errors
/// When the font cannot be reduced to what is used of it.
pub(super) fn write(pages: Finished, font: &Font, title: &str, created: &str) -> Result<Vec<u8>, PdfError> {
    let mut pdf = Pdf::new();
    let mut deflate = Deflate::new();
    let mut catalog = pdf.catalog(CATALOG);
    catalog.pages(TREE).lang(TextStr("en"));
    catalog.viewer_preferences().display_doc_title(true);
    catalog.finish();
    let mut info = pdf.document_info(INFO);
    info.title(TextStr(title)).creator(TextStr("Hookyard transcript"));
    if let Some(date) = date(created) {
        info.creation_date(date);
    }
    info.finish();

    let id = |index: usize| Ref::new(FIRST_PAGE + 2 * i32::try_from(index).unwrap_or(i32::MAX / 4));
    let count = pages.contents.len();
    let kids = (0..count).map(id);
    pdf.pages(TREE)
        .kids(kids)
        .count(i32::try_from(count).unwrap_or(i32::MAX))
        .media_box(Rect::new(0.0, 0.0, pages.width, pages.height))
        .resources()
        .fonts()
        .pair(FONT, TYPE0);
    for (index, content) in pages.contents.into_iter().enumerate() {
        let contents = id(index).next();
        pdf.page(id(index)).parent(TREE).contents(contents);
        stream(&mut pdf, contents, &content, &mut deflate, None);
    }
    write_font(&mut pdf, font, &mut deflate)?;
    Ok(pdf.finish())
}

fn write_font(pdf: &mut Pdf, font: &Font, deflate: &mut Deflate) -> Result<(), PdfError> {
    let name = Name(font::NAME.as_bytes());
    let em = font.em();
    let (ascent, descent, bounds) = font.metrics();
    let scaled = |units: i16| f32::from(units) * 1000.0 / em;

    pdf.type0_font(TYPE0)
        .base_font(name)
        .encoding_predefined(Name(b"Identity-H"))
        .descendant_font(CID_FONT)
        .to_unicode(TO_UNICODE);
    let mut cid_font = pdf.cid_font(CID_FONT);
    cid_font.subtype(CidFontType::Type2).base_font(name).system_info(IDENTITY).font_descriptor(DESCRIPTOR);
    cid_font.default_width(0.0).cid_to_gid_map_stream(GLYPHS);
    cid_font.widths().consecutive(0, font.used().iter().map(|used| f32::from(used.advance) * 1000.0 / em));
    cid_font.finish();
    pdf.font_descriptor(DESCRIPTOR)
        .name(name)
        .flags(FontFlags::SYMBOLIC)
        .bbox(Rect::new(
            scaled(bounds.x_min),
            scaled(bounds.y_min),
            scaled(bounds.x_max),
            scaled(bounds.y_max),
        ))
        .italic_angle(0.0)
        .ascent(scaled(ascent))
        .descent(scaled(descent))
        .cap_height(729.0)
        .stem_v(90.0)
        .font_file2(FONT_FILE);

    let embedded = font.embedded()?;
    let length = i32::try_from(embedded.bytes.len()).ok();
    stream(pdf, FONT_FILE, &embedded.bytes, deflate, length);
    let glyphs: Vec<u8> = embedded.glyphs.iter().flat_map(|glyph| glyph.to_be_bytes()).collect();
    stream(pdf, GLYPHS, &glyphs, deflate, None);
    let mut texts = UnicodeCmap::new(Name(b"Hookyard"), UCS);
    for (number, used) in (0_u16..).zip(font.used()).skip(1) {
        texts.pair_with_multiple(number, used.text.chars());
    }
    stream(pdf, TO_UNICODE, &texts.finish(), deflate, None);
    Ok(())
}

/// A stream, compressed; a font's says how long it is without.
fn stream(pdf: &mut Pdf, id: Ref, bytes: &[u8], deflate: &mut Deflate, length: Option<i32>) {
    let small = deflate.compress(bytes);
    let mut stream = pdf.stream(id, small.as_deref().unwrap_or(bytes));
    if small.is_some() {
        stream.filter(Filter::FlateDecode);
    }
    if let Some(length) = length {
        stream.pair(Name(b"Length1"), length);
    }
}

fn date(text: &str) -> Option<Date> {
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<u8>().ok();
    let date = Date::new(text.get(..4)?.parse().ok()?).month(number(5, 7)?).day(number(8, 10)?);
    Some(date.hour(number(11, 13)?).minute(number(14, 16)?).second(number(17, 19)?).utc_offset_hour(0))
}

/// A compressor that is used again: its tables are far larger than a page.
struct Deflate(CompressorOxide);

impl Deflate {
    fn new() -> Self {
        // A window of 2^15 bytes with zlib's head, as FlateDecode has it.
        Self(CompressorOxide::new(create_comp_flags_from_zip_params(LEVEL, 15, 0)))
    }

    /// `None` when it fails, which would be a fault of the library: the bytes can stand as they are.
    fn compress(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        self.0.reset();
        let mut out = Vec::with_capacity(bytes.len() / 2 + 16);
        let (status, _) = compress_to_output(&mut self.0, bytes, TDEFLFlush::Finish, |some| {
            out.extend_from_slice(some);
            true
        });
        (status == TDEFLStatus::Done).then_some(out)
    }
}
