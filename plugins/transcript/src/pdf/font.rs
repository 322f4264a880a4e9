//! The font: which glyphs there are, how wide they are, and which of them the document uses. It must not know where on a
//! page they stand.

use std::collections::BTreeMap;

use subsetter::GlyphRemapper;
use ttf_parser::{Face, GlyphId};

use super::PdfError;

/// DejaVu Sans without the scripts that nobody writes messages in; `font/README.md` says how it was made.
const BYTES: &[u8] = include_bytes!("../../font/DejaVuSans-subset.ttf");

/// The font's name in the PDF. The tag before it says that it is a subset.
pub(super) const NAME: &str = "HKYARD+DejaVuSans";

/// Characters below this are found in a table.
const TABLE: usize = 0x530;

/// The font and what is used of it. A text is written as numbers, one for each distinct pair of a glyph and the text that it
/// stands for, so that what is copied out of the document is what went in.
pub(super) struct Font {
    face: Face<'static>,
    used: Vec<Used>,
    table: Vec<Option<u16>>,
    chars: BTreeMap<char, u16>,
    texts: BTreeMap<(u16, String), u16>,
}

/// What a number stands for.
pub(super) struct Used {
    pub(super) text: String,
    glyph: GlyphId,
    /// In units of the font.
    pub(super) advance: u16,
}

/// The part of the font that is used, as it is put into a document.
pub(super) struct Embedded {
    pub(super) bytes: Vec<u8>,
    /// For each number the glyph in `bytes`.
    pub(super) glyphs: Vec<u16>,
}

impl Font {
    /// # Errors
    /// When the embedded font cannot be read.
    pub(super) fn new() -> Result<Self, PdfError> {
        let face = Face::parse(BYTES, 0).map_err(PdfError::Font)?;
        // Number 0 is what a reader shows for a glyph that is missing, and never used.
        let missing = Used { text: String::new(), glyph: GlyphId(0), advance: 0 };
        let (chars, texts) = (BTreeMap::new(), BTreeMap::new());
        Ok(Self { face, used: vec![missing], table: vec![None; TABLE], chars, texts })
    }

    /// Units of the font in one em.
    pub(super) fn em(&self) -> f32 {
        f32::from(self.face.units_per_em())
    }

    /// Ascent, descent and the box around all glyphs, in units of the font.
    pub(super) fn metrics(&self) -> (i16, i16, ttf_parser::Rect) {
        (self.face.ascender(), self.face.descender(), self.face.global_bounding_box())
    }

    /// Whether there is a glyph for a character.
    pub(super) fn has(&self, c: char) -> bool {
        self.known(c).is_some() || self.face.glyph_index(c).is_some()
    }

    fn known(&self, c: char) -> Option<u16> {
        match self.table.get(c as usize) {
            Some(number) => *number,
            None => self.chars.get(&c).copied(),
        }
    }

    /// The number of a character; `None` when the font does not have it.
    pub(super) fn number(&mut self, c: char) -> Option<u16> {
        if let Some(number) = self.known(c) {
            return Some(number);
        }
        let glyph = self.face.glyph_index(c)?;
        let number = self.add(glyph, c.to_string(), self.width(glyph))?;
        match self.table.get_mut(c as usize) {
            Some(place) => *place = Some(number),
            None => {
                self.chars.insert(c, number);
            }
        }
        Some(number)
    }

    /// The number of the glyph of `shown` where it stands for `text`; `None` when the font does not have it.
    pub(super) fn number_for(&mut self, shown: char, text: &str) -> Option<u16> {
        let glyph = self.face.glyph_index(shown)?;
        let key = (glyph.0, text.to_owned());
        if let Some(number) = self.texts.get(&key) {
            return Some(*number);
        }
        let number = self.add(glyph, key.1.clone(), self.width(glyph))?;
        self.texts.insert(key, number);
        Some(number)
    }

    /// The number of a glyph that takes no room and shows nothing, and stands for `text`.
    pub(super) fn unseen(&mut self, text: &str) -> Option<u16> {
        let key = (u16::MAX, text.to_owned());
        if let Some(number) = self.texts.get(&key) {
            return Some(*number);
        }
        let number = self.add(self.face.glyph_index(' ')?, key.1.clone(), 0)?;
        self.texts.insert(key, number);
        Some(number)
    }

    fn width(&self, glyph: GlyphId) -> u16 {
        self.face.glyph_hor_advance(glyph).unwrap_or_default()
    }

    fn add(&mut self, glyph: GlyphId, text: String, advance: u16) -> Option<u16> {
        // There are far fewer pairs: a text is one character, or the few that a glyph of the font is composed of.
        let number = u16::try_from(self.used.len()).ok()?;
        self.used.push(Used { text, glyph, advance });
        Some(number)
    }

    /// How far a number moves, in units of the font.
    pub(super) fn advance(&self, number: u16) -> u32 {
        self.used.get(usize::from(number)).map_or(0, |used| u32::from(used.advance))
    }

    /// What each number stands for, from 0.
    pub(super) fn used(&self) -> &[Used] {
        &self.used
    }

    /// The font with the used glyphs alone.
    ///
    /// # Errors
    /// When the embedded font cannot be taken apart.
    pub(super) fn embedded(&self) -> Result<Embedded, PdfError> {
        let mut map = GlyphRemapper::new();
        let glyphs = self.used.iter().map(|used| map.remap(used.glyph.0)).collect();
        let bytes = subsetter::subset(BYTES, 0, &map).map_err(PdfError::Subset)?;
        Ok(Embedded { bytes, glyphs })
    }
}
