//! What a file is: the media type that it is declared as, against its first bytes.
//!
//! Pure. A type with a known signature must have it; a type without one must not have another's. It does not say that a file
//! is well-formed: that is for whoever opens it.

use std::borrow::Cow;

/// How many of a file's first bytes are looked at.
pub(super) const HEAD: usize = 512;

const DOCX: &str = "application/vnd.openxmlformats-officedocument.wordprocessingml.document";
const XLSX: &str = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet";

/// What first bytes can say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Signature {
    Png,
    Jpeg,
    Gif,
    Pdf,
    /// The ISO base media file format: MP4 and what is like it.
    Mp4,
    Zip,
    Vcard,
    /// What none of the allowed types is: named, so that the refusal says what it looks like.
    Other(&'static str),
}

/// Type names that mean the same.
fn canonical(essence: &str) -> Cow<'_, str> {
    match essence {
        "image/jpg" | "image/pjpeg" => "image/jpeg".into(),
        "image/x-png" => "image/png".into(),
        "application/mp4" => "video/mp4".into(),
        "text/x-vcard" | "text/directory" | "application/vcard" => "text/vcard".into(),
        "application/x-pdf" => "application/pdf".into(),
        other => other.into(),
    }
}

/// The signature that a type has, if it is one that is known.
fn of_type(essence: &str) -> Option<Signature> {
    Some(match essence {
        "image/png" => Signature::Png,
        "image/jpeg" => Signature::Jpeg,
        "image/gif" => Signature::Gif,
        "application/pdf" => Signature::Pdf,
        "video/mp4" | "audio/mp4" => Signature::Mp4,
        DOCX | XLSX | "application/zip" => Signature::Zip,
        "text/vcard" => Signature::Vcard,
        _ => return None,
    })
}

fn sniff(head: &[u8]) -> Option<Signature> {
    let text = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head).trim_ascii_start();
    let begins = |with: &str| text.get(..with.len()).is_some_and(|t| t.eq_ignore_ascii_case(with.as_bytes()));
    // A PDF may have up to a kilobyte before its mark; readers take it, but no service that makes media does that.
    let marks: [(&[u8], Signature); 14] = [
        (b"\x89PNG\r\n\x1a\n", Signature::Png),
        (b"\xff\xd8\xff", Signature::Jpeg),
        (b"GIF87a", Signature::Gif),
        (b"GIF89a", Signature::Gif),
        (b"%PDF-", Signature::Pdf),
        (b"PK\x03\x04", Signature::Zip),
        (b"MZ", Signature::Other("a Windows program")),
        (b"\x7fELF", Signature::Other("a program")),
        (b"#!", Signature::Other("a script")),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", Signature::Other("an old Office document")),
        (b"Rar!\x1a\x07", Signature::Other("a RAR archive")),
        (b"7z\xbc\xaf\x27\x1c", Signature::Other("a 7z archive")),
        (b"\x1f\x8b", Signature::Other("a gzip archive")),
        (b"RIFF", Signature::Other("a RIFF file")),
    ];
    if let Some((_, found)) = marks.iter().find(|(mark, _)| head.starts_with(mark)) {
        return Some(*found);
    }
    if head.get(4..8) == Some(b"ftyp") {
        return Some(Signature::Mp4);
    }
    if begins("BEGIN:VCARD") {
        return Some(Signature::Vcard);
    }
    let html = ["<!doctype", "<html", "<head", "<body", "<script", "<?xml", "<svg"];
    html.iter().any(|tag| begins(tag)).then_some(Signature::Other("HTML or XML"))
}

fn words(signature: Option<Signature>) -> &'static str {
    match signature {
        Some(Signature::Png) => "a PNG image",
        Some(Signature::Jpeg) => "a JPEG image",
        Some(Signature::Gif) => "a GIF image",
        Some(Signature::Pdf) => "a PDF document",
        Some(Signature::Mp4) => "an MP4 file",
        Some(Signature::Zip) => "a ZIP archive",
        Some(Signature::Vcard) => "a vCard",
        Some(Signature::Other(what)) => what,
        None => "something else",
    }
}

/// The declared type without parameters, in its one form; `None` when nothing is said by it.
pub(super) fn declared(content_type: Option<&str>) -> Option<String> {
    let essence = content_type?.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let nothing = matches!(
        essence.as_str(),
        "" | "application/octet-stream"
            | "binary/octet-stream"
            | "application/binary"
            | "application/unknown"
    );
    (!nothing).then(|| canonical(&essence).into_owned())
}

