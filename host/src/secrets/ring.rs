//! Several master keys at once: the newest seals, every one opens. So one key can follow another while secrets of both
//! are about.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::{MasterKey, SecretsError};

/// How many keys a list may have, the prepared one included.
pub const MAX_KEYS: usize = 8;

/// What marks the key that opens and does not seal yet.
const NEXT: &str = "next ";

/// The operator's keys, in the order of their file: one key on a line.
///
/// ```text
/// next <base64>     opens only, until every node knows it; at most one
/// <base64>          seals and opens
/// <base64>          opens what it sealed before; any number, newest first
/// ```
#[derive(Debug, Clone)]
pub struct KeyList {
    /// Prepared: it opens and does not seal yet.
    pub next: Option<MasterKey>,
    /// What seals.
    pub seals: MasterKey,
    /// What sealed before, newest first.
    pub older: Vec<MasterKey>,
}

/// Why a text is no list of keys. Never holds any part of a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyListError {
    /// There is no key that seals.
    #[error("it has no key: it takes one key on a line, the first without `next` seals")]
    Empty,
    /// A line that is not a key.
    #[error("line {line}: {why}")]
    Line {
        /// Its number, from 1.
        line: usize,
        /// What is wrong with it.
        why: SecretsError,
    },
    /// Two prepared keys.
    #[error("line {line}: only one key can be `next`")]
    Next {
        /// The second one's number, from 1.
        line: usize,
    },
    /// Too many.
    #[error("it has more than {MAX_KEYS} keys, which is the limit; remove those that nothing is sealed with")]
    TooMany,
}

impl KeyList {
    /// A key alone.
    pub fn of(key: MasterKey) -> Self {
        Self { next: None, seals: key, older: Vec::new() }
    }

    /// The list in a file's text. Empty lines and space around a key do not matter.
    ///
    /// # Errors
    /// Which line is not a key, or that there are none or too many.
    pub fn parse(text: &str) -> Result<Self, KeyListError> {
        let (mut next, mut keys) = (None, Vec::new());
        let lines = text.lines().enumerate().map(|(n, line)| (n + 1, line.trim()));
        for (line, text) in lines.filter(|(_, text)| !text.is_empty()) {
            if keys.len() + usize::from(next.is_some()) == MAX_KEYS {
                return Err(KeyListError::TooMany);
            }
            let prepared = text.strip_prefix(NEXT);
            let key = MasterKey::from_base64(prepared.unwrap_or(text))
                .map_err(|why| KeyListError::Line { line, why })?;
            match prepared {
                None => keys.push(key),
                Some(_) if next.is_none() => next = Some(key),
                Some(_) => return Err(KeyListError::Next { line }),
            }
        }
        let mut keys = keys.into_iter();
        let seals = keys.next().ok_or(KeyListError::Empty)?;
        Ok(Self { next, seals, older: keys.collect() })
    }

    /// The text to keep in a file.
    pub fn to_text(&self) -> String {
        let next = self.next.iter().map(|key| format!("{NEXT}{}\n", key.to_base64()));
        let keys =
            std::iter::once(&self.seals).chain(&self.older).map(|key| format!("{}\n", key.to_base64()));
        next.chain(keys).collect()
    }

    /// The prepared key seals from now on; without one, the list as it is.
    #[must_use]
    pub fn promoted(self) -> Self {
        let Self { next: Some(next), seals, mut older } = self else { return self };
        older.insert(0, seals);
        Self { next: None, seals: next, older }
    }

    /// Every key: what seals first, then the others.
    pub fn all(&self) -> impl Iterator<Item = &MasterKey> {
        std::iter::once(&self.seals).chain(&self.next).chain(&self.older)
    }

    /// The ids of all keys, with spaces between; the first one seals.
    pub fn ids(&self) -> String {
        self.all().map(MasterKey::id).collect::<Vec<_>>().join(" ")
    }

    /// Seals with the key that seals; see [`MasterKey::seal`].
    pub fn seal(&self, context: &str, plaintext: &[u8]) -> Vec<u8> {
        self.seals.seal(context, plaintext)
    }

    /// Opens with whichever key sealed it.
    ///
    /// # Errors
    /// As [`MasterKey::open`].
    pub fn open(&self, context: &str, sealed: &[u8]) -> Result<Vec<u8>, SecretsError> {
        let key = self.all().find(|key| key.has_sealed(sealed)).unwrap_or(&self.seals);
        key.open(context, sealed).map_err(|why| match why {
            SecretsError::OtherKey { context, sealed_with, .. } => {
                SecretsError::OtherKey { context, sealed_with, ours: self.ids() }
            }
            why => why,
        })
    }
}

