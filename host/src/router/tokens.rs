//! Where deliveries' access tokens outlive the process: the store, sealed with the master key.

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use crate::carrier::auth::{Token, token_context};
use crate::deliver::TokenShelf;
use crate::secrets::MasterKey;
use crate::store::Store;
use crate::store::tokens::StoredToken;
use crate::store::work::Lane;

/// The shelf of tokens. Its failures cost a token call and are logged.
#[derive(Debug, Clone)]
pub struct Shelf {
    store: Store,
    master: MasterKey,
}

impl Shelf {
    /// A shelf in this store.
    pub fn new(store: Store, master: MasterKey) -> Self {
        Self { store, master }
    }

    /// The token and its sealed form.
    async fn find(&self, lane: &Lane) -> Option<(Token, Vec<u8>)> {
        let missed = |why: &dyn std::fmt::Display| {
            tracing::warn!(carrier = %lane.carrier, destination = %lane.destination, %why,
                "a kept token cannot be read; another is fetched");
        };
        let kept = self.store.token(lane).await.map_err(|why| missed(&why)).ok()??;
        let context = token_context(&lane.carrier, &lane.destination);
        let plain = self.master.open(&context, &kept.sealed).map_err(|why| missed(&why)).ok()?;
        let token = serde_json::from_slice(&plain).map_err(|why| missed(&why)).ok()?;
        Some((token, kept.sealed))
    }

    async fn put(&self, lane: &Lane, token: &Token) -> Result<(), String> {
        let Some(expires) = token.expires else { return Ok(()) };
        let plain = serde_json::to_vec(token).map_err(|why| why.to_string())?;
        let sealed = self.master.seal(&token_context(&lane.carrier, &lane.destination), &plain);
        self.store.put_token(lane, StoredToken { sealed, expires }).await.map_err(|why| why.to_string())
    }
}

impl TokenShelf for Shelf {
    fn load<'a>(&'a self, lane: &'a Lane) -> BoxFuture<'a, Option<Token>> {
        async move { Some(self.find(lane).await?.0) }.boxed()
    }

    fn keep<'a>(&'a self, lane: &'a Lane, token: &'a Token) -> BoxFuture<'a, ()> {
        async move {
            if let Err(why) = self.put(lane, token).await {
                tracing::warn!(carrier = %lane.carrier, destination = %lane.destination, %why,
                    "a token could not be kept; it serves this node alone");
            }
        }
        .boxed()
    }

    fn forget<'a>(&'a self, lane: &'a Lane, token: &'a Token) -> BoxFuture<'a, ()> {
        async move {
            let Some((kept, sealed)) = self.find(lane).await else { return };
            if kept != *token {
                return;
            }
            if let Err(why) = self.store.drop_token(lane, &sealed).await {
                tracing::warn!(carrier = %lane.carrier, destination = %lane.destination, %why,
                    "a refused token could not be dropped; the next one takes its place");
            }
        }
        .boxed()
    }
}
