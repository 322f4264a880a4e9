//! The HTTP clients: one for all destinations without certificates of their own, and one for each distinct set of
//! certificates; each twice where there is an egress proxy. All have the same address guard and follow no redirect.
//!
//! It must not know what is sent.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::dns::{Name, Resolve, Resolving};

use super::address::{AddressPolicy, GuardedResolver, lookup};
use super::fault::SendError;
use super::media::MediaError;
use super::proxy::EgressProxy;
use super::tls::{self, ClientTls};
use super::url_rules::literal;

/// How many sets of certificates have a client at once. Of those above, the least recently used is built anew.
const MAX_CLIENTS: usize = 256;

/// All clients. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Clients(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    policy: Arc<AddressPolicy>,
    proxy: Option<EgressProxy>,
    plain: Pair,
    own: Mutex<Own>,
}

/// The clients of sets of certificates, by digest, with the turn in which each was last used.
#[derive(Debug, Default)]
struct Own {
    clients: HashMap<[u8; 32], (Pair, u64)>,
    turn: u64,
}

/// The same client straight and through the proxy.
#[derive(Debug, Clone)]
struct Pair {
    straight: reqwest::Client,
    proxied: Option<reqwest::Client>,
}

/// Why there are no clients.
#[derive(Debug, thiserror::Error)]
pub enum SenderError {
    /// TLS could not be set up.
    #[error("TLS could not be set up: {0}")]
    Tls(#[from] rustls::Error),
    /// The client could not be built.
    #[error("the HTTP client could not be built: {0}")]
    Client(#[from] reqwest::Error),
    /// Nothing can be fetched.
    #[error(transparent)]
    Media(#[from] MediaError),
}

impl Clients {
    pub(super) fn new(policy: &AddressPolicy, proxy: Option<EgressProxy>) -> Result<Self, SenderError> {
        let policy = Arc::new(policy.clone());
        let plain = Pair::build(&tls::tls()?, &policy, proxy.as_ref())?;
        Ok(Self(Arc::new(Inner { policy, proxy, plain, own: Mutex::default() })))
    }

    /// Sends a request, once. The name of its host is resolved and checked here even when the proxy is the one to connect.
    pub(super) async fn execute(
        &self,
        request: reqwest::Request,
        tls: Option<&ClientTls>,
    ) -> Result<reqwest::Response, SendError> {
        let Inner { policy, proxy, plain, .. } = &*self.0;
        let pair = match tls {
            None => plain.clone(),
            Some(tls) => self.own(tls)?,
        };
        let url = request.url();
        // No resolver sees an address that stands in the place of a name.
        let literal = literal(url);
        literal.map_or(Ok(()), |ip| policy.check(ip))?;
        if let (Some(proxied), Some(proxy)) = (&pair.proxied, proxy) {
            let addresses: Vec<IpAddr> = match literal {
                Some(ip) => vec![ip],
                None => {
                    let found = lookup(policy, url.host_str().unwrap_or_default()).await;
                    found.map_err(SendError::Address)?.iter().map(std::net::SocketAddr::ip).collect()
                }
            };
            if !proxy.is_passed_by(url, &addresses) {
                return proxied.execute(request).await.map_err(SendError::Proxied);
            }
        }
        Ok(pair.straight.execute(request).await?)
    }

    fn own(&self, tls: &ClientTls) -> Result<Pair, reqwest::Error> {
        let mut own = self.0.own.lock().unwrap_or_else(PoisonError::into_inner);
        own.turn += 1;
        let turn = own.turn;
        if let Some((pair, used)) = own.clients.get_mut(&tls.digest) {
            *used = turn;
            return Ok(pair.clone());
        }
        if own.clients.len() >= MAX_CLIENTS
            && let Some(oldest) = own.clients.iter().min_by_key(|(_, (_, used))| *used).map(|(key, _)| *key)
        {
            // What is under way on it goes on.
            own.clients.remove(&oldest);
        }
        let pair = Pair::build(&tls.config, &self.0.policy, self.0.proxy.as_ref())?;
        own.clients.insert(tls.digest, (pair.clone(), turn));
        Ok(pair)
    }
}

impl Pair {
    fn build(
        tls: &rustls::ClientConfig,
        policy: &Arc<AddressPolicy>,
        proxy: Option<&EgressProxy>,
    ) -> Result<Self, reqwest::Error> {
        let guarded = GuardedResolver(policy.clone());
        let proxied = proxy.map(|proxy| {
            let resolver = ProxyResolver { proxy: proxy.host().into(), others: guarded.clone() };
            builder(tls).dns_resolver(resolver).proxy(proxy.for_client()?).build()
        });
        let straight = builder(tls).dns_resolver(guarded).build()?;
        Ok(Self { straight, proxied: proxied.transpose()? })
    }
}

fn builder(tls: &rustls::ClientConfig) -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls.clone())
        // A redirect would lead past the address guard, and a variable of the environment past everything.
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .referer(false)
        // Every send is an attempt that is recorded. What remains is that a request which met a pooled connection's
        // end before any of it was written goes out on another connection.
        .retry(reqwest::retry::never())
        .pool_max_idle_per_host(128)
        .pool_idle_timeout(Duration::from_secs(30))
        .http2_max_header_list_size(64 * 1024)
        .tcp_nodelay(true)
}

/// Finds the proxy, which is the operator's and may be anywhere; every other name is guarded.
#[derive(Debug)]
struct ProxyResolver {
    proxy: Arc<str>,
    others: GuardedResolver,
}

impl Resolve for ProxyResolver {
    fn resolve(&self, name: Name) -> Resolving {
        if !name.as_str().eq_ignore_ascii_case(&self.proxy) {
            return self.others.resolve(name);
        }
        let proxy = self.proxy.clone();
        Box::pin(async move {
            let found: Vec<_> = tokio::net::lookup_host((&*proxy, 0)).await?.collect();
            Ok(Box::new(found.into_iter()) as reqwest::dns::Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::carrier::Tls;

    #[test]
    fn a_set_of_certificates_has_one_client_and_their_number_is_bounded() {
        let clients = Clients::new(&AddressPolicy::default(), None).unwrap();
        let tls = |n: usize| ClientTls {
            digest: std::array::from_fn(|at| n.to_be_bytes().get(at).copied().unwrap_or(0)),
            ..ClientTls::compile(&Tls::default()).unwrap()
        };
        let known = |n: usize| clients.0.own.lock().unwrap().clients.contains_key(&tls(n).digest);
        for n in 0..MAX_CLIENTS {
            clients.own(&tls(n)).unwrap();
        }
        clients.own(&tls(0)).unwrap();
        clients.own(&tls(MAX_CLIENTS)).unwrap();
        assert_eq!(clients.0.own.lock().unwrap().clients.len(), MAX_CLIENTS);
        assert!(known(0) && !known(1) && known(2) && known(MAX_CLIENTS), "the least recently used went");
    }
}
