#![doc = include_str!("README.md")]

mod address;
mod compose;
mod dkim;
mod encode;
mod fault;
mod operator;
mod pool;
mod relay;
mod session;
mod target;
mod transcript;
mod wire;

pub use address::BadAddress;
pub use dkim::DkimError;
pub use operator::{CONNECTIONS, MAX_MESSAGE_BYTES, MailRules, MailRulesError, MailSettings};
pub use target::EmailError;

pub(super) use target::EmailTarget;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lettre::message::Mailbox;
use tokio::sync::Semaphore;

use self::compose::{Letter, Unmailable, Written};
use self::dkim::Dkim;
use self::fault::{SmtpError, Step};
use self::pool::Pool;
use self::relay::Relay;
use self::session::{Envelope, Session};
use self::wire::{Answer, Talk};
use super::AddressPolicy;
use super::content::{Contents, File, Missing};
use super::mask::Mask;
use super::sender::Tried;
use crate::clock::Millis;
use crate::pgp::{Encryption, PgpKeys};
use crate::retry::Outcome;
use crate::store::work::{HeldDelivery, Message};

/// How many times the policy's timeout a whole attempt may take: each step may take one.
const STEPS: u32 = 10;
/// The longest attempt, whatever the policy's timeout.
const MAX_ATTEMPT: Duration = Duration::from_secs(600);
/// A mail of more bytes than this is large: it is written out on a thread that may be busy.
const LARGE: u64 = 256 * 1024;
/// Large mails in memory at once. Each is there about three times: as it came, encoded, and as it is sent.
const LARGE_AT_ONCE: usize = 8;

/// Sends mails. Cheap to clone; connections are shared.
#[derive(Debug, Clone)]
pub(super) struct Mailer(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    policy: Arc<AddressPolicy>,
    rules: Arc<MailRules>,
    pool: Pool,
    /// The operator's connections.
    turns: Semaphore,
    large: Arc<Semaphore>,
}

/// By which relay a mail goes, in whose name, and how it is signed.
struct Route {
    relay: Arc<Relay>,
    from: Mailbox,
    dkim: Option<Arc<Dkim>>,
    masks: [Mask; 2],
}

impl Mailer {
    pub(super) fn new(policy: &AddressPolicy, rules: Arc<MailRules>) -> Self {
        Self(Arc::new(Inner {
            policy: Arc::new(policy.clone()),
            pool: Pool::new(rules.connections),
            turns: Semaphore::new(rules.connections),
            large: Arc::new(Semaphore::new(LARGE_AT_ONCE)),
            rules,
        }))
    }

    /// Makes one attempt at a delivery that begins at `now`. Each step of it may take `timeout`; all of it ten times that,
    /// and no more than ten minutes.
    pub(super) async fn attempt(
        &self,
        target: &EmailTarget,
        pgp: &PgpKeys,
        d: &HeldDelivery,
        contents: &Contents,
        timeout: Duration,
        now: Millis,
    ) -> Tried {
        let route = match self.route(target) {
            Ok(route) => route,
            Err(why) => return Tried::unavailable(why.to_string().into()),
        };
        let relay = format!("{}:{}", route.relay.host, route.relay.port);
        let files = match self.files(d, contents).await {
            Ok(files) => files,
            Err(missing) => return missing.tried(serde_json::json!({ "relay": relay }).to_string()),
        };
        let bytes: u64 = files.iter().map(File::len).sum();
        let most = self.0.rules.max_message_bytes as u64;
        // In base64 it only grows.
        if bytes.saturating_mul(4) / 3 > most {
            return Tried::unavailable(too_large(bytes.saturating_mul(4) / 3, most).into());
        }
        // It is never closed.
        let _large = if bytes > LARGE { self.0.large.clone().acquire_owned().await.ok() } else { None };
        let letter = match self.letter(target, &route, d, files).await {
            Ok(letter) => letter,
            Err(tried) => return *tried,
        };
        let encryption = match (!pgp.is_empty()).then(|| pgp.at(now)).transpose() {
            Ok(encryption) => encryption,
            Err(why) => {
                return Tried {
                    request: letter.shown(&relay).to_string(),
                    ..Tried::unavailable(why.to_string().into())
                };
            }
        };
        let shown = letter.shown(&relay).to_string();
        let dkim = route.dkim.clone();
        let (written, shown_whole) = match write(letter, relay, encryption, dkim, now).await {
            Ok(written) => written,
            Err(Unmailable(why)) => return Tried { request: shown, ..Tried::unavailable(why) },
        };
        if written.bytes.len() as u64 > most {
            let why = too_large(written.bytes.len() as u64, most);
            return Tried { request: shown_whole, ..Tried::unavailable(why.into()) };
        }
        let mut talk = Talk::new(timeout);
        let whole = (timeout * STEPS).min(MAX_ATTEMPT).max(timeout);
        let exchange = tokio::time::timeout(whole, self.exchange(&route.relay, &written, &mut talk)).await;
        let (outcome, status, error) = match exchange {
            Ok(Ok(answer)) => (Outcome::Delivered, Some(answer.code), None),
            Ok(Err(error)) => {
                let (outcome, status, error) = fault::judge(&error);
                (outcome, status, Some(error))
            }
            Err(_) => {
                let error = format!("after {whole:?} in all it still waited for {}", talk.awaited);
                (Outcome::Timeout, None, Some(error))
            }
        };
        let hide = |text: String| route.masks.iter().fold(text, |text, mask| mask.hide_text(text));
        let said = hide(talk.transcript.text().to_owned());
        Tried {
            outcome: hidden(outcome, &hide),
            status,
            error: error.map(hide),
            request: shown_whole,
            response_headers: None,
            response_body: (!said.is_empty()).then(|| said.into()),
        }
    }

