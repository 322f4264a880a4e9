//! Which addresses the host may connect to: the guard against requests to the operator's own network.
//!
//! The same check is made on literal addresses when a destination is written and on every address that a name resolves
//! to, in the resolver itself, so that a connection goes to an address that was checked. It must not know destinations.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// What the operator allows beyond the public internet over HTTPS.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AddressPolicy {
    /// Whether plain HTTP is allowed.
    pub allow_http: bool,
    /// Networks that are allowed although they are not public. An IPv4 network also covers its mapped form in IPv6.
    pub allowed_networks: Vec<IpNet>,
}

/// An address that may not be connected to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the address {ip} is refused: {why}; the operator can allow its network with `allowed_networks`")]
pub struct BlockedAddress {
    /// The address.
    pub ip: IpAddr,
    /// What kind of address it is.
    pub why: &'static str,
}

/// IPv4 that is not the public internet (IANA special-purpose registry), and what clouds put elsewhere.
const REFUSED_V4: [([u8; 4], u8, &str); 17] = [
    ([0, 0, 0, 0], 8, "this network"),
    ([10, 0, 0, 0], 8, "private network"),
    ([100, 64, 0, 0], 10, "carrier-grade NAT"),
    ([127, 0, 0, 0], 8, "loopback"),
    ([169, 254, 0, 0], 16, "link-local, cloud metadata"),
    ([172, 16, 0, 0], 12, "private network"),
    ([168, 63, 129, 16], 32, "cloud metadata"),
    ([192, 0, 0, 0], 24, "protocol assignments"),
    ([192, 0, 2, 0], 24, "documentation"),
    ([192, 88, 99, 0], 24, "6to4 relay"),
    ([192, 168, 0, 0], 16, "private network"),
    ([198, 18, 0, 0], 15, "benchmarking"),
    ([198, 51, 100, 0], 24, "documentation"),
    ([203, 0, 113, 0], 24, "documentation"),
    ([224, 0, 0, 0], 4, "multicast"),
    ([255, 255, 255, 255], 32, "broadcast"),
    ([240, 0, 0, 0], 4, "reserved"),
];

/// IPv6 inside 2000::/3 that is not the public internet. Everything outside of 2000::/3 is refused anyway.
const REFUSED_V6: [([u16; 8], u8, &str); 7] = [
    ([0x2001, 0, 0, 0, 0, 0, 0, 0], 32, "Teredo tunnel"),
    ([0x2001, 2, 0, 0, 0, 0, 0, 0], 48, "benchmarking"),
    ([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32, "documentation"),
    ([0x2001, 0, 0, 0, 0, 0, 0, 0], 23, "protocol assignments"),
    ([0x2002, 0, 0, 0, 0, 0, 0, 0], 16, "6to4 tunnel"),
    ([0x3ffe, 0, 0, 0, 0, 0, 0, 0], 16, "former test network"),
    ([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20, "documentation"),
];

impl AddressPolicy {
    /// Whether an address may be connected to.
    ///
    /// # Errors
    /// It is not public and the operator does not allow its network; says what kind it is.
    pub fn check(&self, ip: IpAddr) -> Result<(), BlockedAddress> {
        let inner = embedded(ip);
        let allowed = |ip: IpAddr| self.allowed_networks.iter().any(|net| net.contains(&ip));
        if allowed(ip) || inner.is_some_and(|v4| allowed(IpAddr::V4(v4))) {
            return Ok(());
        }
        let why = match (ip, inner) {
            (IpAddr::V4(v4), _) | (_, Some(v4)) => refused_v4(v4),
            (IpAddr::V6(v6), None) => refused_v6(v6),
        };
        why.map_or(Ok(()), |why| Err(BlockedAddress { ip, why }))
    }
}

/// The IPv4 address that an IPv6 address stands for: mapped (`::ffff:a.b.c.d`) or by NAT64 (`64:ff9b::a.b.c.d`).
fn embedded(ip: IpAddr) -> Option<Ipv4Addr> {
    let IpAddr::V6(v6) = ip else { return None };
    match v6.segments() {
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
            Some(Ipv4Addr::new(a, b, c, d))
        }
        _ => None,
    }
}

fn refused_v4(ip: Ipv4Addr) -> Option<&'static str> {
    REFUSED_V4
        .iter()
        .find(|(net, bits, _)| Ipv4Net::new_assert((*net).into(), *bits).contains(&ip))
        .map(|(_, _, why)| *why)
}

fn refused_v6(ip: Ipv6Addr) -> Option<&'static str> {
    let first = ip.segments()[0];
    if first & 0xe000 != 0x2000 {
        return Some(match first {
            _ if ip.is_loopback() => "loopback",
            _ if ip.is_unspecified() => "unspecified",
            0xfe80..=0xfebf => "link-local",
            0xfec0..=0xfeff => "site-local",
            0xfc00..=0xfdff => "private network",
            0xff00..=0xffff => "multicast",
            _ => "outside of the public range",
        });
    }
    REFUSED_V6
        .iter()
        .find(|(net, bits, _)| Ipv6Net::new_assert((*net).into(), *bits).contains(&ip))
        .map(|(_, _, why)| *why)
}

/// A name that could not be resolved.
#[derive(Debug, thiserror::Error)]
#[error("the name {name} could not be resolved: {cause}")]
pub(super) struct Unresolved {
    name: String,
    cause: std::io::Error,
}

