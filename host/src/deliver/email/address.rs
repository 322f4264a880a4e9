//! Addresses of people: who may be written to, and in whose name. What passes here is safe in a header and in a command.
//!
//! Pure. It must not know mails.

use lettre::Address;
use lettre::message::Mailbox;
use url::Host;

/// The longest address, in characters (RFC 5321, 4.5.3.1.3, without the brackets).
const MAX_ADDRESS: usize = 254;
/// The longest part before the `@` (RFC 5321, 4.5.3.1.1).
const MAX_LOCAL: usize = 64;
/// The longest name of a sender, in characters.
const MAX_NAME: usize = 120;

/// What is not an address that mails can go to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an address such as `claims@example.com`: {why}")]
pub struct BadAddress {
    /// What was given, cut to 80 characters.
    text: String,
    why: &'static str,
}

impl BadAddress {
    fn new(text: &str, why: &'static str) -> Self {
        Self { text: text.chars().take(80).collect(), why }
    }
}

/// Reads a plain address: letters, digits and ``!#$%&'*+-/=?^_`{|}~.`` before the `@`, and a domain's full name after it, which
/// comes out in lower case and in ASCII (IDNA). Quoted parts and addresses in the place of the domain are refused: nobody
/// needs the former, and the latter would lead a relay past the address guard.
pub(super) fn address(text: &str) -> Result<Address, BadAddress> {
    let wrong = |why| BadAddress::new(text, why);
    if text.len() > MAX_ADDRESS {
        return Err(wrong("it has more than 254 characters"));
    }
    let (local, domain) = text.rsplit_once('@').ok_or_else(|| wrong("the `@` is missing"))?;
    if local.is_empty() || local.len() > MAX_LOCAL {
        return Err(wrong("before the `@` it takes 1 to 64 characters"));
    }
    let atom = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&b);
    if !local.split('.').all(|part| !part.is_empty() && part.bytes().all(atom)) {
        return Err(wrong("before the `@` it takes letters, digits and signs such as `.`, `-` and `+`"));
    }
    let domain = host_name(domain).filter(|domain| domain.contains('.'));
    let domain = domain.ok_or_else(|| wrong("after the `@` it takes a domain such as `example.com`"))?;
    Address::new(local, domain).map_err(|_| wrong("it cannot be read"))
}

/// Whether two addresses are the same to every mail server in use: upper and lower case are.
pub(super) fn same(one: &Address, other: &Address) -> bool {
    let (one, other): (&str, &str) = (one.as_ref(), other.as_ref());
    one.eq_ignore_ascii_case(other)
}

/// A domain's or a host's name in lower case and in ASCII; nothing for addresses and what is no name.
pub(super) fn host_name(text: &str) -> Option<String> {
    // The parser of hosts would resolve percent signs.
    if text.contains(['%', '[']) {
        return None;
    }
    let Ok(Host::Domain(name)) = Host::parse(text) else { return None };
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    (name.len() <= 253 && name.split('.').all(label)).then_some(name)
}

/// Reads an address with or without a name before it: `claims@example.com`, `Claims <claims@example.com>`.
pub(super) fn mailbox(text: &str) -> Result<Mailbox, BadAddress> {
    let wrong = |why| BadAddress::new(text, why);
    let Some((name, rest)) = text.split_once('<') else { return Ok(Mailbox::new(None, address(text)?)) };
    let inner = rest.strip_suffix('>').ok_or_else(|| wrong("the `>` is missing at its end"))?;
    let name = name.trim();
    let name = name.strip_prefix('"').and_then(|name| name.strip_suffix('"')).unwrap_or(name);
    if name.chars().count() > MAX_NAME {
        return Err(wrong("its name has more than 120 characters"));
    }
    if name.chars().any(is_unsafe) || name.contains(['"', '\\', '<', '>']) || name.contains("=?") {
        return Err(wrong("its name has a sign that cannot stand in a header"));
    }
    let name = Some(name).filter(|name| !name.is_empty()).map(str::to_owned);
    Ok(Mailbox::new(name, address(inner)?))
}

/// Characters that break a line, or that make people read another text than the one that is there.
pub(super) fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{61c}' | '\u{feff}')
        || ('\u{202a}'..='\u{202e}').contains(&c)
        || ('\u{2066}'..='\u{2069}').contains(&c)
}

