#![doc = include_str!("README.md")]

mod compare;
mod connect;
mod fault;
pub mod keys;
mod packet;
mod place;
mod pool;
mod session;
mod source;
mod steps;
mod sweep;
pub(super) mod target;
mod upload;
mod wire;

use std::time::Duration;

use hookyard_sdk::template::{LEVELS, PATH_BYTES, with_extension};
use serde_json::json;

use self::fault::Fault;
use self::place::Placed;
use self::pool::Pool;
use self::source::Source;
use self::steps::Steps;
use self::target::SftpTarget;
use self::upload::{Job, join, upload};
use super::address::AddressPolicy;
use super::content::{Contents, File};
use super::sender::Tried;
use super::target::Target;
use crate::carrier::path::check_path;
use crate::clock::Millis;
use crate::pgp;
use crate::retry::Outcome;
use crate::store::work::{HeldDelivery, Lane, Message};

pub use self::target::SftpError;

/// What sessions and attempts are held to; `[sftp]` of the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SftpLimits {
    /// Connections that are open at once.
    pub sessions: usize,
    /// Files that are sent at once over one of them.
    pub channels: usize,
    /// How long one may rest.
    pub idle: Duration,
    /// After which silence the server is asked whether it lives.
    pub keepalive: Duration,
    /// How long an attempt may take in all.
    pub total: Duration,
    /// The age from which on half-done uploads are removed.
    pub parts: Duration,
    /// Whether a file has to be on the server's disk.
    pub fsync: bool,
}

impl Default for SftpLimits {
    fn default() -> Self {
        Self {
            sessions: 256,
            channels: 4,
            idle: Duration::from_secs(60),
            keepalive: Duration::from_secs(15),
            total: Duration::from_secs(3_600),
            parts: Duration::from_secs(96 * 3_600),
            fsync: true,
        }
    }
}

/// Sends files. Cheap to clone; sessions are shared.
#[derive(Debug, Clone)]
pub(super) struct Sftp {
    pool: Pool,
    limits: SftpLimits,
}

impl Sftp {
    pub(super) fn new(policy: &AddressPolicy, limits: SftpLimits) -> Self {
        Self { pool: Pool::new(policy, limits), limits }
    }

    /// Ends all sessions.
    pub(super) async fn close(&self) {
        self.pool.close().await;
    }

    /// Makes one attempt at a delivery that begins at `now`. `timeout` bounds connecting with the login, and every wait for
    /// something to happen.
    pub(super) async fn attempt(
        &self,
        target: &Target,
        sftp: &SftpTarget,
        d: &HeldDelivery,
        contents: &Contents,
        timeout: Duration,
        now: Millis,
    ) -> Tried {
        let content = match contents.body(d).await {
            Ok(content) => content,
            Err(missing) => return missing.tried(shown(sftp, None, None)),
        };
        let path = match &d.message {
            Message::Forward => sftp.naming.path(d, &content),
            Message::Sftp { path } => match check_path(path, PATH_BYTES, LEVELS) {
                Ok(()) => path.clone(),
                Err(why) => return Tried::unavailable(format!("the file's path is refused: {why}").into()),
            },
            Message::Http { .. } | Message::Email { .. } => {
                let why = "the message is not a file, but the destination is of kind `sftp`";
                return Tried::unavailable(why.into());
            }
        };
        let (source, path) = if target.pgp.is_empty() {
            (Source::Plain(&content), path)
        } else {
            match target.pgp.at(now) {
                Ok(encryption) => {
                    (Source::Encrypted(&content, encryption), with_extension(&path, pgp::EXTENSION))
                }
                Err(why) => return Tried::unavailable(format!("pgp_keys: {why}").into()),
            }
        };
        let job = Job {
            sha256: content.sha256(),
            source,
            id: &d.id,
            path: join(&sftp.folder, &path),
            existing: sftp.existing,
            mode: sftp.mode,
            sync: self.limits.fsync,
            received: d.event.received,
            now,
            parts: self.limits.parts,
        };
        let lane = Lane { carrier: target.carrier.clone(), destination: target.name.clone() };
        let mut steps = Steps::new();
        let sending = Box::pin(self.send(&lane, sftp, &job, timeout, &mut steps));
        let sent = tokio::time::timeout(self.limits.total, sending).await;
        let sent = sent.unwrap_or(Err(Fault::TooLong(self.limits.total)));
        let (outcome, error, path) = match sent {
            Ok(path) => (Outcome::Delivered, None, path),
            Err(fault) => {
                let (outcome, error) = fault.explain();
                steps.note(&error);
                (outcome, Some(sftp.mask.hide_text(error)), job.path.clone())
            }
        };
        Tried {
            outcome: hidden(outcome, sftp),
            status: None,
            error,
            request: shown(sftp, Some(&path), Some((&content, &job))),
            response_headers: None,
            response_body: Some(sftp.mask.hide_text(steps.into_text()).into()),
        }
    }

    /// Sends over the session that there is or a new one. One that was there and turns out to be dead is replaced, once.
    async fn send(
        &self,
        lane: &Lane,
        sftp: &SftpTarget,
        job: &Job<'_>,
        timeout: Duration,
        steps: &mut Steps,
    ) -> Result<String, Fault> {
        let mut replaced = false;
        loop {
            let connected = tokio::time::timeout(timeout, Box::pin(self.pool.get(lane, sftp, steps))).await;
            let stalled = Fault::Stalled { awaited: "a connection and the login", patience: timeout };
            let (session, reused) = connected.map_err(|_| stalled)??;
            let fault = match self.over(&session, reused, job, timeout, steps).await {
                Ok(placed) => {
                    if let Some(leftover) = placed.leftover {
                        session.leave(leftover);
                    }
                    return Ok(placed.path);
                }
                Err(fault) => fault,
            };
            if !fault.ends_session() {
                return Err(fault);
            }
            self.pool.discard(lane, &session).await;
            if !reused || replaced || !fault.is_of_a_dead_session(timeout) {
                return Err(fault);
            }
            steps.note(format_args!("the connection that was there is dead ({fault}); another one"));
            replaced = true;
        }
    }

    async fn over(
        &self,
        session: &session::Session,
        reused: bool,
        job: &Job<'_>,
        timeout: Duration,
        steps: &mut Steps,
    ) -> Result<Placed, Fault> {
        let mut lent = session.lend(reused, timeout).await?;
        if reused {
            steps.note("over the connection that was there");
        }
        let placed = Box::pin(upload(session, &mut lent.wire, job, steps)).await;
        session.give_back(lent);
        placed
    }
}

/// The reason of an outcome goes into the record, too.
fn hidden(outcome: Outcome, sftp: &SftpTarget) -> Outcome {
    let hide = |why: std::borrow::Cow<'static, str>| sftp.mask.hide_text(why.into_owned()).into();
    match outcome {
        Outcome::Remote(why) => Outcome::Remote(hide(why)),
        Outcome::Rejected(why) => Outcome::Rejected(hide(why)),
        other => other,
    }
}

/// What is sent where, for the record.
fn shown(sftp: &SftpTarget, path: Option<&str>, sent: Option<(&File, &Job<'_>)>) -> String {
    let mut shown = json!({ "host": sftp.host, "port": sftp.port, "username": sftp.username });
    if let Some(path) = path {
        shown["path"] = path.into();
    }
    if let Some((content, job)) = sent {
        shown["bytes"] = content.len().into();
        shown["sha256"] = job.sha256.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into();
        if let Source::Encrypted(_, encryption) = &job.source {
            shown["encrypted_to"] = encryption.fingerprints().collect::<Vec<_>>().into();
        }
    }
    shown.to_string()
}
