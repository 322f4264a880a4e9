//! `[drop]`: the folder that carriers fetch files from.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Problem;
use crate::deliver::drop::{DropSettings, Share};

/// `[drop]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DropConfig {
    /// Whether carriers may have `hosted` destinations: files in a folder of this host, which an OpenSSH server beside it
    /// offers to them. When off, such destinations are refused.
    pub hosted: bool,
    /// The folder, with a folder for each carrier. Nodes that share a PostgreSQL database share it, too. Its file system must keep
    /// extended attributes. Empty: `drop` in the data folder.
    pub folder: PathBuf,
    /// The folder with the public keys of each carrier, for OpenSSH. Every node writes its own. Empty: `drop-keys` in the data folder.
    pub keys: PathBuf,
    /// Bytes that one carrier may have there: 1 MiB to 1 PiB. When they are reached, its deliveries fail and are retried.
    pub carrier_bytes: u64,
    /// Files that one carrier may have there: 1 to 1 000 000. Every listing looks at all of them.
    pub carrier_files: u64,
    /// Days that a file stays: 1 to 3 650. Then it is deleted, fetched or not.
    pub keep_days: u32,
}

impl Default for DropConfig {
    fn default() -> Self {
        Self {
            hosted: false,
            folder: PathBuf::new(),
            keys: PathBuf::new(),
            carrier_bytes: 10 << 30,
            carrier_files: 100_000,
            keep_days: 30,
        }
    }
}

impl DropConfig {
    /// What is out of range.
    pub(super) fn problems(&self) -> Vec<Problem> {
        let ranges = [
            ("drop.carrier_bytes", self.carrier_bytes, 1 << 20, 1 << 50),
            ("drop.carrier_files", self.carrier_files, 1, 1_000_000),
            ("drop.keep_days", self.keep_days.into(), 1, 3_650),
        ];
        let out = ranges.into_iter().filter(|(_, value, least, most)| !(least..=most).contains(&value));
        out.map(|(key, value, least, most)| Problem {
            key: key.to_owned(),
            why: format!("{value} is out of range; it takes {least} to {most}"),
        })
        .collect()
    }

    /// The drop folder that these settings describe; none when it is off.
    pub fn settings(&self, data: &Path) -> Option<DropSettings> {
        let or = |path: &Path, name: &str| {
            if path.as_os_str().is_empty() { data.join(name) } else { path.to_owned() }
        };
        self.hosted.then(|| DropSettings {
            folder: or(&self.folder, "drop"),
            keys: or(&self.keys, "drop-keys"),
            share: Share { bytes: self.carrier_bytes, files: self.carrier_files },
            keep: Duration::from_secs(u64::from(self.keep_days) * 86_400),
        })
    }
}