/// Which addresses are meant: one, all of a domain, or all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Pattern {
    All,
    /// Without the `*@`, in lower case.
    Domain(String),
    /// In lower case.
    One(String),
}

impl Pattern {
    /// Reads `*`, `*@example.com` or an address.
    pub(super) fn parse(text: &str) -> Result<Self, BadAddress> {
        if text == "*" {
            return Ok(Self::All);
        }
        if let Some(domain) = text.strip_prefix("*@") {
            let name = host_name(domain).filter(|name| name.contains('.'));
            let why = "after `*@` it takes a domain such as `example.com`";
            return name.map(Self::Domain).ok_or_else(|| BadAddress::new(text, why));
        }
        if text.contains('*') {
            return Err(BadAddress::new(text, "a `*` stands alone, or for all that is before the `@`"));
        }
        Ok(Self::One(address(text)?.to_string().to_lowercase()))
    }

    /// Whether an address is meant; upper and lower case are the same.
    pub(super) fn admits(&self, address: &Address) -> bool {
        match self {
            Self::All => true,
            Self::Domain(domain) => address.domain().eq_ignore_ascii_case(domain),
            Self::One(one) => AsRef::<str>::as_ref(address).eq_ignore_ascii_case(one),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_plain_one_at_a_domain() {
        for (given, read) in [
            ("claims@example.com", "claims@example.com"),
            ("First.Last+tag@Mail.Example.COM", "First.Last+tag@mail.example.com"),
            ("info@müller.example", "info@xn--mller-kva.example"),
            ("o'brien@example.com", "o'brien@example.com"),
        ] {
            assert_eq!(address(given).unwrap().to_string(), read);
        }
        let long = format!("{}@example.com", "x".repeat(65));
        for wrong in [
            "",
            "claims",
            "@example.com",
            "claims@",
            "claims@localhost",
            "claims@10.0.0.1",
            "claims@[10.0.0.1]",
            "claims@2130706433",
            "claims@ex%61mple.com",
            "a@b@example.com",
            "a..b@example.com",
            ".a@example.com",
            "\"a b\"@example.com",
            "a b@example.com",
            "a@example.com\r\nRCPT TO:<b@example.com>",
            "a\r\nb@example.com",
            "a\0@example.com",
            "a@exam\0ple.com",
            "a@example.com>",
            "<a@example.com>",
            "a@example.com.",
            "a@-example.com",
            "ä@example.com",
            "a,b@example.com",
            "=?utf-8?q?a?=@example.com\n",
            &long,
        ] {
            let refused = address(wrong);
            assert!(refused.is_err(), "{wrong:?}: {refused:?}");
        }
    }

    #[test]
    fn a_name_before_an_address_cannot_leave_its_place() {
        let read = mailbox("\"Schäden, Abteilung 3\" <claims@example.com>").unwrap();
        assert_eq!(
            (read.name.as_deref(), read.email.to_string().as_str()),
            (Some("Schäden, Abteilung 3"), "claims@example.com")
        );
        assert_eq!(mailbox("<claims@example.com>").unwrap().name, None);
        for wrong in [
            "A\r\nBcc: b@example.com <a@example.com>",
            "A\u{2028}B <a@example.com>",
            "A\0 <a@example.com>",
            "=?utf-8?q?a=0D=0AB?= <a@example.com>",
            "a\" <b@example.com>, \"c <a@example.com>",
            "\u{202e}gro <a@example.com>",
            "A <a@example.com> b",
            "A <a@example.com",
        ] {
            let refused = mailbox(wrong);
            assert!(refused.is_err(), "{wrong:?}: {refused:?}");
        }
    }

    #[test]
    fn patterns_admit_what_they_name() {
        let admits =
            |pattern: &str, who: &str| Pattern::parse(pattern).unwrap().admits(&address(who).unwrap());
        assert!(admits("*", "a@example.com"));
        assert!(admits("*@Example.com", "a@example.COM"));
        assert!(!admits("*@example.com", "a@sub.example.com"));
        assert!(!admits("*@example.com", "a@notexample.com"));
        assert!(admits("Claims@example.com", "claims@example.com"));
        assert!(!admits("claims@example.com", "claims2@example.com"));
        for wrong in ["*@*", "**", "*@", "a*@example.com", "*@example", "@example.com", "*example.com"] {
            assert!(Pattern::parse(wrong).is_err(), "{wrong}");
        }
    }
}