/// Resolves names by the system and keeps only addresses that may be connected to.
#[derive(Debug, Clone)]
pub(super) struct GuardedResolver(pub(super) Arc<AddressPolicy>);

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let policy = self.0.clone();
        Box::pin(async move {
            let allowed = lookup(&policy, name.as_str()).await?;
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

/// The addresses of a name that may be connected to: at least one. The error is [`Unresolved`] or [`BlockedAddress`].
pub(super) async fn lookup(
    policy: &AddressPolicy,
    name: &str,
) -> Result<Vec<SocketAddr>, Box<dyn std::error::Error + Send + Sync>> {
    let found = tokio::net::lookup_host((name, 0)).await;
    let found = found.map_err(|cause| Unresolved { name: name.to_owned(), cause })?;
    let allowed = keep_allowed(policy, found)?;
    if allowed.is_empty() {
        let cause = std::io::Error::new(std::io::ErrorKind::NotFound, "it has no address");
        return Err(Unresolved { name: name.to_owned(), cause }.into());
    }
    Ok(allowed)
}

/// The addresses that may be connected to; the refusal of one of them when that leaves none.
fn keep_allowed(
    policy: &AddressPolicy,
    found: impl Iterator<Item = SocketAddr>,
) -> Result<Vec<SocketAddr>, BlockedAddress> {
    let mut refused = None;
    let allowed: Vec<_> = found
        .filter(|address| match policy.check(address.ip()) {
            Ok(()) => true,
            Err(blocked) => {
                refused = Some(blocked);
                false
            }
        })
        .collect();
    match refused {
        Some(blocked) if allowed.is_empty() => Err(blocked),
        _ => Ok(allowed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_public_is_refused() {
        let policy = AddressPolicy::default();
        let cases = [
            ("0.0.0.0", "this network"),
            ("0.1.2.3", "this network"),
            ("10.0.0.1", "private network"),
            ("100.64.0.1", "carrier-grade NAT"),
            ("100.100.100.200", "carrier-grade NAT"),
            ("127.0.0.1", "loopback"),
            ("127.255.255.254", "loopback"),
            ("169.254.169.254", "link-local, cloud metadata"),
            ("168.63.129.16", "cloud metadata"),
            ("172.16.0.1", "private network"),
            ("172.31.255.255", "private network"),
            ("192.0.0.192", "protocol assignments"),
            ("192.0.2.1", "documentation"),
            ("192.88.99.1", "6to4 relay"),
            ("192.168.1.1", "private network"),
            ("198.19.255.255", "benchmarking"),
            ("198.51.100.7", "documentation"),
            ("203.0.113.7", "documentation"),
            ("224.0.0.1", "multicast"),
            ("239.255.255.255", "multicast"),
            ("240.0.0.1", "reserved"),
            ("255.255.255.255", "broadcast"),
            ("::", "unspecified"),
            ("::1", "loopback"),
            ("::7f00:1", "outside of the public range"),
            ("::ffff:127.0.0.1", "loopback"),
            ("::ffff:169.254.169.254", "link-local, cloud metadata"),
            ("::ffff:0:127.0.0.1", "outside of the public range"),
            ("64:ff9b::10.0.0.1", "private network"),
            ("64:ff9b:1::10.0.0.1", "outside of the public range"),
            ("100::1", "outside of the public range"),
            ("fd00:ec2::254", "private network"),
            ("fe80::1", "link-local"),
            ("fec0::1", "site-local"),
            ("ff02::1", "multicast"),
            ("2001::1", "Teredo tunnel"),
            ("2001:0:7f00:1::", "Teredo tunnel"),
            ("2001:2::1", "benchmarking"),
            ("2001:10::1", "protocol assignments"),
            ("2001:db8::1", "documentation"),
            ("2002:7f00:1::", "6to4 tunnel"),
            ("3fff::1", "documentation"),
            ("4000::1", "outside of the public range"),
        ];
        for (ip, why) in cases {
            let ip = ip.parse().unwrap();
            assert_eq!(policy.check(ip), Err(BlockedAddress { ip, why }), "{ip}");
        }
    }

    #[test]
    fn what_is_public_passes() {
        let edges = [
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.1",
            "169.253.255.255",
            "172.15.255.255",
            "172.32.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "8.8.8.8",
            "::ffff:8.8.8.8",
            "64:ff9b::8.8.8.8",
            "2001:4860:4860::8888",
            "2606:4700::1111",
        ];
        for ip in edges {
            assert_eq!(AddressPolicy::default().check(ip.parse().unwrap()), Ok(()), "{ip}");
        }
    }

    #[test]
    fn an_allowed_network_passes_in_every_form_of_it_and_nothing_else_does() {
        let policy =
            AddressPolicy { allow_http: false, allowed_networks: vec!["10.1.0.0/16".parse().unwrap()] };
        for (ip, allowed) in [
            ("10.1.2.3", true),
            ("::ffff:10.1.2.3", true),
            ("10.2.0.1", false),
            ("::ffff:10.2.0.1", false),
            ("127.0.0.1", false),
        ] {
            assert_eq!(policy.check(ip.parse().unwrap()).is_ok(), allowed, "{ip}");
        }
    }

    #[test]
    fn of_mixed_answers_only_the_public_addresses_are_used() {
        let policy = AddressPolicy::default();
        let [public, private] = ["8.8.8.8:0", "10.0.0.1:0"].map(|a| a.parse::<SocketAddr>().unwrap());
        assert_eq!(keep_allowed(&policy, [private, public].into_iter()), Ok(vec![public]));
        assert!(keep_allowed(&policy, [private].into_iter()).is_err());
        assert_eq!(keep_allowed(&policy, [].into_iter()), Ok(vec![]));
    }
}
