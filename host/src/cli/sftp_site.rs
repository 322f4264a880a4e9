//! An SFTP server for `listen` and `demo`: it puts what it is sent into a folder of this machine.
//!
//! SFTP version 3 without extensions, which is the least that a client can meet; its host key is made at the start. It must
//! not know the host: it sees what any server sees.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use russh::keys::ssh_key::private::Ed25519Keypair;
use russh::keys::{HashAlg, PrivateKey, PublicKey};
use russh::server::{Auth, ChannelOpenHandle, Msg, PublicKeyOffer, Session, VerifiedPublicKey};
use russh::{Channel, ChannelId};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::clock::random_bytes;

mod files;

/// Connections at once; more wait.
const CONNECTIONS: usize = 64;

/// A file that came under this name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Came {
    /// Where it is now, from the site's root.
    pub(super) path: String,
    /// The name that it had before, when it was renamed.
    pub(super) renamed_from: Option<String>,
    /// Its size in bytes.
    pub(super) bytes: u64,
}

/// Told of every file that was written or renamed.
pub(super) type Told = dyn Fn(&Came) + Send + Sync;

/// A running site. It ends with the process.
#[derive(Debug, Clone)]
pub(super) struct SftpSite {
    /// Where it listens.
    pub(super) address: SocketAddr,
    /// The fingerprint of its host key, `SHA256:…`.
    pub(super) host_key: String,
}

struct Inner {
    root: PathBuf,
    keys: Option<Vec<PublicKey>>,
    told: Arc<Told>,
}

impl SftpSite {
    /// Listens on `address` and serves `root` to who has one of these keys, whatever the login's name; without any, to
    /// whoever comes, with a key or a password.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub(super) async fn start(
        address: SocketAddr,
        root: &Path,
        keys: Option<Vec<PublicKey>>,
        told: Arc<Told>,
    ) -> anyhow::Result<Self> {
        let listener =
            TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))?;
        let address = listener.local_addr()?;
        let key = PrivateKey::from(Ed25519Keypair::from_seed(&random_bytes()));
        let host_key = key.fingerprint(HashAlg::Sha256).to_string();
        let config = russh::server::Config {
            keys: vec![key],
            // Nobody guesses here, so nobody is made to wait.
            auth_rejection_time: std::time::Duration::ZERO,
            nodelay: true,
            ..russh::server::Config::default()
        };
        let inner = Arc::new(Inner { root: root.to_owned(), keys, told });
        tokio::spawn(accept(listener, Arc::new(config), inner));
        Ok(Self { address, host_key })
    }
}

async fn accept(listener: TcpListener, config: Arc<russh::server::Config>, inner: Arc<Inner>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    while let Ok(place) = places.clone().acquire_owned().await {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let (config, inner) = (config.clone(), inner.clone());
        tokio::spawn(async move {
            let _place = place;
            // A connection that breaks is the client's to repair.
            let _ = serve(stream, config, inner).await;
        });
    }
}

async fn serve(
    stream: TcpStream,
    config: Arc<russh::server::Config>,
    inner: Arc<Inner>,
) -> Result<(), russh::Error> {
    stream.set_nodelay(config.nodelay)?;
    let door = Door { inner, channels: HashMap::new() };
    russh::server::run_stream(config, stream, door).await?.await
}

/// One connection.
struct Door {
    inner: Arc<Inner>,
    /// Channels that are open and not yet used.
    channels: HashMap<ChannelId, Channel<Msg>>,
}

impl Door {
    fn admits(&self, key: &PublicKey) -> Auth {
        let keys = self.inner.keys.as_ref();
        let known = keys.is_none_or(|keys| keys.iter().any(|one| one.key_data() == key.key_data()));
        if known { Auth::Accept } else { Auth::reject() }
    }
}

impl russh::server::Handler for Door {
    type Error = russh::Error;

    async fn auth_password(&mut self, _: &str, _: &str) -> Result<Auth, Self::Error> {
        Ok(if self.inner.keys.is_none() { Auth::Accept } else { Auth::reject() })
    }

    async fn auth_publickey_offered(
        &mut self,
        _: &str,
        offer: PublicKeyOffer<'_>,
    ) -> Result<Auth, Self::Error> {
        Ok(self.admits(offer.public_key))
    }

    async fn auth_publickey(&mut self, _: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, Self::Error> {
        Ok(self.admits(key.public_key))
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        self.channels.insert(channel.id(), channel);
        reply.accept().await;
        Ok(())
    }

    async fn channel_eof(&mut self, channel: ChannelId, session: &mut Session) -> Result<(), Self::Error> {
        self.channels.remove(&channel);
        session.close(channel)
    }

    async fn subsystem_request(
        &mut self,
        id: ChannelId,
        name: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        match self.channels.remove(&id).filter(|_| name == "sftp") {
            Some(channel) => {
                session.channel_success(id)?;
                let files = files::Files::new(self.inner.root.clone(), self.inner.told.clone());
                russh_sftp::server::run(channel.into_stream(), files).await;
                Ok(())
            }
            None => session.channel_failure(id),
        }
    }
}

#[cfg(test)]
#[path = "sftp_site/tests.rs"]
mod tests;
