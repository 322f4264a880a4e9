//! One fetch: a link is checked, asked for once by the guarded client, and streamed into the spool within limits.
//!
//! It must not know what the file is for, nor when to try again.

use std::time::Duration;

use http::header::{ACCEPT, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, USER_AGENT};
use http::{HeaderValue, StatusCode};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncWriteExt, BufWriter};
use url::Url;

use super::kinds;
use super::rules::Rules;
use super::spool::{Fetched, Full, Key, Space, Spool};
use crate::deliver::address::{AddressPolicy, BlockedAddress};
use crate::deliver::clients::Clients;
use crate::deliver::fault::{SendError, explain};
use crate::deliver::target::USER_AGENT_VALUE;
use crate::deliver::tls::ClientTls;
use crate::deliver::url_rules::{self, UrlError};
use crate::retry::Outcome;

/// Room in the spool is taken in steps of this, in bytes, where the media host does not say how much comes.
const STEP: u64 = 1 << 20;
/// Bytes that are gathered for one write.
const WRITE: usize = 256 << 10;

/// Why a file is not in the spool.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error("the link is refused: {0}")]
    Url(#[from] UrlError),
    /// Not on the list, or of a type that is not allowed, or not what it says.
    #[error("{0}")]
    Refused(String),
    #[error(transparent)]
    Blocked(#[from] BlockedAddress),
    #[error("the media host answered {status}")]
    Gone { status: StatusCode },
    #[error("the media host answered {status}{}", if status.is_redirection() { ": redirects are not followed" } else { "" })]
    Status { status: StatusCode },
    #[error("{size} bytes: the limit `max_bytes` is {max}")]
    TooLarge { size: u64, max: u64 },
    #[error("the media host cannot be asked: {0}")]
    Network(String),
    #[error("the media host was silent for {0:?}, the limit `media.idle_s`")]
    Silent(Duration),
    #[error("it did not come within {0:?}, the limit `media.fetch_s`")]
    Slow(Duration),
    #[error("of {expected} bytes {came} came")]
    Short { expected: u64, came: u64 },
    #[error(transparent)]
    Full(#[from] Full),
    #[error("the spool cannot be written: {0}")]
    Spool(#[from] std::io::Error),
}

/// What an error means for its link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// It may go better later.
    Passing,
    /// The link, or what it led to, is gone.
    Expired,
    /// It will never be sent.
    Refused,
}

impl FetchError {
    pub(super) fn meaning(&self) -> Meaning {
        match self {
            Self::Url(_) | Self::Refused(_) | Self::Blocked(_) | Self::TooLarge { .. } => Meaning::Refused,
            Self::Gone { .. } => Meaning::Expired,
            // A link that leads elsewhere, or that its host calls wrong, does so tomorrow, too.
            Self::Status { status } if status.is_redirection() || is_final(*status) => Meaning::Refused,
            Self::Status { .. }
            | Self::Network(_)
            | Self::Silent(_)
            | Self::Slow(_)
            | Self::Short { .. }
            | Self::Full(_)
            | Self::Spool(_) => Meaning::Passing,
        }
    }
}

fn is_final(status: StatusCode) -> bool {
    let passing =
        [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY, StatusCode::TOO_MANY_REQUESTS].contains(&status);
    status.is_client_error() && !passing
}

/// Fetches. Its parts are those of the host.
#[derive(Debug)]
pub(super) struct Fetcher {
    pub(super) clients: Clients,
    /// Authorities besides those of the system.
    pub(super) tls: Option<ClientTls>,
    pub(super) policy: AddressPolicy,
    pub(super) spool: Spool,
    /// `media.idle_s`
    pub(super) idle: Duration,
    /// `media.fetch_s`
    pub(super) whole: Duration,
}

impl Fetcher {
    /// Fetches a file into the spool; it is complete there, but for its note. What comes of an error is removed.
    pub(super) async fn fetch(
        &self,
        key: &Key,
        url: &str,
        rules: &Rules,
    ) -> Result<(Fetched, Space), FetchError> {
        let url = url_rules::check(url, &self.policy)?;
        rules.permit(&url).map_err(FetchError::Refused)?;
        let fetched = tokio::time::timeout(self.whole, self.stream(key, url, rules)).await;
        let fetched = fetched.unwrap_or(Err(FetchError::Slow(self.whole)));
        if fetched.is_err() {
            self.spool.discard(key, &["part"]);
        }
        fetched
    }

    async fn stream(&self, key: &Key, url: Url, rules: &Rules) -> Result<(Fetched, Space), FetchError> {
        let path = url.path().to_owned();
        let mut response = self.ask(url).await?;
        let (declared, length) = judge_head(&response, rules)?;
        let mut space = self.spool.reserve(&key.carrier, length.unwrap_or(0))?;
        let mut file = BufWriter::with_capacity(WRITE, self.spool.part(key).await?);
        let (mut hash, mut head, mut len) = (Sha256::new(), Vec::with_capacity(kinds::HEAD), 0_u64);
        let mut content_type = None;
        while let Some(chunk) = self.silent(response.chunk()).await?.map_err(network)? {
            len += chunk.len() as u64;
            if len > rules.max_bytes {
                return Err(FetchError::TooLarge { size: len, max: rules.max_bytes });
            }
            if length.is_none_or(|length| len > length) {
                space.resize(len.next_multiple_of(STEP))?;
            }
            if content_type.is_none() {
                let room = kinds::HEAD - head.len();
                head.extend_from_slice(&chunk[..chunk.len().min(room)]);
                if head.len() == kinds::HEAD {
                    // Before the rest of it has come for nothing.
                    content_type = Some(judge(declared.as_deref(), &head, &path, rules)?);
                }
            }
            hash.update(&chunk);
            file.write_all(&chunk).await?;
        }
        let content_type = match content_type {
            Some(known) => known,
            None => judge(declared.as_deref(), &head, &path, rules)?,
        };
        if let Some(expected) = length.filter(|expected| *expected != len) {
            return Err(FetchError::Short { expected, came: len });
        }
        file.flush().await?;
        // The name comes after the bytes, also for a machine that loses its power.
        file.get_ref().sync_data().await?;
        self.spool.complete(key).await?;
        space.resize(len)?;
        Ok((Fetched { len, sha256: hash.finalize().into(), content_type, scanned: false }, space))
    }

    async fn ask(&self, url: Url) -> Result<reqwest::Response, FetchError> {
        let mut request = reqwest::Request::new(http::Method::GET, url);
        request.headers_mut().insert(ACCEPT, HeaderValue::from_static("*/*"));
        request.headers_mut().insert(USER_AGENT, USER_AGENT_VALUE);
        let sent = self.silent(self.clients.execute(request, self.tls.as_ref())).await?;
        sent.map_err(|why| match why {
            SendError::Blocked(blocked) => FetchError::Blocked(blocked),
            other => match explain(other) {
                // A name that leads into the operator's network is as good as its address.
                (Outcome::Blocked, why) => FetchError::Refused(why),
                (_, why) => FetchError::Network(why),
            },
        })
    }

    /// Waits for the media host, but not for long.
    async fn silent<T>(&self, what: impl Future<Output = T>) -> Result<T, FetchError> {
        tokio::time::timeout(self.idle, what).await.map_err(|_| FetchError::Silent(self.idle))
    }
}

fn network(why: reqwest::Error) -> FetchError {
    FetchError::Network(explain(SendError::Client(why)).1)
}

fn judge(declared: Option<&str>, head: &[u8], path: &str, rules: &Rules) -> Result<String, FetchError> {
    kinds::judge(declared, head, path, &rules.types).map_err(FetchError::Refused)
}

/// What the head of an answer says: the declared type and the length, when there are.
fn judge_head(
    response: &reqwest::Response,
    rules: &Rules,
) -> Result<(Option<String>, Option<u64>), FetchError> {
    let status = response.status();
    match status.as_u16() {
        200 => {}
        401 | 403 | 404 | 410 => return Err(FetchError::Gone { status }),
        _ => return Err(FetchError::Status { status }),
    }
    let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
    if let Some(encoding) = header(CONTENT_ENCODING).filter(|e| !e.trim().eq_ignore_ascii_case("identity")) {
        let encoding: String = encoding.chars().take(80).collect();
        return Err(FetchError::Refused(format!("it comes as `{encoding}`, which was not asked for")));
    }
    let declared = kinds::declared(header(CONTENT_TYPE));
    if let Some(essence) = &declared {
        kinds::allowed(essence, &rules.types).map_err(FetchError::Refused)?;
    }
    let length = header(CONTENT_LENGTH).and_then(|text| text.trim().parse::<u64>().ok());
    match length {
        Some(size) if size > rules.max_bytes => Err(FetchError::TooLarge { size, max: rules.max_bytes }),
        length => Ok((declared, length)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::carrier::{MediaCeiling, MediaRules};
    use crate::clock::Millis;

    #[tokio::test]
    async fn a_name_that_leads_into_the_operators_network_is_refused_for_good() {
        let folder = tempfile::tempdir().unwrap();
        // The address is let through as it is written, and found out when its name is asked for.
        let open = AddressPolicy {
            allow_http: true,
            allowed_networks: ["127.0.0.0/8", "::1/128"].map(|net| net.parse().unwrap()).to_vec(),
        };
        let spool = Spool::open(folder.path().to_owned(), 1_000, 1_000).unwrap().0;
        let fetcher = Fetcher {
            clients: Clients::new(&AddressPolicy::default(), None).unwrap(),
            tls: None,
            policy: open,
            spool,
            idle: Duration::from_secs(10),
            whole: Duration::from_secs(10),
        };
        let ceiling = MediaCeiling { max_bytes: 10, types: vec!["image/png".to_owned()] };
        let rules = MediaRules { allowed_hosts: vec!["localhost".to_owned()], ..MediaRules::default() };
        let delivery = crate::event::time_ordered(Millis(1), [7; 10]).into();
        let key = Key { carrier: "acme".parse().unwrap(), delivery, slot: 0 };
        let rules = Rules::compile(&rules, &ceiling);
        let error = fetcher.fetch(&key, "http://localhost:9/x", &rules).await.unwrap_err();
        assert_eq!(error.meaning(), Meaning::Refused, "{error}");
        assert!(error.to_string().contains("loopback"), "{error}");
    }
}
