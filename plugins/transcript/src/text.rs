//! A transcript as plain text in UTF-8. It must not know how it is sent.

use crate::transcript::Transcript;

/// Where lines are wrapped, in characters. A longer word, such as an address, stays whole.
const WIDTH: usize = 78;

/// What messages are set in by, so that no message can look like the head of another.
const INDENT: usize = 4;

/// The document: lines end with `\n`.
pub(crate) fn write(transcript: &Transcript) -> String {
    let mut out = String::new();
    wrap(&mut out, &transcript.title, 0);
    out.push_str(&"=".repeat(transcript.title.chars().count().min(WIDTH)));
    out.push_str("\n\n");
    let widest = transcript.facts.iter().map(|(label, _)| label.len()).max().unwrap_or_default();
    for (label, value) in &transcript.facts {
        out.push_str(&format!("{label:widest$}  "));
        let mut wrapped = String::new();
        wrap(&mut wrapped, value, widest + 2);
        out.push_str(wrapped.trim_start_matches(' '));
    }
    for entry in &transcript.entries {
        out.push_str(&format!("\n{}\n", "-".repeat(WIDTH)));
        let head =
            if entry.when.is_empty() { entry.who.clone() } else { format!("{}  {}", entry.when, entry.who) };
        wrap(&mut out, &head, 0);
        for line in entry.body.as_str().split('\n') {
            wrap(&mut out, line, INDENT);
        }
    }
    out.push_str(&format!("\n{}\n", "=".repeat(WIDTH)));
    wrap(&mut out, &transcript.origin, 0);
    out
}

/// Adds one line of text as lines of at most `WIDTH` characters, each set in by `indent`. Spaces within a line stay.
fn wrap(out: &mut String, text: &str, indent: usize) {
    let room = WIDTH - indent;
    let mut rest = text.trim_end();
    loop {
        let end = rest.char_indices().nth(room).map(|(at, _)| at);
        let line = match end {
            None => rest.len(),
            // The last space that still fits, or the end of the word that does not.
            Some(end) if rest[end..].starts_with(' ') => end,
            Some(end) => match rest[..end].rfind(' ') {
                Some(at) if !rest[..at].trim().is_empty() => at,
                _ => rest[end..].find(' ').map_or(rest.len(), |at| end + at),
            },
        };
        if line > 0 {
            out.push_str(&" ".repeat(indent));
            out.push_str(rest[..line].trim_end());
        }
        out.push('\n');
        rest = rest[line..].trim_start_matches(' ');
        if rest.is_empty() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrapped(text: &str, indent: usize) -> Vec<String> {
        let mut out = String::new();
        wrap(&mut out, text, indent);
        out.lines().map(str::to_owned).collect()
    }

    #[test]
    fn lines_are_wrapped_at_spaces_and_words_stay_whole() {
        assert_eq!(wrapped("", 4), [""]);
        assert_eq!(wrapped("  a  b", 4), ["      a  b"]);
        let long = format!("see https://{} now", "é".repeat(100));
        assert_eq!(wrapped(&long, 4), ["    see", &format!("    https://{}", "é".repeat(100)), "    now"]);
        let words = "ab ".repeat(60);
        let lines = wrapped(&words, 4);
        assert!(
            lines.iter().all(|line| line.chars().count() <= WIDTH && line.starts_with("    ab")),
            "{lines:?}"
        );
        assert_eq!(lines.iter().map(|line| line.split_whitespace().count()).sum::<usize>(), 60);
    }
}