/// The keys of a process that runs. Cheap to clone; every clone sees a replacement.
#[derive(Debug, Clone)]
pub struct MasterKeys(Arc<ArcSwap<KeyList>>);

impl MasterKeys {
    /// These keys.
    pub fn new(list: KeyList) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(list)))
    }

    /// The keys at this moment.
    pub fn list(&self) -> Arc<KeyList> {
        self.0.load_full()
    }

    /// Takes another list. What could be opened before can be opened still: a key that is gone from the list is only
    /// forgotten with the process.
    pub fn replace(&self, list: KeyList) {
        let mut list = list;
        for known in self.list().all() {
            if !list.all().any(|key| key.id == known.id) {
                list.older.push(known.clone());
            }
        }
        self.0.store(Arc::new(list));
    }

    /// As [`KeyList::seal`].
    pub fn seal(&self, context: &str, plaintext: &[u8]) -> Vec<u8> {
        self.0.load().seal(context, plaintext)
    }

    /// As [`KeyList::open`].
    ///
    /// # Errors
    /// As [`MasterKey::open`].
    pub fn open(&self, context: &str, sealed: &[u8]) -> Result<Vec<u8>, SecretsError> {
        self.0.load().open(context, sealed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u8) -> MasterKey {
        MasterKey::from_bytes([n; 32])
    }

    #[test]
    fn a_list_is_read_as_it_is_written() {
        let list = KeyList { next: Some(key(3)), seals: key(2), older: vec![key(1), key(0)] };
        let again = KeyList::parse(&format!("\n {}", list.to_text().replace('\n', " \r\n\n"))).unwrap();
        assert_eq!(again.ids(), list.ids());
        assert_eq!(again.next.unwrap().id(), key(3).id());
        let alone = KeyList::parse(&key(1).to_base64()).unwrap();
        assert!(alone.next.is_none() && alone.older.is_empty());
    }

    #[test]
    fn what_is_no_list_is_refused_by_its_line_and_without_its_text() {
        let line = key(1).to_base64();
        let cases = [
            (String::new(), KeyListError::Empty),
            (format!("next {line}\n"), KeyListError::Empty),
            (format!("{line}\n\nS3CRET"), KeyListError::Line { line: 3, why: SecretsError::NotAKey }),
            (format!("{line}\nnext {line}\nnext {line}"), KeyListError::Next { line: 3 }),
            (format!("{line}\n").repeat(MAX_KEYS + 1), KeyListError::TooMany),
        ];
        for (text, expected) in cases {
            let error = KeyList::parse(&text).unwrap_err();
            assert!(!error.to_string().contains("S3CRET"));
            assert_eq!(error, expected, "{text:?}");
        }
    }

    #[test]
    fn the_newest_seals_and_every_one_opens() {
        let list = KeyList { next: Some(key(3)), seals: key(2), older: vec![key(1)] };
        assert!(key(2).has_sealed(&list.seal("c", b"x")));
        for n in 1..=3 {
            assert_eq!(list.open("c", &key(n).seal("c", b"x")).unwrap(), b"x", "key {n}");
        }
        let error = list.open("c", &key(9).seal("c", b"x")).unwrap_err();
        let (sealed_with, ours) = (key(9).id(), list.ids());
        assert_eq!(error, SecretsError::OtherKey { context: "c".to_owned(), sealed_with, ours });
        assert!(matches!(list.open("d", &key(1).seal("c", b"x")), Err(SecretsError::Forged { .. })));
        let promoted = list.promoted();
        assert_eq!(promoted.ids(), [3, 2, 1].map(|n| key(n).id()).join(" "));
        assert_eq!(promoted.clone().promoted().ids(), promoted.ids());
    }

    #[test]
    fn a_process_forgets_no_key() {
        let keys = MasterKeys::new(KeyList::of(key(1)));
        let sealed = keys.seal("c", b"x");
        let other_hand = keys.clone();
        other_hand.replace(KeyList::of(key(2)));
        assert_eq!(keys.open("c", &sealed).unwrap(), b"x");
        assert!(key(2).has_sealed(&keys.seal("c", b"x")));
    }
}
