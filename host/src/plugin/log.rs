//! What a guest says: its log, stdout and stderr, bounded in lines and bytes.
//!
//! It must not know who reads it.

use super::outcome::LogLevel;

/// Bytes of stderr that are remembered for the message of a panic, whatever the log's limits dropped.
const TAIL: usize = 2 << 10;

/// Bytes of one line; a longer one is cut.
const LINE: usize = 4 << 10;

/// The log of one call.
#[derive(Debug, Default)]
pub(super) struct Log {
    pub(super) lines: Vec<(LogLevel, String)>,
    /// Lines that found no room.
    pub(super) dropped: u32,
    lines_left: u32,
    bytes_left: usize,
    out: Vec<u8>,
    err: Vec<u8>,
    tail: Vec<u8>,
}

/// The two streams of a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stream {
    Out,
    Err,
}

impl Log {
    pub(super) fn new(lines: u32, bytes: u32) -> Self {
        Self { lines_left: lines, bytes_left: bytes as usize, ..Self::default() }
    }

    /// Takes a line, or counts it as dropped.
    pub(super) fn line(&mut self, level: LogLevel, message: &str) {
        let message = cut(message, LINE);
        if self.lines_left == 0 || message.len() > self.bytes_left {
            self.dropped = self.dropped.saturating_add(1);
            return;
        }
        self.lines_left -= 1;
        self.bytes_left -= message.len();
        self.lines.push((level, message.to_owned()));
    }

    /// Takes bytes of a stream; each line end makes a line.
    pub(super) fn write(&mut self, stream: Stream, bytes: &[u8]) {
        if stream == Stream::Err {
            self.tail.extend_from_slice(&bytes[bytes.len().saturating_sub(TAIL)..]);
            let surplus = self.tail.len().saturating_sub(TAIL);
            self.tail.drain(..surplus);
        }
        for part in bytes.split_inclusive(|b| *b == b'\n') {
            let (text, ended) = part.strip_suffix(b"\n").map_or((part, false), |text| (text, true));
            let partial = self.partial(stream);
            let room = LINE - partial.len().min(LINE);
            partial.extend_from_slice(&text[..text.len().min(room)]);
            if ended {
                self.flush(stream);
            }
        }
    }

    /// Turns what stands in a stream without a line end into a line.
    pub(super) fn finish(&mut self) {
        for stream in [Stream::Out, Stream::Err] {
            if !self.partial(stream).is_empty() {
                self.flush(stream);
            }
        }
    }

    /// The message of the panic that stderr ends with, without the note on backtraces.
    pub(super) fn panic(&self) -> Option<String> {
        let text = String::from_utf8_lossy(&self.tail);
        let start = text.rfind("panicked at ").or_else(|| text.rfind("memory allocation of "))?;
        let text = text[start..].split("\nnote: ").next().unwrap_or_default();
        Some(text.trim().to_owned())
    }

    fn partial(&mut self, stream: Stream) -> &mut Vec<u8> {
        match stream {
            Stream::Out => &mut self.out,
            Stream::Err => &mut self.err,
        }
    }

    fn flush(&mut self, stream: Stream) {
        let bytes = std::mem::take(self.partial(stream));
        let level = if stream == Stream::Out { LogLevel::Info } else { LogLevel::Warn };
        if !bytes.is_empty() {
            self.line(level, &String::from_utf8_lossy(&bytes));
        }
    }
}

/// The text up to `max` bytes, never within a character.
pub(super) fn cut(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(log: &Log) -> Vec<&str> {
        log.lines.iter().map(|(_, text)| text.as_str()).collect()
    }

    #[test]
    fn streams_become_lines_and_a_last_one_without_an_end_counts() {
        let mut log = Log::new(10, 100);
        log.write(Stream::Out, b"one\ntw");
        log.write(Stream::Err, b"bad");
        log.write(Stream::Out, b"o\n\nthree");
        log.finish();
        assert_eq!(texts(&log), ["one", "two", "three", "bad"]);
        assert_eq!(log.lines[3].0, LogLevel::Warn);
    }

    #[test]
    fn what_is_above_the_limits_is_dropped_and_counted() {
        let mut log = Log::new(2, 8);
        log.line(LogLevel::Info, "12345");
        log.line(LogLevel::Info, "6789");
        log.line(LogLevel::Info, "abc");
        log.line(LogLevel::Info, "");
        assert_eq!(texts(&log), ["12345", "abc"]);
        assert_eq!(log.dropped, 2);
    }

    #[test]
    fn a_flood_without_line_ends_keeps_one_bounded_line() {
        let mut log = Log::new(10, 1 << 20);
        for _ in 0..1_000 {
            log.write(Stream::Out, &[b'x'; 1_000]);
        }
        assert_eq!(log.out.len(), LINE);
        log.finish();
        assert_eq!(log.lines.len(), 1);
    }

    #[test]
    fn a_panic_is_found_even_after_a_flood() {
        let mut log = Log::new(1, 10);
        for _ in 0..100 {
            log.write(Stream::Err, b"noise noise noise noise noise\n");
        }
        log.write(
            Stream::Err,
            b"\nthread '<unnamed>' (1) panicked at src/lib.rs:4:5:\nno state \"QC\"\nnote: run",
        );
        assert_eq!(log.panic().unwrap(), "panicked at src/lib.rs:4:5:\nno state \"QC\"");
    }
}
