//! Arabic letters in the form of their place in the word, by Unicode's presentation forms, and lam with alef as one glyph. It
//! must not know fonts.

/// Letters, the first of their presentation forms, and how many these are: alone, at the end, and for letters that join
/// to what follows at the beginning and within.
const LETTERS: [(char, u32, u32); 49] = [
    ('\u{621}', 0xFE80, 1),
    ('\u{622}', 0xFE81, 2),
    ('\u{623}', 0xFE83, 2),
    ('\u{624}', 0xFE85, 2),
    ('\u{625}', 0xFE87, 2),
    ('\u{626}', 0xFE89, 4),
    ('\u{627}', 0xFE8D, 2),
    ('\u{628}', 0xFE8F, 4),
    ('\u{629}', 0xFE93, 2),
    ('\u{62A}', 0xFE95, 4),
    ('\u{62B}', 0xFE99, 4),
    ('\u{62C}', 0xFE9D, 4),
    ('\u{62D}', 0xFEA1, 4),
    ('\u{62E}', 0xFEA5, 4),
    ('\u{62F}', 0xFEA9, 2),
    ('\u{630}', 0xFEAB, 2),
    ('\u{631}', 0xFEAD, 2),
    ('\u{632}', 0xFEAF, 2),
    ('\u{633}', 0xFEB1, 4),
    ('\u{634}', 0xFEB5, 4),
    ('\u{635}', 0xFEB9, 4),
    ('\u{636}', 0xFEBD, 4),
    ('\u{637}', 0xFEC1, 4),
    ('\u{638}', 0xFEC5, 4),
    ('\u{639}', 0xFEC9, 4),
    ('\u{63A}', 0xFECD, 4),
    ('\u{641}', 0xFED1, 4),
    ('\u{642}', 0xFED5, 4),
    ('\u{643}', 0xFED9, 4),
    ('\u{644}', 0xFEDD, 4),
    ('\u{645}', 0xFEE1, 4),
    ('\u{646}', 0xFEE5, 4),
    ('\u{647}', 0xFEE9, 4),
    ('\u{648}', 0xFEED, 2),
    ('\u{649}', 0xFEEF, 2),
    ('\u{64A}', 0xFEF1, 4),
    // Of Persian and Urdu.
    ('\u{679}', 0xFB66, 4),
    ('\u{67E}', 0xFB56, 4),
    ('\u{686}', 0xFB7A, 4),
    ('\u{688}', 0xFB88, 2),
    ('\u{691}', 0xFB8C, 2),
    ('\u{698}', 0xFB8A, 2),
    ('\u{6A9}', 0xFB8E, 4),
    ('\u{6AF}', 0xFB92, 4),
    ('\u{6BA}', 0xFB9E, 2),
    ('\u{6BE}', 0xFBAA, 4),
    ('\u{6C1}', 0xFBA6, 4),
    ('\u{6CC}', 0xFBFC, 4),
    ('\u{6D2}', 0xFBAE, 2),
];

/// Alefs that make one glyph with a lam before them, and the first of its two forms: alone and at the end.
const LAM_ALEF: [(char, u32); 4] =
    [('\u{622}', 0xFEF5), ('\u{623}', 0xFEF7), ('\u{625}', 0xFEF9), ('\u{627}', 0xFEFB)];

const LAM: char = '\u{644}';

/// Lengthens the line between letters and so joins them.
const TATWEEL: char = '\u{640}';

/// Whether a character takes no room and says whether its neighbours are joined.
pub(super) fn is_joiner(c: char) -> bool {
    matches!(c, '\u{200C}' | '\u{200D}')
}

/// What is shown for the letter at `index`, and for how many characters it stands; `None` when it is shown as it is.
pub(super) fn shown(chars: &[(usize, char)], index: usize) -> Option<(char, usize)> {
    let (_, c) = *chars.get(index)?;
    let (first, forms) = letter(c)?;
    let joins_before = neighbour(chars[..index].iter().rev()).is_some_and(joins_to_next);
    if c == LAM
        && let Some((_, alef)) = chars.get(index + 1)
        && let Some((_, first)) = LAM_ALEF.iter().find(|(known, _)| known == alef)
    {
        return Some((char::from_u32(first + u32::from(joins_before))?, 2));
    }
    let joins_after = forms == 4 && neighbour(chars[index + 1..].iter()).is_some_and(joins_to_previous);
    let form = match (joins_before && forms > 1, joins_after) {
        (false, false) => 0,
        (true, false) => 1,
        (false, true) => 2,
        (true, true) => 3,
    };
    Some((char::from_u32(first + form)?, 1))
}

fn letter(c: char) -> Option<(u32, u32)> {
    let at = LETTERS.binary_search_by_key(&c, |(letter, ..)| *letter).ok()?;
    Some((LETTERS[at].1, LETTERS[at].2))
}

/// The next character that is no vowel sign.
fn neighbour<'a>(mut chars: impl Iterator<Item = &'a (usize, char)>) -> Option<char> {
    chars
        .find(|(_, c)| !matches!(c, '\u{64B}'..='\u{65F}' | '\u{670}' | '\u{6D6}'..='\u{6DC}'))
        .map(|(_, c)| *c)
}

fn joins_to_next(c: char) -> bool {
    matches!(c, TATWEEL | '\u{200D}') || letter(c).is_some_and(|(_, forms)| forms == 4)
}

fn joins_to_previous(c: char) -> bool {
    matches!(c, TATWEEL | '\u{200D}') || letter(c).is_some_and(|(_, forms)| forms > 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forms(text: &str) -> Vec<u32> {
        let chars: Vec<(usize, char)> = text.char_indices().collect();
        let mut forms = Vec::new();
        let mut at = 0;
        while at < chars.len() {
            let (c, len) = shown(&chars, at).unwrap_or((chars[at].1, 1));
            forms.push(u32::from(c));
            at += len;
        }
        forms
    }

    #[test]
    fn letters_take_the_form_of_their_place() {
        assert!(LETTERS.is_sorted_by_key(|(letter, ..)| *letter));
        // Marhaban, with an alef that does not join to what follows.
        assert_eq!(forms("مرحبا"), [0xFEE3, 0xFEAE, 0xFEA3, 0xFE92, 0xFE8E]);
        // Salam: lam and alef are one glyph.
        assert_eq!(forms("سلام"), [0xFEB3, 0xFEFC, 0xFEE1]);
        // A vowel sign is passed over; a non-joiner is not.
        assert_eq!(forms("بَب"), [0xFE91, 0x64E, 0xFE90]);
        assert_eq!(forms("ب\u{200C}ب"), [0xFE8F, 0x200C, 0xFE8F]);
        assert_eq!(forms("abc"), [0x61, 0x62, 0x63]);
    }
}
