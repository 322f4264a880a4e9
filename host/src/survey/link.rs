//! The link to a survey: the address of its page with a signed token.
//!
//! The token is `BASE64URL(1 | end | carrier | event | subscription | tag)`: `end` in Unix seconds (4 bytes, big-endian), each
//! name after a byte of its length (a UUID as its 16 bytes after `255`), and `tag` the first 16 bytes of HMAC-SHA256 over what
//! stands before it. So the same event and subscription always have the same link, and nothing is written before a
//! customer answers. Pure.

use std::fmt::Write as _;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::clock::Millis;
use crate::event::{CarrierId, EventId, SubscriptionId};
use crate::plugin::{Linked, PageLinks};

/// The form of the token.
const VERSION: u8 = 1;
const TAG: usize = 16;
/// Stands for a length where a UUID follows.
const UUID: u8 = 255;
/// Characters of the longest token: carrier and subscription of 63, an event id of 128.
const TOKEN_MAX: usize = ((1 + 4 + 3 + 63 + 128 + 63 + TAG) * 4).div_ceil(3);

/// The key that signs links: 32 random bytes that the store keeps sealed. It stays when the master key is rotated, and so do
/// the links that are in people's mail.
#[derive(Clone)]
pub struct LinkKey(Hmac<Sha256>);

impl LinkKey {
    /// The key of these bytes.
    pub fn from_bytes(bytes: &[u8; 32]) -> Self {
        // As HMAC pads a key that is shorter than a block.
        let mut block = [0; 64];
        block[..bytes.len()].copy_from_slice(bytes);
        let mut mac = Hmac::<Sha256>::new(&block.into());
        // Keeps the tags apart from those of any other use of the key.
        mac.update(b"hookyard survey link\0");
        Self(mac)
    }

    fn over(&self, bytes: &[u8]) -> Hmac<Sha256> {
        let mut mac = self.0.clone();
        mac.update(bytes);
        mac
    }
}

impl std::fmt::Debug for LinkKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LinkKey(***)")
    }
}

/// What a good link says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ticket {
    /// Whose event it is about.
    pub carrier: CarrierId,
    /// The event.
    pub event: EventId,
    /// The subscription that sent the link.
    pub subscription: SubscriptionId,
    /// When the link ends.
    pub expires: Millis,
}

/// Why a link opens nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadLink {
    /// It was not made here, or was changed or cut on its way.
    #[error("there is no such survey")]
    Unknown,
    /// Its time is over.
    #[error("the survey's link has ended")]
    Expired,
}

/// Makes and reads links.
#[derive(Debug, Clone)]
pub struct SurveyLinks {
    /// Or why there is none; for people.
    key: Result<LinkKey, String>,
    /// Where the host is reached from outside, without a slash at the end; empty when nobody said so.
    base: String,
    valid: Duration,
}

impl SurveyLinks {
    /// Links below `public_url` that end `valid` after their event. Without a key every link is unknown, and without an
    /// address none is made.
    pub fn new(key: Result<LinkKey, String>, public_url: &str, valid: Duration) -> Self {
        Self { key, base: public_url.trim_end_matches('/').to_owned(), valid }
    }

    /// What a token stands for.
    ///
    /// # Errors
    /// See [`BadLink`]. It takes the same time wherever a forged one is wrong.
    pub fn read(&self, token: &str, now: Millis) -> Result<Ticket, BadLink> {
        let ticket = self.ticket(token).ok_or(BadLink::Unknown)?;
        if ticket.expires <= now { Err(BadLink::Expired) } else { Ok(ticket) }
    }

