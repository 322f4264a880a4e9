//! From text to glyphs: what the font lacks is written as a code, accents that stand alone are put onto their letters, and
//! Arabic letters take the form of their place. It must not know how wide a line is.

use unicode_normalization::char::{compose, is_combining_mark};

use super::arabic;
use super::font::Font;
use crate::clean;

/// Emoji and signs that the font lacks: a line `1F44D thumbs up sign` for each, by number. Names are those of Unicode 14,
/// and those of CLDR for tones of skin.
const NAMES: &str = include_str!("../../font/names.txt");

/// A glyph with its place in the text.
#[derive(Debug, Clone, Copy)]
pub(super) struct Glyph {
    /// As the font numbers it.
    pub(super) number: u16,
    /// In units of the font.
    pub(super) advance: u32,
    /// Where its text begins, in bytes.
    pub(super) at: usize,
    pub(super) is_space: bool,
    /// Whether a line may end behind it.
    pub(super) breaks: bool,
    /// Whether it is drawn over the glyph before.
    pub(super) is_mark: bool,
}

/// The text with a code in brackets for what the font lacks, such as `[U+1F44D thumbs up sign]`, and without what takes no
/// room.
pub(super) fn displayable(text: &str, font: &Font) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_hidden(c) {
            continue;
        }
        if font.has(c) || arabic::is_joiner(c) {
            out.push(c);
            continue;
        }
        let number = c as u32;
        match name(number) {
            Some(name) => out.push_str(&format!("[U+{number:04X} {name}]")),
            None => out.push_str(&format!("[U+{number:04X}]")),
        }
    }
    out
}

/// Characters that say how others are shown, and marks that turn the direction of writing: what was written shall be read
/// in the order in which it was written.
fn is_hidden(c: char) -> bool {
    clean::is_direction(c)
        || matches!(c,
            '\u{AD}' | '\u{34F}' | '\u{115F}' | '\u{1160}' | '\u{17B4}' | '\u{17B5}' | '\u{180B}'..='\u{180F}' | '\u{200B}'
            | '\u{2060}'..='\u{2065}' | '\u{206A}'..='\u{206F}' | '\u{3164}' | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}' | '\u{FFA0}'
            | '\u{E0000}'..='\u{E0FFF}')
}

/// The name of an emoji, by halving.
fn name(number: u32) -> Option<&'static str> {
    let mut rest = NAMES;
    while !rest.is_empty() {
        // The text is ASCII; the middle is moved to the beginning of its line.
        let middle = rest[..rest.len() / 2].rfind('\n').map_or(0, |at| at + 1);
        let line = rest[middle..].split('\n').next()?;
        let (at, name) = line.split_once(' ')?;
        match u32::from_str_radix(at, 16).ok()?.cmp(&number) {
            std::cmp::Ordering::Equal => return Some(name),
            std::cmp::Ordering::Greater => rest = &rest[..middle],
            std::cmp::Ordering::Less => rest = rest.get(middle + line.len() + 1..)?,
        }
    }
    None
}

/// The glyphs of a displayable text, in the order in which it is read.
pub(super) fn glyphs(text: &str, font: &mut Font) -> Vec<Glyph> {
    let chars: Vec<(usize, char)> = text.char_indices().collect();
    let mut glyphs: Vec<Glyph> = Vec::with_capacity(chars.len());
    let mut next = 0;
    while let Some(&(at, c)) = chars.get(next) {
        let begin = next;
        next += 1;
        if arabic::is_joiner(c) {
            continue;
        }
        // Letters that the glyph before shows, too.
        let mut unseen = 0..0;
        let number = if c.is_ascii() && chars.get(next).is_none_or(|(_, c)| *c < '\u{300}') {
            font.number(c)
        } else if let Some((shown, len)) = arabic::shown(&chars, begin).filter(|(shown, _)| font.has(*shown))
        {
            next = begin + len;
            unseen = begin + 1..next;
            font.number_for(shown, slice(text, &chars, begin, begin + 1))
        } else {
            let mut composed = c;
            while let Some(both) = chars.get(next).and_then(|(_, mark)| compose(composed, *mark))
                && font.has(both)
            {
                composed = both;
                next += 1;
            }
            if next == begin + 1 {
                font.number(c)
            } else {
                font.number_for(composed, slice(text, &chars, begin, next))
            }
        };
        let number = number.unwrap_or_default();
        let after = chars.get(next).map(|(_, c)| *c);
        glyphs.push(Glyph {
            number,
            advance: font.advance(number),
            at,
            is_space: c == ' ',
            breaks: breaks(c, after),
            is_mark: !c.is_ascii() && is_combining_mark(c),
        });
        // A glyph of its own, so that each letter has its place whichever way a reader goes along the line.
        for (index, (at, _)) in chars.iter().enumerate().take(unseen.end).skip(unseen.start) {
            let number = font.unseen(slice(text, &chars, index, index + 1)).unwrap_or_default();
            glyphs.push(Glyph {
                number,
                advance: 0,
                at: *at,
                is_space: false,
                breaks: false,
                is_mark: false,
            });
        }
    }
    glyphs
}

fn slice<'a>(text: &'a str, chars: &[(usize, char)], begin: usize, end: usize) -> &'a str {
    let to = chars.get(end).map_or(text.len(), |(at, _)| *at);
    &text[chars[begin].0..to]
}

/// Whether a line may end between two characters: behind white space, hyphens and dashes, and the slashes of addresses.
fn breaks(c: char, after: Option<char>) -> bool {
    match c {
        '\u{A0}' | '\u{2007}' | '\u{202F}' | '\u{2011}' => false,
        '-' | '\u{2010}' | '\u{2012}'..='\u{2014}' | '/' => after.is_some_and(char::is_alphabetic),
        c => c.is_whitespace(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found_and_what_has_none_is_not() {
        let mut before = 0;
        for line in NAMES.lines() {
            let (at, expected) = line.split_once(' ').unwrap();
            let number = u32::from_str_radix(at, 16).unwrap();
            assert!(number > before, "{line} is in its order");
            before = number;
            assert_eq!(name(number), Some(expected));
        }
        for number in [0, 0x41, 0x231C, 0x10FFFF] {
            assert_eq!(name(number), None);
        }
    }

    #[test]
    fn what_the_font_lacks_is_written_as_a_code() {
        let font = Font::new().unwrap();
        for (text, shown) in [
            ("Zażółć Ελλάδα Привет Tiếng Việt €", "Zażółć Ελλάδα Привет Tiếng Việt €"),
            ("ok 👍🏽", "ok [U+1F44D thumbs up sign][U+1F3FD medium skin tone]"),
            ("👨\u{200D}👩\u{FE0F}", "[U+1F468 man]\u{200D}[U+1F469 woman]"),
            ("中\u{7}", "[U+4E2D][U+0007]"),
            ("a\u{202E}b\u{FEFF}\u{200B}", "ab"),
        ] {
            assert_eq!(displayable(text, &font), shown);
        }
    }

    #[test]
    fn accents_are_put_onto_their_letters_and_read_as_they_were_written() {
        let mut font = Font::new().unwrap();
        let glyphs = glyphs("e\u{323}\u{302}x", &mut font);
        let text = |glyph: &Glyph| font.used()[usize::from(glyph.number)].text.clone();
        assert_eq!(glyphs.iter().map(text).collect::<Vec<_>>(), ["e\u{323}\u{302}", "x"]);
        assert_eq!(glyphs[0].advance, font.number('ệ').map(|number| font.advance(number)).unwrap());
    }
}
