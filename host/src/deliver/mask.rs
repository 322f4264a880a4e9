//! Hides a destination's secrets in what its receiver says: an answer that repeats them is kept with `***` in their place.
//!
//! A receiver knows what it was sent, and many print it: a debug page, an error that quotes the request's headers. What is
//! kept of an answer is shown to people and stays in the database, where no secret may be.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use aho_corasick::{AhoCorasick, MatchKind};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use http::header::{HeaderMap, HeaderValue};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::carrier::Auth;
use crate::carrier::destination::DestinationSecrets;
use crate::secrets::MASK;

/// The shortest text that is hidden, in bytes: of what is shorter every other answer is full, and it protects nothing.
const MIN_SECRET: usize = 6;

/// What must not be kept of an answer. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Mask(Option<Arc<Inner>>);

struct Inner {
    secrets: BTreeSet<Vec<u8>>,
    /// Every form that a secret may come back in.
    forms: BTreeSet<Vec<u8>>,
    finder: AhoCorasick,
}

impl std::fmt::Debug for Mask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Mask({})", self.0.as_ref().map_or(0, |inner| inner.secrets.len()))
    }
}

impl Mask {
    /// Hides what a destination keeps secret, whether it is sent or not.
    pub(super) fn of(secrets: &DestinationSecrets) -> Self {
        let headers = secrets.headers.values().map(String::as_str);
        let signing = secrets.signing.iter().map(|one| one.secret.as_str());
        let shared = secrets.shared_secret.as_deref();
        let fetched: Vec<&str> = match &secrets.auth {
            Some(Auth::OAuth2(settings)) => settings.secrets().collect(),
            // In the headers of every request.
            Some(Auth::Basic { .. } | Auth::Bearer { .. }) | None => Vec::new(),
        };
        let login =
            secrets.login.iter().flat_map(|login| [&login.password, &login.private_key, &login.passphrase]);
        let login = login.flatten().map(String::as_str);
        let dkim = secrets.dkim_key.as_deref();
        Self::hiding(headers.chain(signing).chain(shared).chain(fetched).chain(login).chain(dkim))
    }

    /// Hides these.
    pub(super) fn hiding<'s>(texts: impl IntoIterator<Item = &'s str>) -> Self {
        let mut secrets = BTreeSet::new();
        texts.into_iter().for_each(|text| add(&mut secrets, text.as_bytes()));
        Self::find(secrets)
    }

    /// The same and what else is secret in a request's headers: they are marked.
    pub(super) fn with(&self, headers: &HeaderMap) -> Self {
        let known = |value: &[u8]| self.0.as_ref().is_some_and(|inner| inner.secrets.contains(value));
        let fresh = |value: &&HeaderValue| {
            value.is_sensitive() && value.len() >= MIN_SECRET && !known(value.as_bytes())
        };
        let more: Vec<&HeaderValue> = headers.values().filter(fresh).collect();
        if more.is_empty() {
            return self.clone();
        }
        let mut secrets = self.0.as_ref().map(|inner| inner.secrets.clone()).unwrap_or_default();
        more.into_iter().for_each(|value| add(&mut secrets, value.as_bytes()));
        Self::find(secrets)
    }

    /// Makes what finds all forms of these.
    fn find(secrets: BTreeSet<Vec<u8>>) -> Self {
        let forms: BTreeSet<Vec<u8>> = secrets.iter().flat_map(|secret| forms(secret)).collect();
        if forms.is_empty() {
            return Self(None);
        }
        // The longest counts where several begin; and it fails only beyond sizes that no destination has.
        let finder = AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(&forms);
        Self(finder.ok().map(|finder| Arc::new(Inner { secrets, forms, finder })))
    }

    /// The text with every secret hidden. A secret whose end is cut off counts from [`MIN_SECRET`] bytes on.
    pub(super) fn hide<'t>(&self, text: &'t [u8]) -> Cow<'t, [u8]> {
        let Some(Inner { forms, finder, .. }) = self.0.as_deref() else { return Cow::Borrowed(text) };
        let starts = |form: &Vec<u8>| {
            let longest = form.len().saturating_sub(1).min(text.len());
            (MIN_SECRET..=longest).rev().find(|&n| text.ends_with(&form[..n]))
        };
        let cut = forms.iter().filter_map(starts).max();
        if cut.is_none() && !finder.is_match(text) {
            return Cow::Borrowed(text);
        }
        let whole = &text[..text.len() - cut.unwrap_or(0)];
        let mut hidden = Vec::with_capacity(text.len());
        finder.replace_all_with_bytes(whole, &mut hidden, |_, _, hidden| {
            hidden.extend_from_slice(MASK.as_bytes());
            true
        });
        if cut.is_some() {
            hidden.extend_from_slice(MASK.as_bytes());
        }
        Cow::Owned(hidden)
    }

    /// As [`Mask::hide`], for a text.
    pub(super) fn hide_text(&self, text: String) -> String {
        match self.hide(text.as_bytes()) {
            Cow::Borrowed(_) => text,
            // Secrets are whole characters, and so is what takes their place.
            Cow::Owned(hidden) => String::from_utf8_lossy(&hidden).into_owned(),
        }
    }
}