    fn ticket(&self, token: &str) -> Option<Ticket> {
        if token.len() > TOKEN_MAX {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
        let (text, tag) = bytes.split_at_checked(bytes.len().checked_sub(TAG)?)?;
        self.key.as_ref().ok()?.over(text).verify_truncated_left(tag).ok()?;
        let (&VERSION, rest) = text.split_first()? else { return None };
        let (end, rest) = rest.split_first_chunk::<4>()?;
        let (carrier, rest) = take(rest)?;
        let (event, rest) = take(rest)?;
        let (subscription, rest) = take(rest)?;
        if !rest.is_empty() {
            return None;
        }
        Some(Ticket {
            carrier: carrier.parse().ok()?,
            event: event.parse().ok()?,
            subscription: subscription.parse().ok()?,
            expires: Millis(i64::from(u32::from_be_bytes(*end)) * 1_000),
        })
    }
}

impl PageLinks for SurveyLinks {
    fn survey(&self, about: Linked<'_>) -> Result<String, String> {
        if self.base.is_empty() {
            return Err("this host makes no links to surveys: its operator has to set `server.public_url`, the address at \
                        which it is reached from outside"
                .to_owned());
        }
        let key = self.key.as_ref().map_err(Clone::clone)?;
        let end = about.received.plus(self.valid).0 / 1_000;
        let end =
            u32::try_from(end).map_err(|_| "the event's time is beyond what a link can say".to_owned())?;
        let mut text = vec![VERSION];
        text.extend(end.to_be_bytes());
        for name in [about.carrier.as_str(), about.event.as_str(), about.subscription.as_str()] {
            put(&mut text, name);
        }
        let tag = key.over(&text).finalize().into_bytes();
        text.extend(&tag[..TAG]);
        let mut link = format!("{}/s/", self.base);
        // Writing to a `String` cannot fail.
        let _ = write!(link, "{}", URL_SAFE_NO_PAD.encode(text));
        Ok(link)
    }
}

fn put(text: &mut Vec<u8>, name: &str) {
    let uuid = uuid::Uuid::try_parse(name).ok().filter(|uuid| uuid.hyphenated().to_string() == name);
    match uuid {
        Some(uuid) => {
            text.push(UUID);
            text.extend(uuid.as_bytes());
        }
        // Names have at most 128 characters.
        None => {
            text.push(u8::try_from(name.len()).unwrap_or(UUID - 1));
            text.extend(name.as_bytes());
        }
    }
}

fn take(text: &[u8]) -> Option<(String, &[u8])> {
    let (&length, rest) = text.split_first()?;
    if length == UUID {
        let (uuid, rest) = rest.split_first_chunk::<16>()?;
        return Some((uuid::Uuid::from_bytes(*uuid).hyphenated().to_string(), rest));
    }
    let (name, rest) = rest.split_at_checked(length.into())?;
    Some((std::str::from_utf8(name).ok()?.to_owned(), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    const T0: Millis = Millis(1_761_300_000_123);
    const DAY: Duration = Duration::from_secs(86_400);

    fn links(key: u8) -> SurveyLinks {
        SurveyLinks::new(Ok(LinkKey::from_bytes(&[key; 32])), "https://hooks.example.com/", 14 * DAY)
    }

    fn link(links: &SurveyLinks, carrier: &str, event: &str, subscription: &str) -> String {
        let (carrier, event, subscription) =
            (carrier.parse().unwrap(), event.parse().unwrap(), subscription.parse().unwrap());
        links
            .survey(Linked { carrier: &carrier, event: &event, received: T0, subscription: &subscription })
            .unwrap()
    }

    fn token(link: &str) -> &str {
        link.strip_prefix("https://hooks.example.com/s/").unwrap()
    }

    #[test]
    fn a_link_says_what_it_was_made_for_until_it_ends() {
        let links = links(7);
        let uuid = "4e7d1c92-58ab-4a63-9b1f-c07e2d48a5f1";
        for (carrier, event, subscription) in [
            ("acme", "evt-1", "survey"),
            ("acme", uuid, uuid),
            // No canonical form of a UUID: it must come back as it was.
            ("a", "4E7D1C92-58AB-4A63-9B1F-C07E2D48A5F1", "s"),
            (&"c".repeat(63), &"e".repeat(128), &"s".repeat(63)),
        ] {
            let link = link(&links, carrier, event, subscription);
            let ticket = links.read(token(&link), T0).unwrap();
            assert_eq!((ticket.carrier.as_str(), ticket.event.as_str()), (carrier, event));
            assert_eq!(ticket.subscription.as_str(), subscription);
            assert_eq!(ticket.expires, Millis((T0.0 / 1_000) * 1_000 + 14 * 86_400_000));
            let last = Millis(ticket.expires.0 - 1);
            assert_eq!(links.read(token(&link), last).unwrap(), ticket);
            assert_eq!(links.read(token(&link), ticket.expires).unwrap_err(), BadLink::Expired);
        }
        assert!(link(&links, "acme", uuid, uuid).len() <= 110, "short enough for a line of a mail");
    }

    #[test]
    fn the_same_event_and_subscription_have_the_same_link_and_no_other() {
        let links = links(7);
        let one = link(&links, "acme", "ab", "c");
        assert_eq!(one, link(&links, "acme", "ab", "c"));
        for (carrier, event, subscription) in
            [("acme", "a", "bc"), ("zeta", "ab", "c"), ("acme", "ab", "d"), ("acmea", "b", "c")]
        {
            assert_ne!(one, link(&links, carrier, event, subscription));
        }
    }

    #[test]
    fn every_changed_bit_every_cut_and_every_other_key_is_unknown() {
        let links = links(7);
        let good = token(&link(&links, "acme", "evt-1", "survey")).to_owned();
        let bytes = URL_SAFE_NO_PAD.decode(&good).unwrap();
        for at in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[at / 8] ^= 1 << (at % 8);
            let token = URL_SAFE_NO_PAD.encode(changed);
            assert_eq!(links.read(&token, T0).unwrap_err(), BadLink::Unknown, "bit {at}");
        }
        for length in 0..good.len() {
            assert_eq!(links.read(&good[..length], T0).unwrap_err(), BadLink::Unknown, "{length}");
        }
        for bad in [format!("{good}A"), format!("{good}="), "A".repeat(1_000_000), "é".to_owned()] {
            assert_eq!(links.read(&bad, T0).unwrap_err(), BadLink::Unknown);
        }
        assert_eq!(self::links(8).read(&good, T0).unwrap_err(), BadLink::Unknown);
        let none = SurveyLinks::new(Err("locked".to_owned()), "https://hooks.example.com", DAY);
        assert_eq!(none.read(&good, T0).unwrap_err(), BadLink::Unknown);
    }

    #[test]
    fn without_an_address_it_says_what_to_set() {
        let links = SurveyLinks::new(Ok(LinkKey::from_bytes(&[7; 32])), "", DAY);
        let (carrier, event, subscription) =
            ("acme".parse().unwrap(), "e".parse().unwrap(), "s".parse().unwrap());
        let about = Linked { carrier: &carrier, event: &event, received: T0, subscription: &subscription };
        assert!(links.survey(about).unwrap_err().contains("`server.public_url`"));
        assert_eq!(format!("{:?}", LinkKey::from_bytes(&[7; 32])), "LinkKey(***)");
    }
}