    /// By which relay, in whose name. What the operator allows may have changed since the destination was written.
    fn route(&self, target: &EmailTarget) -> Result<Route, EmailError> {
        let rules = &self.0.rules;
        let own = target.mask.clone();
        if let (Some(relay), Some(from)) = (&target.relay, &target.from) {
            rules.admits_security(relay.security)?;
            let (relay, from) = (relay.clone(), from.clone());
            return Ok(Route { relay, from, dkim: target.dkim.clone(), masks: [own, Mask::default()] });
        }
        let operator = rules.operator.as_ref().ok_or(EmailError::NoRelay)?;
        operator.admits(target.from.as_ref())?;
        let from = target.from.clone().unwrap_or_else(|| operator.from.clone());
        let dkim = target
            .dkim
            .clone()
            .or_else(|| operator.dkim.clone().filter(|dkim| dkim.is_for(from.email.domain())));
        Ok(Route { relay: operator.relay.clone(), from, dkim, masks: [own, operator.mask.clone()] })
    }

    async fn files(&self, d: &HeldDelivery, contents: &Contents) -> Result<Vec<File>, Missing> {
        match &d.message {
            Message::Forward => Ok(vec![contents.body(d).await?]),
            _ => contents.attachments(d).await,
        }
    }

    async fn letter(
        &self,
        target: &EmailTarget,
        route: &Route,
        d: &HeldDelivery,
        files: Vec<File>,
    ) -> Result<Letter, Box<Tried>> {
        let mut read: Vec<(Bytes, Option<String>)> = Vec::with_capacity(files.len());
        for file in files {
            let bytes = file.read_all(self.0.rules.max_message_bytes as u64).await;
            let bytes = bytes.map_err(|why| Missing::failed(why.to_string()).tried("{}".to_owned()))?;
            read.push((bytes, file.content_type().map(str::to_owned)));
        }
        compose::letter(target, &route.from, d, read)
            .map_err(|Unmailable(why)| Tried::unavailable(why).into())
    }

    /// Sends over a connection that was kept, or a fresh one. One that had come to its end meanwhile is replaced once,
    /// as long as nothing of the message was sent.
    async fn exchange(&self, relay: &Relay, mail: &Written, talk: &mut Talk) -> Result<Answer, SmtpError> {
        let Inner { policy, rules, pool, turns, .. } = &*self.0;
        let _turn = if relay.is_guarded {
            None
        } else {
            talk.awaited = Step::Turn;
            // It is never closed.
            turns.acquire().await.ok()
        };
        let envelope = Envelope { from: &mail.from, to: &mail.recipients, mail: &mail.bytes };
        if let Some(mut session) = pool.take(&relay.key) {
            talk.transcript.note("over a connection that was kept");
            let sent = session.send(&envelope, talk).await;
            match sent {
                Err(why) if !talk.begun && why.is_stale() => {
                    talk.transcript.note(&format!("the connection was at its end ({why}); another one:"));
                }
                sent => return self.keep(relay, session, sent),
            }
        }
        let mut session = Session::open(relay, policy, rules.hello_name.as_deref(), talk).await?;
        let sent = session.send(&envelope, talk).await;
        self.keep(relay, session, sent)
    }

    fn keep(
        &self,
        relay: &Relay,
        session: Session,
        sent: Result<Answer, SmtpError>,
    ) -> Result<Answer, SmtpError> {
        if session.is_good() {
            self.0.pool.keep(relay.key, session);
        }
        sent
    }
}

/// Writes a mail out, and what is shown of it. One that is large or encrypted would keep others waiting.
async fn write(
    mut letter: Letter,
    relay: String,
    encryption: Option<Encryption>,
    dkim: Option<Arc<Dkim>>,
    now: Millis,
) -> Result<(Written, String), Unmailable> {
    let bytes: u64 = letter.enclosed.iter().map(|one| one.bytes.len() as u64).sum();
    let is_busy = bytes > LARGE || encryption.is_some();
    let work = move || {
        if let Some(encryption) = encryption {
            letter.encrypt(&encryption)?;
        }
        let mut shown = letter.shown(&relay);
        let written = letter.write(dkim.as_deref(), now)?;
        shown["bytes"] = written.bytes.len().into();
        Ok((written, shown.to_string()))
    };
    if is_busy {
        let written = tokio::task::spawn_blocking(work).await;
        return written.unwrap_or_else(|_| Err(Unmailable("the mail could not be written".into())));
    }
    work()
}

fn too_large(bytes: u64, most: u64) -> String {
    format!("the mail has {bytes} bytes, the limit `mail.max_message_bytes` is {most}")
}

/// An outcome without secrets: a server's answer is part of some.
fn hidden(outcome: Outcome, hide: &impl Fn(String) -> String) -> Outcome {
    match outcome {
        Outcome::Rejected(why) => Outcome::Rejected(hide(why.into_owned()).into()),
        other => other,
    }
}