/// Whether a declared type is among those that are allowed.
///
/// # Errors
/// Says what is allowed.
pub(super) fn allowed(essence: &str, types: &[String]) -> Result<(), String> {
    if types.iter().any(|one| canonical(one) == essence) {
        return Ok(());
    }
    let essence: String = essence.chars().take(80).collect();
    Err(format!("the type {essence:?} is not allowed; the limit `types` is {}", types.join(", ")))
}

/// The type of a file: what it is declared as, when its first bytes agree, or else what those say. `path` is the link's,
/// whose ending tells apart what is a ZIP archive inside.
///
/// # Errors
/// They contradict each other, or what it is is not allowed.
pub(super) fn judge(
    declared: Option<&str>,
    head: &[u8],
    path: &str,
    types: &[String],
) -> Result<String, String> {
    let found = sniff(head);
    if let Some(essence) = declared {
        allowed(essence, types)?;
        let agree = match of_type(essence) {
            Some(expected) => found == Some(expected),
            None => found.is_none(),
        };
        return if agree {
            Ok(essence.to_owned())
        } else {
            Err(format!("it is declared as {essence} and looks like {}", words(found)))
        };
    }
    let essence = match found {
        Some(Signature::Png) => "image/png",
        Some(Signature::Jpeg) => "image/jpeg",
        Some(Signature::Gif) => "image/gif",
        Some(Signature::Pdf) => "application/pdf",
        Some(Signature::Mp4) => "video/mp4",
        Some(Signature::Vcard) => "text/vcard",
        Some(Signature::Zip) => match path.to_ascii_lowercase().rsplit_once('.') {
            Some((_, "docx")) => DOCX,
            Some((_, "xlsx")) => XLSX,
            _ => "application/zip",
        },
        Some(Signature::Other(_)) | None => {
            return Err(format!("its type is not declared, and it looks like {}", words(found)));
        }
    };
    allowed(essence, types)?;
    Ok(essence.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn types() -> Vec<String> {
        ["image/png", "image/jpeg", "text/vcard", "text/plain", "video/mp4", DOCX].map(str::to_owned).to_vec()
    }

    fn of(content_type: &str, head: &[u8], path: &str) -> Result<String, String> {
        judge(declared(Some(content_type)).as_deref(), head, path, &types())
    }

    #[test]
    fn what_is_declared_must_look_like_it() {
        let png = b"\x89PNG\r\n\x1a\n....";
        for (content_type, head, path, expected) in [
            ("image/png", &png[..], "/a", "image/png"),
            ("Image/PNG; charset=x", png, "/a", "image/png"),
            ("image/jpg", b"\xff\xd8\xff\xe0", "/a", "image/jpeg"),
            ("application/octet-stream", png, "/a", "image/png"),
            ("", b"\0\0\0\x18ftypmp42", "/a", "video/mp4"),
            ("binary/octet-stream", b"PK\x03\x04", "/a/b.DOCX", DOCX),
            ("text/x-vcard", b"\xef\xbb\xbfbegin:vcard\r\n", "/a", "text/vcard"),
            ("text/plain", b"hello", "/a", "text/plain"),
        ] {
            assert_eq!(of(content_type, head, path).as_deref(), Ok(expected), "{content_type}");
        }
        for (content_type, head, path, why) in [
            ("image/png", &b"\xff\xd8\xff"[..], "/a", "looks like a JPEG image"),
            ("image/png", b"MZ\x90\0", "/a.png", "looks like a Windows program"),
            ("image/png", b" <!DOCTYPE html>", "/a.png", "looks like HTML or XML"),
            ("image/png", b"", "/a.png", "looks like something else"),
            ("text/plain", b"%PDF-1.7", "/a", "looks like a PDF document"),
            ("image/gif", b"GIF89a", "/a", "the limit `types` is image/png, "),
            ("application/octet-stream", b"GIF89a", "/a", "\"image/gif\" is not allowed"),
            ("application/octet-stream", b"PK\x03\x04", "/a", "\"application/zip\" is not allowed"),
            ("application/octet-stream", b"hello", "/a", "its type is not declared"),
            ("text/html", b"hello", "/a", "\"text/html\" is not allowed"),
        ] {
            let error = of(content_type, head, path).unwrap_err();
            assert!(error.contains(why), "{content_type}: {error}");
        }
    }
}
