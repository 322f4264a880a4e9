//! Texts of people, fit to be shown: no control characters, and no line where there should be one word. It must not know
//! in which format they are shown.

/// What stands for a character that must not be shown.
const REPLACEMENT: char = '\u{FFFD}';

/// Lines of text: every form of line break is `\n`, a tab four spaces, any other control character is replaced visibly.
/// Blank lines at both ends are gone.
pub(crate) fn block(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\r' => {
                chars.next_if_eq(&'\n');
                clean.push('\n');
            }
            '\n' | '\u{B}' | '\u{C}' | '\u{85}' | '\u{2028}' | '\u{2029}' => clean.push('\n'),
            '\t' => clean.push_str("    "),
            c if c.is_control() => clean.push(REPLACEMENT),
            c => clean.push(c),
        }
    }
    clean.trim_matches(['\n', ' ']).to_owned()
}

/// One line: white space of any kind is one space. The marks that turn the direction of writing are gone, so that a name
/// cannot turn what stands beside it.
pub(crate) fn line(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            c if c.is_whitespace() => {
                if !clean.ends_with(' ') && !clean.is_empty() {
                    clean.push(' ');
                }
            }
            c if is_direction(c) => {}
            c if c.is_control() => clean.push(REPLACEMENT),
            c => clean.push(c),
        }
    }
    clean.truncate(clean.trim_end().len());
    clean
}

/// The marks of Unicode that change the direction of what follows.
pub(crate) fn is_direction(c: char) -> bool {
    matches!(c, '\u{61C}' | '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_text_is_replaced_and_lines_stay_lines() {
        assert_eq!(block("\n a\r\nb\rc\u{2028}d\te\u{1b}[31m\0\n\n"), "a\nb\nc\nd    e\u{FFFD}[31m\u{FFFD}");
        assert_eq!(line("  Tilda\r\n\u{202E}Marsh\u{7}\u{a0} "), "Tilda Marsh\u{FFFD}");
    }
}
