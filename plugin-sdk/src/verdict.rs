//! What a plugin decides, and what travels on.

use serde::Serialize;

use crate::{Delivery, Email, HttpRequest, Result, SftpFile};

/// What a plugin decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing is sent. The reason is kept with the event, where the carrier can read it.
    Drop(String),
    /// On to the next plugin of the chain with this as its payload, and after the last one to every destination of
    /// the subscription.
    Forward(Content),
    /// These, and nothing else. It ends the chain. An empty list sends nothing and gives no reason: prefer
    /// [`Verdict::drop`].
    Deliver(Vec<Delivery>),
}

impl Verdict {
    /// Nothing is sent; the carrier can read why.
    pub fn drop(reason: impl Into<String>) -> Self {
        Self::Drop(reason.into())
    }

    /// The payload goes on as it came. Nothing is copied.
    pub fn forward() -> Self {
        Self::Forward(Content::Original)
    }

    /// This value goes on in place of the payload, as JSON.
    ///
    /// # Errors
    /// When the value has no JSON form (a map with keys that are no texts).
    pub fn forward_json(value: &impl Serialize) -> Result<Self> {
        Ok(Self::Forward(Content::json(value)?))
    }

    /// These deliveries, and nothing else.
    pub fn deliver<D: Into<Delivery>>(deliveries: impl IntoIterator<Item = D>) -> Self {
        Self::Deliver(deliveries.into_iter().map(Into::into).collect())
    }
}

impl From<Vec<Delivery>> for Verdict {
    fn from(deliveries: Vec<Delivery>) -> Self {
        Self::Deliver(deliveries)
    }
}

macro_rules! delivered {
    ($($ty:ty)*) => {
        $(impl From<$ty> for Verdict {
            fn from(delivery: $ty) -> Self {
                Self::Deliver(vec![delivery.into()])
            }
        })*
    };
}
delivered!(Delivery HttpRequest Email SftpFile);

/// What travels on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// The payload that this plugin was given, byte for byte.
    Original,
    /// Other bytes.
    Bytes(Vec<u8>),
    /// An `https` address that the host fetches and streams when it delivers.
    Fetch(String),
}

impl Content {
    /// A value as JSON.
    ///
    /// # Errors
    /// When the value has no JSON form (a map with keys that are no texts).
    pub fn json(value: &impl Serialize) -> Result<Self> {
        Ok(Self::Bytes(serde_json::to_vec(value)?))
    }
}

impl From<Vec<u8>> for Content {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes)
    }
}

impl From<String> for Content {
    fn from(text: String) -> Self {
        Self::Bytes(text.into_bytes())
    }
}

impl From<&str> for Content {
    fn from(text: &str) -> Self {
        Self::Bytes(text.as_bytes().to_vec())
    }
}
