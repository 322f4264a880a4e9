//! Paths of files that others name: each part a name, and no way out of where they begin.
//!
//! Pure. It must not know where files go.

use hookyard_sdk::template::PART_BYTES;

/// Why a path was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// It is too long.
    #[error("it has {bytes} bytes, the limit is {limit}")]
    Length {
        /// Its length.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// It has too many parts.
    #[error("it has {levels} parts, the limit is {limit}")]
    Levels {
        /// How many.
        levels: usize,
        /// The limit.
        limit: usize,
    },
    /// A part is not a name.
    #[error("{why}: {part:?}")]
    Part {
        /// What is wrong with it.
        why: &'static str,
        /// The part's beginning.
        part: String,
    },
}

/// Whether a relative path stays where it begins, and every part of it is a name.
///
/// # Errors
/// What is wrong with it.
pub fn check_path(path: &str, bytes: usize, levels: usize) -> Result<(), PathError> {
    if path.len() > bytes {
        return Err(PathError::Length { bytes: path.len(), limit: bytes });
    }
    let count = path.split('/').count();
    if count > levels {
        return Err(PathError::Levels { levels: count, limit: levels });
    }
    for part in path.split('/') {
        let why = match part {
            "" => "a part is empty",
            "." | ".." => "`.` and `..` are not names",
            _ if part.len() > PART_BYTES => "a part has more than 255 bytes",
            _ if part.contains(|c: char| c.is_control() || c == '\\') => {
                "a part has a control character or `\\` in it"
            }
            _ => continue,
        };
        return Err(PathError::Part { why, part: part.chars().take(80).collect() });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_stays_where_it_begins() {
        for good in
            ["a", "a/b.pdf", "Fälle 2026/Bericht & Fotos?#%2e.pdf", ".hidden", "a b", "...", &"x".repeat(255)]
        {
            assert_eq!(check_path(good, 1_024, 16), Ok(()), "{good}");
        }
        for bad in
            ["", "/a", "a/", "a//b", ".", "..", "a/../b", "a\\b", "a\nb", "\u{0}", "\u{85}", &"x".repeat(256)]
        {
            assert!(matches!(check_path(bad, 1_024, 16), Err(PathError::Part { .. })), "{bad}");
        }
        assert_eq!(check_path("aaaa", 3, 16), Err(PathError::Length { bytes: 4, limit: 3 }));
        assert_eq!(check_path("a/b/c", 16, 2), Err(PathError::Levels { levels: 3, limit: 2 }));
    }
}