/// Adds a secret, and the credentials in it when it is a header's value such as `Basic …`.
fn add(secrets: &mut BTreeSet<Vec<u8>>, secret: &[u8]) {
    let mut add = |secret: &[u8]| {
        if secret.len() >= MIN_SECRET {
            secrets.insert(secret.to_vec());
        }
    };
    add(secret);
    let text = String::from_utf8_lossy(secret);
    // Of a key in several lines each is one.
    text.lines()
        .skip(1)
        .filter(|line| !line.starts_with("-----"))
        .for_each(|line| add(line.trim().as_bytes()));
    // A signing secret is named without its prefix, too.
    if let Some(bare) = text.strip_prefix("whsec_").or_else(|| text.strip_prefix("whsk_")) {
        add(bare.as_bytes());
    }
    let Some((scheme, credentials)) = text.split_once(' ') else { return };
    add(credentials.trim().as_bytes());
    if scheme.eq_ignore_ascii_case("basic")
        && let Ok(pair) = STANDARD.decode(credentials.trim())
    {
        add(&pair);
        if let Some(colon) = pair.iter().position(|b| *b == b':') {
            add(&pair[colon + 1..]);
        }
    }
}

/// A secret as it is, inside JSON, an address, a form, a page, and inside anything that is base64.
fn forms(secret: &[u8]) -> Vec<Vec<u8>> {
    let mut forms = vec![secret.to_vec()];
    if let Ok(text) = std::str::from_utf8(secret) {
        let json = serde_json::Value::from(text).to_string();
        let json = json[1..json.len() - 1].to_owned();
        let percent = utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let html =
            text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;");
        // Unreserved characters are left as they are by most.
        let plain = ["-", "_", ".", "~"].iter().fold(percent.clone(), |all, one| {
            all.replace(&utf8_percent_encode(one, NON_ALPHANUMERIC).to_string(), one)
        });
        forms.extend(
            [json.replace('/', "\\/"), json, plain.replace("%20", "+"), plain, percent, html]
                .map(String::into_bytes),
        );
    }
    // Where a text stands in a longer one decides which of three ways its base64 is; only what depends on it alone is kept.
    for before in 0..3 {
        let shifted = [vec![0; before], secret.to_vec()].concat();
        let (first, last) = ((before * 8).div_ceil(6), shifted.len() * 8 / 6);
        for engine in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
            forms.push(engine.encode(&shifted).as_bytes()[first..last].to_vec());
        }
    }
    forms.retain(|form| form.len() >= MIN_SECRET);
    forms
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "s3cret/\"k+y\" & more";

    fn hidden(mask: &Mask, text: &str) -> String {
        String::from_utf8(mask.hide(text.as_bytes()).into_owned()).unwrap()
    }

    #[test]
    fn a_secret_is_hidden_in_every_form_that_receivers_print() {
        let mask = Mask::hiding([SECRET]);
        let json = serde_json::json!({ "x-key": SECRET }).to_string();
        assert_eq!(hidden(&mask, &json), r#"{"x-key":"***"}"#);
        assert_eq!(hidden(&mask, &json.replace('/', "\\/")), r#"{"x-key":"***"}"#, "as PHP writes it");
        assert_eq!(hidden(&mask, &format!("a {SECRET} b {SECRET}")), "a *** b ***");
        assert_eq!(hidden(&mask, "k=s3cret%2F%22k%2By%22%20%26%20more&l"), "k=***&l");
        assert_eq!(hidden(&mask, "k=s3cret%2F%22k%2By%22+%26+more&l"), "k=***&l");
        assert_eq!(hidden(&mask, "<b>s3cret/&quot;k+y&quot; &amp; more</b>"), "<b>***</b>");
        for before in ["", "a", "ab", "abc"] {
            for engine in [STANDARD, base64::engine::general_purpose::URL_SAFE] {
                let encoded = engine.encode(format!("{before}{SECRET}, and so on"));
                let rest = hidden(&mask, &encoded);
                assert!(rest.contains("***") && rest.len() < encoded.len() - 20, "{before}: {rest}");
            }
        }
        assert_eq!(hidden(&mask, "nothing of it"), "nothing of it");
    }

    #[test]
    fn credentials_are_hidden_inside_the_header_that_carries_them() {
        let basic = format!("Basic {}", STANDARD.encode("user:pa55word"));
        let mask = Mask::hiding([basic.as_str(), "Bearer t0ken-t0ken", "whsec_AAAABBBB"]);
        assert_eq!(hidden(&mask, "wrong password pa55word of user"), "wrong password *** of user");
        assert_eq!(hidden(&mask, &format!("[{basic}]")), "[***]");
        assert_eq!(hidden(&mask, "token t0ken-t0ken, key AAAABBBB"), "token ***, key ***");
        assert_eq!(hidden(&mask, "Bearer and Basic are schemes"), "Bearer and Basic are schemes");
    }

    #[test]
    fn a_secret_that_is_cut_off_is_hidden_as_far_as_it_goes() {
        let mask = Mask::hiding(["0123456789abcdef"]);
        assert_eq!(hidden(&mask, "x 0123456789abcde"), "x ***");
        assert_eq!(hidden(&mask, "x 012345"), "x ***");
        assert_eq!(hidden(&mask, "x 01234"), "x 01234", "too short to say anything");
        assert_eq!(hidden(&mask, "x 0123456789abcdef"), "x ***");
    }

    #[test]
    fn only_what_is_marked_is_added_by_a_request() {
        let mut headers = HeaderMap::new();
        headers.insert("accept", "application/json".parse().unwrap());
        let mut token: HeaderValue = "Bearer fresh-token".parse().unwrap();
        let known = Mask::hiding(["a-secret", "short"]);
        assert_eq!(format!("{:?}", known.with(&headers)), "Mask(1)", "what is too short is not hidden");
        token.set_sensitive(true);
        headers.insert("authorization", token);
        let mask = known.with(&headers);
        let said = "application/json a-secret fresh-token short";
        assert_eq!(hidden(&mask, said), "application/json *** *** short");
        let (once, twice) = (format!("{mask:?}"), format!("{:?}", mask.with(&headers)));
        assert_eq!((once.as_str(), twice.as_str()), ("Mask(3)", "Mask(3)"), "nothing is new the second time");
        let nothing = Mask::default();
        assert!(matches!(nothing.hide(b"anything"), Cow::Borrowed(_)));
    }
}
