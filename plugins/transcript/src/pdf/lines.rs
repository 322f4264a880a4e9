//! From glyphs to lines that fit, each in the order in which it is drawn. It must not know pages.

use unicode_bidi::ParagraphBidiInfo;

use super::font::Font;
use super::shape::{self, Glyph};

/// A line in the order in which it is drawn, from left to right.
#[derive(Debug, Default)]
pub(super) struct Line {
    /// As the font numbers glyphs.
    pub(super) numbers: Vec<u16>,
    /// In units of the font.
    pub(super) width: u32,
    /// Whether its paragraph is written from right to left.
    pub(super) rtl: bool,
}

/// Pairs that look the other way when they are written from right to left.
const MIRRORED: [(char, char); 6] = [('(', ')'), ('[', ']'), ('{', '}'), ('<', '>'), ('«', '»'), ('‹', '›')];

/// The lines of a text, none wider than `most` units of the font unless a single glyph is. Words that are wider are cut.
pub(super) fn wrap(text: &str, font: &mut Font, most: u32) -> Vec<Line> {
    let mut lines = Vec::new();
    for paragraph in text.split('\n') {
        let text = shape::displayable(paragraph, font);
        let glyphs = shape::glyphs(&text, font);
        let bidi = text.chars().any(is_rtl).then(|| ParagraphBidiInfo::new(&text, None));
        let rtl = bidi.as_ref().is_some_and(|bidi| bidi.paragraph_level.is_rtl());
        let mut begin = 0;
        loop {
            let (end, next) = fit(&glyphs, begin, most);
            let line = &glyphs[begin..end];
            let width = line.iter().map(|glyph| glyph.advance).sum();
            let numbers = match &bidi {
                Some(bidi) if !line.is_empty() => {
                    let to = glyphs.get(end).map_or(text.len(), |glyph| glyph.at);
                    visual(line, to, bidi, font)
                }
                _ => line.iter().map(|glyph| glyph.number).collect(),
            };
            lines.push(Line { numbers, width, rtl });
            if next >= glyphs.len() {
                break;
            }
            begin = next;
        }
    }
    lines
}

/// Where the line that begins at `begin` ends, without the spaces there, and where the next begins.
fn fit(glyphs: &[Glyph], begin: usize, most: u32) -> (usize, usize) {
    let mut width = 0;
    let mut last_break = None;
    for (index, glyph) in glyphs.iter().enumerate().skip(begin) {
        width += glyph.advance;
        // A space at the end may hang over.
        if width > most && !glyph.is_space && index > begin {
            let mut next = last_break.unwrap_or(index);
            // A mark is not parted from its letter.
            while last_break.is_none() && next > begin + 1 && glyphs[next].is_mark {
                next -= 1;
            }
            return (trimmed(glyphs, begin, next), next);
        }
        if glyph.breaks {
            last_break = Some(index + 1);
        }
    }
    (trimmed(glyphs, begin, glyphs.len()), glyphs.len())
}

fn trimmed(glyphs: &[Glyph], begin: usize, end: usize) -> usize {
    glyphs[begin..end].iter().rposition(|glyph| !glyph.is_space).map_or(begin, |at| begin + at + 1)
}

/// A line whose text ends at the byte `to` in the order in which it is drawn, by Unicode's bidirectional algorithm (UAX 9).
fn visual(line: &[Glyph], to: usize, bidi: &ParagraphBidiInfo<'_>, font: &mut Font) -> Vec<u16> {
    let (levels, runs) = bidi.visual_runs(line[0].at..to);
    let mut numbers = Vec::with_capacity(line.len());
    for run in runs {
        let first = line.partition_point(|glyph| glyph.at < run.start);
        let end = line.partition_point(|glyph| glyph.at < run.end);
        if !levels.get(run.start).is_some_and(|level| level.is_rtl()) {
            numbers.extend(line[first..end].iter().map(|glyph| glyph.number));
            continue;
        }
        let mut end = end;
        while end > first {
            // Marks stay behind the glyph that they are drawn over.
            let letter =
                line[first..end].iter().rposition(|glyph| !glyph.is_mark).map_or(first, |at| first + at);
            for glyph in &line[letter..end] {
                numbers.push(mirrored(glyph, bidi.text, font));
            }
            end = letter;
        }
    }
    numbers
}

/// The glyph that looks the other way, where there is one. It stands for the same text.
fn mirrored(glyph: &Glyph, text: &str, font: &mut Font) -> u16 {
    let Some(c) = text[glyph.at..].chars().next() else { return glyph.number };
    let pair = MIRRORED.iter().find(|(open, close)| c == *open || c == *close);
    let other = pair.map(|(open, close)| if c == *open { *close } else { *open });
    other.and_then(|other| font.number_for(other, c.encode_utf8(&mut [0; 4]))).unwrap_or(glyph.number)
}

/// Whether a character is of a script that is written from right to left.
fn is_rtl(c: char) -> bool {
    matches!(c, '\u{590}'..='\u{8FF}' | '\u{FB1D}'..='\u{FDFF}' | '\u{FE70}'..='\u{FEFC}')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines as they are seen from left to right.
    fn seen(text: &str, most: u32) -> Vec<String> {
        let mut font = Font::new().unwrap();
        let lines = wrap(text, &mut font, most);
        let text = |number: &u16| font.used()[usize::from(*number)].text.clone();
        lines.iter().map(|line| line.numbers.iter().map(text).collect()).collect()
    }

    #[test]
    fn lines_break_at_spaces_and_long_words_are_cut_and_nothing_is_lost() {
        assert_eq!(seen("", 10_000), [""]);
        assert_eq!(seen("a\n\nb", 10_000), ["a", "", "b"]);
        // Of the font's 2048 units an `m` takes 1995.
        assert_eq!(seen("mm mm   mm", 10_000), ["mm mm", "mm"]);
        assert_eq!(seen("mmmmmmmm", 8_000), ["mmmm", "mmmm"]);
        assert_eq!(seen("mm-mmm", 8_000), ["mm-", "mmm"]);
        assert_eq!(seen("m", 1), ["m"], "a line holds at least a glyph");
        assert_eq!(seen("mmmx\u{35C}m", 7_200), ["mmmx\u{35C}", "m"], "a mark stays with its letter");
    }

    #[test]
    fn what_is_written_from_right_to_left_is_drawn_so() {
        assert_eq!(seen("שלום", 100_000), ["םולש"]);
        assert_eq!(seen("say שלום (now)", 100_000), ["say םולש (now)"]);
        assert_eq!(
            seen("שלום 123 (abc)", 100_000),
            [")abc( 123 םולש"],
            "brackets are drawn mirrored and stand for themselves"
        );
        // One glyph for two letters, each of which keeps its place.
        assert_eq!(seen("لا", 100_000), ["ال"]);
        // A vowel sign is drawn after its letter.
        assert_eq!(seen("שִב", 100_000), ["בשִ"]);
    }
}
