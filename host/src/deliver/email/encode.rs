//! How text and bytes stand in a mail: RFC 2045 for bodies, RFC 2047 for headers.
//!
//! Everything is linear in its input and ASCII. Pure; it must not know what is encoded.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lettre::message::header::{ContentTransferEncoding, HeaderName, HeaderValue};

/// The longest word of a header that stands as it is, in characters.
const MAX_WORD: usize = 60;
/// Bytes of text in one encoded word: with its frame it is shorter than 75 characters (RFC 2047, 2).
const ENCODED_WORD: usize = 42;
/// Characters of base64 or quoted-printable in a line (RFC 2045, 6.7 and 6.8).
const LINE: usize = 76;

/// A header with free text. What looks like an encoded word, and is not one, is encoded: it shall be read as it stands.
pub(super) fn text_header(name: &'static str, text: &str) -> HeaderValue {
    let header = HeaderName::new_from_ascii_str(name);
    let is_plain = text.bytes().all(|b| b == b' ' || b.is_ascii_graphic())
        && !text.contains("=?")
        && text.split(' ').all(|word| word.len() <= MAX_WORD);
    if is_plain {
        return HeaderValue::new(header, text.to_owned());
    }
    let mut encoded = String::with_capacity(text.len() * 2);
    let mut rest = text;
    while !rest.is_empty() {
        let mut end = rest.len().min(ENCODED_WORD);
        while !rest.is_char_boundary(end) {
            end -= 1;
        }
        let (word, after) = rest.split_at(end);
        if !encoded.is_empty() {
            encoded.push_str("\r\n ");
        }
        encoded.push_str("=?utf-8?B?");
        STANDARD.encode_string(word, &mut encoded);
        encoded.push_str("?=");
        rest = after;
    }
    HeaderValue::dangerous_new_pre_encoded(header, text.to_owned(), encoded)
}

/// A text's body and how it is encoded: quoted-printable where most of it can be read like that, else base64. Never as it
/// stands, so that no line of it can be one of the mail's own.
pub(super) fn text(text: &str) -> (Vec<u8>, ContentTransferEncoding) {
    let lines = with_crlf(text);
    let others = lines.bytes().filter(|b| !b.is_ascii_graphic() && !b" \t\r\n".contains(b)).count();
    if others * 5 > lines.len() {
        return (base64(lines.as_bytes()), ContentTransferEncoding::Base64);
    }
    (quoted_printable(&lines), ContentTransferEncoding::QuotedPrintable)
}

/// Every line break as CRLF.
fn with_crlf(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + text.len() / 32);
    let mut before = '\0';
    for c in text.chars() {
        match c {
            '\n' if before == '\r' => {}
            '\n' | '\r' => out.push_str("\r\n"),
            c => out.push(c),
        }
        before = c;
    }
    out
}

/// RFC 2045, 6.7.
fn quoted_printable(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + text.len() / 8);
    for line in text.split_inclusive("\r\n") {
        let (line, end) = line.strip_suffix("\r\n").map_or((line, ""), |line| (line, "\r\n"));
        let bytes = line.as_bytes();
        let mut width = 0;
        for (at, &b) in bytes.iter().enumerate() {
            let is_last = at + 1 == bytes.len();
            let stands = (b.is_ascii_graphic() && b != b'=') || (matches!(b, b' ' | b'\t') && !is_last);
            let needs = if stands { 1 } else { 3 };
            // Room for the `=` of a line that goes on.
            if width + needs > LINE - 1 {
                out.extend_from_slice(b"=\r\n");
                width = 0;
            }
            if stands {
                out.push(b);
            } else {
                out.push(b'=');
                out.extend([b >> 4, b & 15].map(|digit| b"0123456789ABCDEF"[usize::from(digit)]));
            }
            width += needs;
        }
        out.extend_from_slice(end.as_bytes());
    }
    out
}

/// RFC 2045, 6.8.
pub(super) fn base64(bytes: &[u8]) -> Vec<u8> {
    const PIECE: usize = LINE / 4 * 3;
    let mut out = vec![0; bytes.len().div_ceil(PIECE) * (LINE + 2)];
    let mut at = 0;
    for (n, piece) in bytes.chunks(PIECE).enumerate() {
        if n > 0 {
            out[at..at + 2].copy_from_slice(b"\r\n");
            at += 2;
        }
        // There is a line's room for each piece.
        at += STANDARD.encode_slice(piece, &mut out[at..]).unwrap_or(0);
    }
    out.truncate(at);
    out
}

/// The beginning of a file's name, with its ending.
pub(super) fn cut_name(name: &str, most: usize) -> std::borrow::Cow<'_, str> {
    if name.len() <= most {
        return name.into();
    }
    let ending =
        name.rfind('.').map(|at| &name[at..]).filter(|ending| ending.len() <= 16).unwrap_or_default();
    let mut end = most - ending.len();
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{ending}", &name[..end]).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_between_lines_is_not_more_than_a_line() {
        let qp = |text: &str| String::from_utf8(quoted_printable(&with_crlf(text))).unwrap();
        assert_eq!(qp("a=b\nü \r\n\tc\r.\n"), "a=3Db\r\n=C3=BC=20\r\n\tc\r\n.\r\n");
        let long = qp(&"x".repeat(200));
        assert!(long.lines().all(|line| line.len() <= 76), "{long}");
        assert_eq!(long.replace("=\r\n", ""), "x".repeat(200));
        assert_eq!(qp("--=_boundary"), "--=3D_boundary", "no line of a text is a boundary");
        assert_eq!(qp("From \0x"), "From =00x");
        assert!(matches!(text("ÄÖÜ äöü"), (_, ContentTransferEncoding::Base64)));
        for len in [0, 1, 56, 57, 58, 114, 200] {
            let bytes: Vec<u8> = (0..len).map(|n| n as u8).collect();
            let lines = String::from_utf8(base64(&bytes)).unwrap();
            assert!(lines.split("\r\n").all(|line| line.len() <= 76));
            assert_eq!(STANDARD.decode(lines.replace("\r\n", "")).unwrap(), bytes);
        }
    }

    #[test]
    fn a_header_is_ascii_in_short_lines_whatever_its_text() {
        let shown = |text: &str| {
            let mut headers = lettre::message::header::Headers::new();
            headers.insert_raw(text_header("Subject", text));
            headers.to_string()
        };
        assert_eq!(shown("Case 7 was closed"), "Subject: Case 7 was closed\r\n");
        assert_eq!(shown("Schäden"), "Subject: =?utf-8?B?U2Now6RkZW4=?=\r\n");
        assert!(shown("=?utf-8?q?a=0D=0ABcc:_x?=").starts_with("Subject: =?utf-8?B?PT91"));
        for text in ["ü".repeat(300), "x".repeat(300), "🦀 ".repeat(100), "a b ".repeat(80)] {
            let header = shown(&text);
            assert!(header.is_ascii() && header.lines().all(|line| line.len() <= 88), "{header}");
        }
    }
}
