//! `[media]`: what the host fetches for deliveries, where it keeps it, and who looks at it first.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Problem;
use crate::carrier::MediaCeiling;
use crate::deliver::media::{MediaLimits, ScannerAddress};

/// `[media]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MediaConfig {
    /// Bytes of one file: 1 KiB to 4 GiB. A carrier may set less for itself.
    pub max_bytes: u64,
    /// Media types that may be fetched, such as `image/png`. A carrier may allow fewer. What is declared as one of these must
    /// also look like it.
    pub types: Vec<String>,
    /// Bytes of all files in the spool, the folder `spool` in the data folder: at least `max_bytes`. When it is full, what
    /// is new waits as if its host did not answer.
    pub spool_bytes: u64,
    /// Bytes in the spool of one carrier: at least `max_bytes`, at most `spool_bytes`. One whose receivers are down does
    /// not take the others' room.
    pub carrier_spool_bytes: u64,
    /// Files that are fetched at once: 1 to 1 024.
    pub fetches: usize,
    /// Of them, those of one carrier: 1 to `fetches`.
    pub carrier_fetches: usize,
    /// Seconds that a media host may be silent: 1 to 600.
    pub idle_s: u64,
    /// Seconds that one file may take: `idle_s` to 86 400. At the default, the largest file needs 4 Mbit/s.
    pub fetch_s: u64,
    /// Seconds that a link lives, from its event on: 0 to 2 592 000. Within them a fetch that failed is tried again by
    /// itself; after them one that fails has expired. 0: nobody knows, and only the media host says so.
    pub link_s: u64,
    /// A PEM file with authorities that media hosts' certificates may be signed by, besides those of the system. Empty: none.
    pub authorities: PathBuf,
    /// The virus scanner: `unix:/run/clamav/clamd.ctl` or `host:port` of ClamAV's `clamd`. Then nothing that was fetched is
    /// sent before it has been looked at. Empty: none.
    pub clamd: String,
    /// Seconds that the scanner may take for one file: 1 to 3 600.
    pub scan_s: u64,
}

impl Default for MediaConfig {
    fn default() -> Self {
        let types = [
            "image/png",
            "image/jpeg",
            "image/gif",
            "video/mp4",
            "audio/mp4",
            "text/vcard",
            "application/pdf",
            "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
            "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        ];
        Self {
            max_bytes: 256 << 20,
            types: types.map(str::to_owned).to_vec(),
            spool_bytes: 8 << 30,
            carrier_spool_bytes: 2 << 30,
            fetches: 16,
            carrier_fetches: 4,
            idle_s: 30,
            fetch_s: 600,
            link_s: 3_600,
            authorities: PathBuf::new(),
            clamd: String::new(),
            scan_s: 120,
        }
    }
}

impl MediaConfig {
    /// What no carrier can go beyond.
    pub fn ceiling(&self) -> MediaCeiling {
        MediaCeiling {
            max_bytes: self.max_bytes,
            types: self.types.iter().map(|one| one.to_ascii_lowercase()).collect(),
        }
    }

    /// The limits of fetching.
    pub fn limits(&self) -> MediaLimits {
        MediaLimits {
            ceiling: self.ceiling(),
            spool_bytes: self.spool_bytes,
            carrier_spool_bytes: self.carrier_spool_bytes,
            fetches: self.fetches,
            carrier_fetches: self.carrier_fetches,
            idle: Duration::from_secs(self.idle_s),
            whole: Duration::from_secs(self.fetch_s),
            link: (self.link_s > 0).then(|| Duration::from_secs(self.link_s)),
            scan: Duration::from_secs(self.scan_s),
        }
    }

    /// Where the scanner is, if there is one.
    ///
    /// # Errors
    /// The setting is neither a socket nor an address; says what it takes.
    pub fn scanner(&self) -> Result<Option<ScannerAddress>, String> {
        if self.clamd.is_empty() { Ok(None) } else { self.clamd.parse().map(Some) }
    }

    /// Every value that is out of its range.
    pub(super) fn problems(&self) -> Vec<Problem> {
        let mut found = Vec::new();
        let mut add = |key: &str, why: String| found.push(Problem { key: format!("media.{key}"), why });
        for (key, value, least, most) in [
            ("max_bytes", self.max_bytes, 1 << 10, 4 << 30),
            ("spool_bytes", self.spool_bytes, self.max_bytes, u64::MAX),
            ("carrier_spool_bytes", self.carrier_spool_bytes, self.max_bytes, self.spool_bytes),
            ("fetches", self.fetches as u64, 1, 1_024),
            ("carrier_fetches", self.carrier_fetches as u64, 1, self.fetches as u64),
            ("idle_s", self.idle_s, 1, 600),
            ("fetch_s", self.fetch_s, self.idle_s, 86_400),
            ("link_s", self.link_s, 0, 2_592_000),
            ("scan_s", self.scan_s, 1, 3_600),
        ] {
            if !(least..=most).contains(&value) {
                add(key, format!("{value} is out of range; it takes {least} to {most}"));
            }
        }
        let good = |one: &String| {
            one.len() <= 200
                && one.split_once('/').is_some_and(|(a, b)| !a.is_empty() && !b.is_empty())
                && one.bytes().all(|b| b.is_ascii_graphic() && b != b';' && b != b',')
        };
        if let Some(bad) = self.types.iter().find(|one| !good(one)) {
            add(
                "types",
                format!("{bad:?} is not a media type; it takes such as `image/png`, without parameters"),
            );
        }
        if let Err(why) = self.scanner() {
            add("clamd", why);
        }
        found
    }
}
