//! The least HTTP/1.1 that a load and its receiver need: the machine's time belongs to the host that is measured.
//!
//! Only for requests and answers with `content-length`, which is what the host sends and takes here.

use std::io;

use bytes::BytesMut;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// Bytes of a head, and of a whole message, that are taken.
const MOST: usize = 1 << 20;

/// One message: where its head and body end in the buffer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Message {
    pub(super) head: usize,
    pub(super) end: usize,
}

/// Reads until one whole message is at the front of `buffer`; `None` at an orderly end between messages.
pub(super) async fn read(stream: &mut TcpStream, buffer: &mut BytesMut) -> io::Result<Option<Message>> {
    loop {
        if let Some(head) = find(buffer, b"\r\n\r\n").map(|at| at + 4) {
            let end = head + content_length(&buffer[..head]);
            if buffer.len() >= end {
                return Ok(Some(Message { head, end }));
            }
        }
        if buffer.len() > MOST {
            return Err(io::Error::other("a message is larger than 1 MiB"));
        }
        if stream.read_buf(buffer).await? == 0 {
            return if buffer.is_empty() { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
        }
    }
}

fn content_length(head: &[u8]) -> usize {
    const NAME: &[u8] = b"content-length:";
    let line = head
        .split(|b| *b == b'\n')
        .find(|line| line.get(..NAME.len()).is_some_and(|name| name.eq_ignore_ascii_case(NAME)));
    line.map_or(0, |line| digits(&line[NAME.len()..]).unwrap_or(0))
}

/// The number that follows `name` in `body`.
pub(super) fn number(body: &[u8], name: &[u8]) -> Option<usize> {
    digits(&body[find(body, name)? + name.len()..])
}

fn digits(text: &[u8]) -> Option<usize> {
    let mut seen = None;
    for byte in text {
        match byte {
            b' ' if seen.is_none() => {}
            b'0'..=b'9' => seen = Some(seen.unwrap_or(0) * 10 + usize::from(byte - b'0')),
            _ => break,
        }
    }
    seen
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_behind_their_names() {
        assert_eq!(number(b"{\"a\":1,\"n\": 42}", b"\"n\":"), Some(42));
        assert_eq!(number(b"{\"a\":1}", b"\"n\":"), None);
        assert_eq!(content_length(b"POST / HTTP/1.1\r\nContent-Length: 17\r\n\r\n"), 17);
        assert_eq!(content_length(b"GET / HTTP/1.1\r\n\r\n"), 0);
    }
}
