//! What was said on a connection, for the record of an attempt: without credentials, and without the message itself.

use std::fmt::Write;

/// The longest transcript, in bytes.
pub(super) const MAX_TRANSCRIPT: usize = 16 * 1024;
/// The longest line of it, in characters.
const MAX_LINE: usize = 512;
const CUT: &str = "* the rest is left out: it has more than 16 KiB\n";

/// A conversation: `> ` before what the host said, `< ` before what the server answered, `* ` before what else happened.
#[derive(Debug, Default)]
pub(super) struct Transcript {
    text: String,
    full: bool,
}

impl Transcript {
    /// What the host said, without the end of its line. Credentials are masked by who calls.
    pub(super) fn said(&mut self, line: &str) {
        self.push("> ", line);
    }

    /// One line of an answer.
    pub(super) fn heard(&mut self, line: &str) {
        self.push("< ", line);
    }

    /// What happened beside it.
    pub(super) fn note(&mut self, line: &str) {
        self.push("* ", line);
    }

    /// All of it; empty when nothing was said.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    fn push(&mut self, before: &str, line: &str) {
        if self.full {
            return;
        }
        let shown: String =
            line.chars().take(MAX_LINE).map(|c| if c.is_control() { ' ' } else { c }).collect();
        if self.text.len() + before.len() + shown.len() + 1 > MAX_TRANSCRIPT - CUT.len() {
            self.full = true;
            self.text.push_str(CUT);
            return;
        }
        // Writing to a text cannot fail.
        let _ = writeln!(self.text, "{before}{}", shown.trim_end());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_bounded_and_a_line_stays_a_line() {
        let mut transcript = Transcript::default();
        transcript.heard("250 a\r\n> QUIT\u{1b}[2J");
        assert_eq!(transcript.text(), "< 250 a  > QUIT [2J\n");
        for _ in 0..1_000 {
            transcript.said(&"x".repeat(2_000));
        }
        assert!(transcript.text().len() <= MAX_TRANSCRIPT, "{}", transcript.text().len());
        assert!(transcript.text().ends_with(CUT));
    }
}
