//! One attempt at a delivery, whatever its destination's kind, and the report of it.
//!
//! It must not know what follows: it reports an [`Outcome`], `crate::retry` decides.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::address::AddressPolicy;
use super::auth::{TOKEN_TIMEOUT, TokenShelf};
use super::clients::Clients;
use super::content::Contents;
use super::drop::DropFolder;
use super::email::{MailRules, Mailer};
use super::http::Http;
use super::media::{Media, MediaParts};
use super::proxy::EgressProxy;
use super::sftp::{Sftp, SftpLimits};
use super::target::{Target, Way};
use crate::clock::{Millis, Stopwatch};
use crate::retry::Outcome;
use crate::store::work::HeldDelivery;

pub use super::clients::SenderError;

/// Sends deliveries of every kind. Cheap to clone; what is connected is shared.
#[derive(Debug, Clone)]
pub struct Sender {
    pub(super) http: Http,
    mail: Mailer,
    sftp: Sftp,
    drop: Option<DropFolder>,
    /// What deliveries of every kind carry.
    pub(super) contents: Contents,
}

/// What a sender may have beside the rules about addresses.
#[derive(Debug, Clone)]
pub struct SenderParts {
    /// What connects in its place, for HTTP.
    pub proxy: Option<EgressProxy>,
    /// Where tokens outlive it.
    pub shelf: Option<Arc<dyn TokenShelf>>,
    /// `token_timeout`: how long a token call may take. An attempt's own timeout holds as well.
    pub token_timeout: Duration,
    /// What SFTP sessions are held to.
    pub sftp: SftpLimits,
    /// What fetches; without it, content that would have to be fetched cannot be sent.
    pub media: Option<MediaParts>,
    /// What the operator set up for mails.
    pub mail: Arc<MailRules>,
    /// The folder of this host that carriers fetch from, if there is one.
    pub drop: Option<DropFolder>,
}

impl Default for SenderParts {
    fn default() -> Self {
        let (token_timeout, sftp) = (TOKEN_TIMEOUT, SftpLimits::default());
        let (proxy, shelf, media, mail, drop) = (None, None, None, Arc::default(), None);
        Self { proxy, shelf, token_timeout, sftp, media, mail, drop }
    }
}

/// What one attempt came to, for the record and for [`crate::retry::decide`].
#[derive(Debug, Clone)]
pub struct Report {
    /// When it began.
    pub started: Millis,
    /// How long it took, in microseconds.
    pub duration_us: u64,
    /// What it came to.
    pub outcome: Outcome,
    /// [`Outcome::kind`]: the word for it.
    pub kind: &'static str,
    /// The status of the answer, if one came: of HTTP, or a mail server's code.
    pub status: Option<u16>,
    /// What went wrong, for people; secrets masked.
    pub error: Option<String>,
    /// JSON of what was sent, secrets masked: for HTTP the method, address and headers. `{}` when nothing could be built.
    pub request: String,
    /// JSON of the answer's headers, at most [`MAX_ANSWER_HEADERS`](super::http::MAX_ANSWER_HEADERS) bytes of them.
    pub response_headers: Option<String>,
    /// At most [`MAX_ANSWER`](super::http::MAX_ANSWER) bytes of the answer's body; absent when it is empty.
    pub response_body: Option<Bytes>,
}

/// A [`Report`] without the time that it took.
pub(super) struct Tried {
    pub(super) outcome: Outcome,
    pub(super) status: Option<u16>,
    pub(super) error: Option<String>,
    pub(super) request: String,
    pub(super) response_headers: Option<String>,
    pub(super) response_body: Option<Bytes>,
}

impl Tried {
    /// Nothing was sent, since nothing could be built, for this reason.
    pub(super) fn unavailable(why: Cow<'static, str>) -> Self {
        Self {
            outcome: Outcome::Unavailable(why.clone()),
            status: None,
            error: Some(why.into_owned()),
            request: "{}".to_owned(),
            response_headers: None,
            response_body: None,
        }
    }
}

impl Sender {
    /// A sender that connects to what the policy allows, and keeps tokens in memory alone.
    ///
    /// # Errors
    /// TLS, the client or the spool could not be set up.
    pub fn new(policy: &AddressPolicy) -> Result<Self, SenderError> {
        Self::with(policy, SenderParts::default())
    }

    /// A sender that connects to what the policy allows.
    ///
    /// # Errors
    /// TLS, the client or the spool could not be set up.
    pub fn with(policy: &AddressPolicy, parts: SenderParts) -> Result<Self, SenderError> {
        let SenderParts { proxy, shelf, token_timeout, sftp, media, mail, drop } = parts;
        let clients = Clients::new(policy, proxy)?;
        let media = media.map(|parts| Media::open(parts, clients.clone(), policy)).transpose()?;
        Ok(Self {
            http: Http::new(clients, shelf, token_timeout),
            mail: Mailer::new(policy, mail),
            sftp: Sftp::new(policy, sftp),
            drop,
            contents: Contents { media },
        })
    }

    /// What fetches the content of deliveries, if there is anything.
    pub fn media(&self) -> Option<&Media> {
        self.contents.media.as_ref()
    }

    /// Ends the connections that are kept between attempts. Call it when there are no more.
    pub async fn close(&self) {
        self.sftp.close().await;
    }

    /// Makes one attempt at a delivery that begins at `now`, and is given up after `timeout`; a mail when one of its steps takes
    /// that long.
    pub async fn attempt(&self, target: &Target, d: &HeldDelivery, timeout: Duration, now: Millis) -> Report {
        let watch = Stopwatch::start();
        let tried = match &target.way {
            Way::Http(http) => self.http.attempt(target, http, d, &self.contents, timeout, now).await,
            Way::Email(email) => self.mail.attempt(email, &target.pgp, d, &self.contents, timeout, now).await,
            Way::Sftp(sftp) => self.sftp.attempt(target, sftp, d, &self.contents, timeout, now).await,
            Way::Drop(place) => match &self.drop {
                Some(drop) => drop.attempt(target, place, d, &self.contents, timeout, now).await,
                // It was registered when there was one.
                None => Tried::unavailable("this host has no drop folder any more".into()),
            },
        };
        let Tried { outcome, status, error, request, response_headers, response_body } = tried;
        Report {
            started: now,
            duration_us: u64::try_from(watch.elapsed().as_micros()).unwrap_or(u64::MAX),
            kind: outcome.kind(),
            outcome,
            status,
            error,
            request,
            response_headers,
            response_body,
        }
    }
}
