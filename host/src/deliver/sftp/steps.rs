//! What an attempt did, line by line, for the record.
//!
//! It must not know what any of it means.

use std::fmt::Display;

use crate::clock::Stopwatch;

/// The most that is kept, in bytes; what would go beyond is left out and counted.
const MAX_BYTES: usize = 12 * 1024;

/// The steps of one attempt with their times.
#[derive(Debug)]
pub(super) struct Steps {
    since: Stopwatch,
    text: String,
    left_out: usize,
}

impl Steps {
    pub(super) fn new() -> Self {
        Self { since: Stopwatch::start(), text: String::new(), left_out: 0 }
    }

    /// Notes a step that has been made.
    pub(super) fn note(&mut self, step: impl Display) {
        if self.text.len() >= MAX_BYTES {
            self.left_out += 1;
            return;
        }
        let step = step.to_string().replace(|c: char| c.is_control() && c != '\t', " ");
        let step: String = step.chars().take(500).collect();
        self.text.push_str(&format!("{:8.3} s  {step}\n", self.since.elapsed().as_secs_f64()));
    }

    /// All of it.
    pub(super) fn into_text(mut self) -> String {
        if self.left_out > 0 {
            self.text.push_str(&format!("and {} more\n", self.left_out));
        }
        self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_stand_on_lines_of_their_own_and_are_bounded() {
        let mut steps = Steps::new();
        steps.note("one\r\ntwo");
        for _ in 0..1_000 {
            steps.note("x".repeat(600));
        }
        let text = steps.into_text();
        assert!(text.starts_with("   0.00") && text.contains(" s  one  two\n"), "{text}");
        assert!(text.len() < MAX_BYTES + 1_024 && text.contains("\nand 9"), "{}", text.len());
    }
}
