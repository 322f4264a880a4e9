//! What the demo's carrier and its platform have beside receivers of webhooks: a mail server, an SFTP site, and a store of
//! media. All of them are in this process.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use russh::keys::PrivateKey;
use russh::keys::ssh_key::LineEnding;
use russh::keys::ssh_key::private::Ed25519Keypair;
use tempfile::TempDir;

use super::media::MediaStore;
use crate::cli::mailbox::{self, Mail};
use crate::cli::sftp_site::SftpSite;
use crate::clock::random_bytes;

/// What the mail server says to the first mail, as one that has never heard of its sender.
const GREYLISTED: &str = "450 4.7.1 come again in a moment";

/// The servers. They end with the process; what the site was sent is removed with them.
#[derive(Debug)]
pub(super) struct Servers {
    /// Where mails are handed in.
    pub(super) smtp: std::net::SocketAddr,
    mails: Arc<Mutex<Mails>>,
    pub(super) site: SftpSite,
    /// The private key of the site's one login, in OpenSSH's form.
    pub(super) login: String,
    pub(super) media: MediaStore,
    folder: TempDir,
}

#[derive(Debug, Default)]
struct Mails {
    taken: Vec<Mail>,
    refused: usize,
}

impl Servers {
    /// Starts them on free ports of this machine.
    ///
    /// # Errors
    /// When one cannot listen, or there is no room for files.
    pub(super) async fn start() -> anyhow::Result<Self> {
        let loopback = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
        let mails = Arc::<Mutex<Mails>>::default();
        let kept = mails.clone();
        let take = move |mail| {
            let mut mails = kept.lock().unwrap_or_else(PoisonError::into_inner);
            if mails.refused == 0 {
                mails.refused += 1;
                return Err(GREYLISTED);
            }
            mails.taken.push(mail);
            Ok(())
        };
        let smtp = mailbox::start(loopback, Arc::new(take)).await?;
        let key = PrivateKey::from(Ed25519Keypair::from_seed(&random_bytes()));
        let login = key.to_openssh(LineEnding::LF)?.to_string();
        let folder = tempfile::Builder::new().prefix("hookyard-demo-site-").tempdir()?;
        let keys = vec![key.public_key().clone()];
        let site = SftpSite::start(loopback, folder.path(), Some(keys), Arc::new(|_| {})).await?;
        Ok(Self { smtp, mails, site, login, media: MediaStore::start().await?, folder })
    }

    /// The mails that were taken, in their order, and how many were put off.
    pub(super) fn mails(&self) -> (Vec<Mail>, usize) {
        let mails = self.mails.lock().unwrap_or_else(PoisonError::into_inner);
        (mails.taken.clone(), mails.refused)
    }

    /// Everything on the site, by its path, sorted.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn files(&self) -> std::io::Result<Vec<(String, Vec<u8>)>> {
        let mut files = Vec::new();
        let mut folders = vec![PathBuf::new()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(self.folder.path().join(&folder))? {
                let entry = entry?;
                let below = folder.join(entry.file_name());
                if entry.file_type()?.is_dir() {
                    folders.push(below);
                } else {
                    files.push((below.to_string_lossy().into_owned(), std::fs::read(entry.path())?));
                }
            }
        }
        files.sort_unstable();
        Ok(files)
    }
}
