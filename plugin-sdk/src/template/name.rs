//! What may stand in the parts of a file's name, and how long they may be. It must not know templates.

/// The longest part of a file's name, in bytes, as file systems have it (the limit `part_bytes`).
pub const PART_BYTES: usize = 255;
/// The longest name of a file with its folders, in bytes (the limit `path_bytes`).
pub const PATH_BYTES: usize = 1_024;
/// The longest ending of a name that is taken for an extension and kept when the name is cut: `.pdf`, `.pdf.pgp`. In bytes.
pub const EXTENSION_BYTES: usize = 24;

/// Names that Windows keeps for devices, whatever extension follows.
const DEVICES: [&str; 6] = ["con", "prn", "aux", "nul", "conin$", "conout$"];

/// Adds text of the template's own.
pub(super) fn literal(part: &mut String, text: &str) {
    part.extend(text.chars().map(safe));
}

/// Adds a value. What would be cut anyway is not looked at.
pub(super) fn value(part: &mut String, value: Option<&str>) {
    let ends = |c: char| c == '.' || c.is_whitespace() || c.is_control();
    let before = part.len();
    match value {
        Some(value) => part.extend(value.trim_matches(ends).chars().take(PART_BYTES).map(safe)),
        None => part.push_str(super::MISSING),
    }
    if part.len() == before {
        part.push('_');
    }
}

/// A part as a name that every file system takes.
pub(super) fn finish(mut part: String) -> String {
    trim_end(&mut part);
    let hidden = part.len() - part.trim_start_matches(['.', ' ']).len();
    part.drain(..hidden);
    if part.is_empty() || is_device(&part) {
        part.insert(0, '_');
    }
    part
}

fn trim_end(part: &mut String) {
    part.truncate(part.trim_end_matches(|c: char| c == '.' || c.is_whitespace()).len());
}

fn is_device(part: &str) -> bool {
    let stem = part.split('.').next().unwrap_or_default().trim_end().to_lowercase();
    let port = |prefix: &str| {
        stem.strip_prefix(prefix).is_some_and(|rest| {
            let mut rest = rest.chars();
            // Windows takes the superscript digits, too.
            matches!(rest.next(), Some('0'..='9' | '¹' | '²' | '³')) && rest.next().is_none()
        })
    };
    DEVICES.contains(&stem.as_str()) || port("com") || port("lpt")
}

fn safe(c: char) -> char {
    match c {
        '/' | '\\' | '<' | '>' | ':' | '"' | '|' | '?' | '*' => '_',
        c if c.is_control() || turns_or_breaks(c) => '_',
        // Other spaces look alike in a list of files.
        c if c.is_whitespace() => ' ',
        c => c,
    }
}

/// Characters that are not seen and turn the direction of writing, break lines, or hide others. The joiners that scripts and emoji
/// need are none of them.
pub(super) fn turns_or_breaks(c: char) -> bool {
    matches!(c,
        '\u{061c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// The parts as a path, cut to the limits: the longest part first.
pub(super) fn fit(mut parts: Vec<String>) -> String {
    let slashes = parts.len().saturating_sub(1);
    let sum = |most: usize| parts.iter().map(|part| part.len().min(most)).sum::<usize>() + slashes;
    // With all the levels that a template may have a part still keeps 63 bytes.
    let most = (1..=PART_BYTES).rev().find(|most| sum(*most) <= PATH_BYTES).unwrap_or(1);
    for part in &mut parts {
        cut(part, most);
    }
    parts.join("/")
}

/// Cuts a part to so many bytes, at a character's end, before its extension.
fn cut(part: &mut String, most: usize) {
    if part.len() <= most {
        return;
    }
    let extension = extension(part).to_owned();
    let keeps = if extension.len() < most { extension.as_str() } else { "" };
    let mut end = most - keeps.len();
    while !part.is_char_boundary(end) {
        end -= 1;
    }
    part.truncate(end);
    trim_end(part);
    if part.is_empty() {
        part.push('_');
    }
    part.push_str(keeps);
}

/// `.pdf` of `a.pdf`, `.pdf.pgp` of `a.pdf.pgp`: what letters and digits follow a dot, once more before an ending that only says how the
/// file is wrapped. Empty when there is none.
fn extension(part: &str) -> &str {
    let one = |text: &str| {
        let at = text.rfind('.').filter(|at| *at > 0)?;
        let letters = &text[at + 1..];
        let is_one = (1..=10).contains(&letters.len()) && letters.bytes().all(|b| b.is_ascii_alphanumeric());
        is_one.then_some(at)
    };
    let Some(last) = one(part) else { return "" };
    let wraps = matches!(&part[last + 1..], "pgp" | "gpg" | "asc" | "gz");
    let first = if wraps { one(&part[..last]).unwrap_or(last) } else { last };
    &part[first..]
}

/// The path of the `n`th file that has the same name: `a/b.pdf` → `a/b-2.pdf`, within the limits.
///
/// ```
/// # extern crate hookyard_sdk as hookyard;
/// use hookyard::template::numbered;
/// assert_eq!(numbered("a.b/claim.pdf.pgp", 3), "a.b/claim-3.pdf.pgp");
/// assert_eq!(numbered("claim", 2), "claim-2");
/// ```
pub fn numbered(path: &str, n: u32) -> String {
    let (folder, name) = split(path);
    let extension = extension(name);
    joined(folder, &name[..name.len() - extension.len()], &format!("-{n}{extension}"))
}

/// The path with an extension more, such as `.pgp`, within the limits. At most [`EXTENSION_BYTES`] bytes of the extension are taken, and
/// none that could not stand in a name.
///
/// ```
/// # extern crate hookyard_sdk as hookyard;
/// use hookyard::template::with_extension;
/// assert_eq!(with_extension("a/claim.pdf", ".pgp"), "a/claim.pdf.pgp");
/// ```
pub fn with_extension(path: &str, extension: &str) -> String {
    let (folder, name) = split(path);
    let added: String = extension
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'))
        .take(EXTENSION_BYTES)
        .collect();
    let kept = self::extension(name);
    joined(folder, &name[..name.len() - kept.len()], &format!("{kept}{added}"))
}

/// The folders with their slash, and the name.
fn split(path: &str) -> (&str, &str) {
    path.split_at(path.rfind('/').map_or(0, |at| at + 1))
}

/// A path of folders, a stem and what must follow it whole.
fn joined(folder: &str, stem: &str, end: &str) -> String {
    let room = PATH_BYTES.saturating_sub(folder.len()).min(PART_BYTES);
    let mut length = stem.len().min(room.saturating_sub(end.len()));
    while !stem.is_char_boundary(length) {
        length -= 1;
    }
    format!("{folder}{}{end}", &stem[..length])
}
