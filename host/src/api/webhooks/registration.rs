//! The body of a registration: read by the catalogue, every refusal naming its member. Pure.
//!
//! Names of members are taken in any case, since the documents themselves spell `FORMAT` in two. A member that a webhook
//! does not take is refused: a misspelt `FILTER_BY` that is passed over would send what its carrier did not want to be sent.

use serde_json::{Map, Value};

use super::fields;
use super::headers::{self, Headers, cut};
use super::site::{self, Site};
use crate::api::problem::{Code, Problem};
use crate::carrier::destination::HttpMethod;
use crate::catalogue::{Action, Catalogue, Entry, Filterable};
use crate::matching::{Filter, FilterError};

/// The longest `AUTH_TOKEN`, in bytes.
const AUTH_TOKEN_BYTES: usize = 1_024;

/// Members that every webhook takes, or every one that is sent to an address (the second half).
const COMMON: [&str; 2] = ["EVENT_ID", "POLICY"];
const OF_HTTP: [&str; 6] =
    ["HTTP_POST_ADDRESS", "HEADERS", "SIGNING", "AUTH_TOKEN", "HTTP_METHOD", "redacted"];

/// Where paths and values of a filter are known well enough to see that an `&` is missing between two clauses.
const DOCUMENTED_KEYS: [&str; 6] = ["brand", "type", "subType", "state", "caseType", "creationSource"];

/// A registration that holds in itself. Its address and headers are checked with the destination that is made of them.
#[derive(Debug)]
pub struct Registration {
    /// What it is for.
    pub(super) entry: Entry,
    /// The number that it is for.
    pub(super) event_id: u16,
    /// Where it is sent.
    pub(super) address: Option<String>,
    pub(super) headers: Headers,
    /// The filter in the host's own language.
    pub(super) filter: Option<String>,
    pub(super) redacted: bool,
    /// Whether classifications of messages go out, where that can be chosen.
    pub(super) classifications: bool,
    /// The profile of the policy.
    pub(super) policy: String,
    pub(super) signing: bool,
    pub(super) auth_token: Option<String>,
    pub(super) method: HttpMethod,
    /// The carrier's own SFTP site.
    pub(super) site: Option<Site>,
    /// The members as they came, without address, headers, site and secrets.
    pub(super) registered: Map<String, Value>,
}

impl Registration {
    /// Reads a body.
    ///
    /// # Errors
    /// The first member that is missing, unknown or not what it takes.
    pub(super) fn read(mut body: Map<String, Value>, catalogue: &Catalogue) -> Result<Self, Problem> {
        let mut names: Vec<String> = body.keys().map(|name| name.to_ascii_lowercase()).collect();
        names.sort_unstable();
        if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(Problem::invalid(cut(&twice[0]), "it is there twice, in different spellings"));
        }
        let event_id = body.iter().find(|(name, _)| name.eq_ignore_ascii_case("EVENT_ID"));
        let (event_id, entry) = entry(event_id.map(|(_, value)| value), catalogue)?;
        let mut registration = Self {
            event_id,
            address: None,
            headers: Headers::default(),
            filter: None,
            redacted: false,
            classifications: entry.field("includeMessageClassifications").is_none(),
            // What is posted is retried by those who receive it, as documented. Nobody is told of a file or a mail that
            // is missing, and a mail server that says "later" is nothing unusual.
            policy: if entry.action == Action::HttpPost { "none" } else { "standard" }.to_owned(),
            signing: false,
            auth_token: None,
            method: HttpMethod::Post,
            site: None,
            registered: Map::new(),
            entry,
        };
        let address = take(&mut body, "HTTP_POST_ADDRESS");
        let (headers, token) = (take(&mut body, "HEADERS"), take(&mut body, "AUTH_TOKEN"));
        registration.sent_by(address, headers, token)?;
        if let Some(site) = take(&mut body, "SFTP") {
            let takes = registration.entry.field("SFTP").is_some();
            registration.site =
                Some(if takes { site::read(site)? } else { return Err(registration.foreign("SFTP")) });
        }
        for (name, value) in body {
            if !value.is_null() {
                registration.member(&name, &value, catalogue)?;
                registration.registered.insert(name, value);
            }
        }
        if registration.has("TIME_ZONE") && !registration.has("SCHEDULE") {
            return Err(Problem::invalid("TIME_ZONE", "it belongs to a `SCHEDULE`: give one"));
        }
        let entry = &registration.entry;
        if let Some(field) = entry.fields.iter().find(|f| f.required && !registration.has(&f.name)) {
            return Err(Problem::invalid(&field.name, format!("event {event_id} needs it: {}", field.about)));
        }
        Ok(registration)
    }

    fn has(&self, name: &str) -> bool {
        self.member_of(name).is_some()
    }

    fn member_of(&self, name: &str) -> Option<&Value> {
        self.registered.iter().find(|(there, _)| there.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// A member that takes a text.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.member_of(name).and_then(Value::as_str)
    }

    /// A member that takes true or false.
    pub(super) fn flag(&self, name: &str) -> bool {
        self.member_of(name).and_then(Value::as_bool).unwrap_or_default()
    }

    /// `RECIPIENTS`: one address, or several.
    pub(super) fn recipients(&self) -> Vec<String> {
        match self.member_of("RECIPIENTS") {
            Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            one => one.and_then(Value::as_str).map(str::to_owned).into_iter().collect(),
        }
    }

    /// `PGP_KEY`, whose lines may be broken.
    pub(super) fn pgp_keys(&self) -> Vec<String> {
        self.text("PGP_KEY").map(|key| key.split_ascii_whitespace().collect()).into_iter().collect()
    }

    /// Address, headers and shared secret: what is kept with the destination.
    fn sent_by(
        &mut self,
        address: Option<Value>,
        headers: Option<Value>,
        token: Option<Value>,
    ) -> Result<(), Problem> {
        let posts = self.entry.action == Action::HttpPost;
        match address {
            Some(Value::String(address)) if posts => self.address = Some(address),
            Some(_) if posts => {
                return Err(Problem::invalid("HTTP_POST_ADDRESS", "it takes a text, an absolute URL"));
            }
            None if posts => {
                let why = format!("event {} is sent to an address: give one", self.event_id);
                return Err(Problem::invalid("HTTP_POST_ADDRESS", why));
            }
            Some(_) => return Err(self.foreign("HTTP_POST_ADDRESS")),
            None => {}
        }
        match headers {
            Some(headers) if posts => self.headers = headers::read(headers)?,
            Some(_) => return Err(self.foreign("HEADERS")),
            None => {}
        }
        match token {
            Some(Value::String(token)) if posts => {
                let printable = token.bytes().all(|b| b.is_ascii_graphic());
                if !printable || !(1..=AUTH_TOKEN_BYTES).contains(&token.len()) {
                    let why =
                        format!("it takes 1 to {AUTH_TOKEN_BYTES} printable ASCII characters without spaces");
                    return Err(Problem::invalid("AUTH_TOKEN", why));
                }
                self.auth_token = Some(token);
            }
            Some(_) if posts => return Err(Problem::invalid("AUTH_TOKEN", "it takes a text")),
            Some(_) => return Err(self.foreign("AUTH_TOKEN")),
            None => {}
        }
        Ok(())
    }

    /// One of the other members.
    fn member(&mut self, name: &str, value: &Value, catalogue: &Catalogue) -> Result<(), Problem> {
        let posts = self.entry.action == Action::HttpPost;
        let canonical = COMMON
            .iter()
            .chain(&OF_HTTP)
            .chain(&["FILTER_BY"])
            .find(|known| known.eq_ignore_ascii_case(name));
        let flag = || value.as_bool().ok_or_else(|| Problem::invalid(cut(name), "it takes true or false"));
        match canonical.copied() {
            Some("EVENT_ID") => {}
            Some("redacted") if posts || self.entry.field(name).is_some() => self.redacted = flag()?,
            Some("FILTER_BY") => self.filter = Some(filter(value, self.event_id, &self.entry, catalogue)?),
            Some("POLICY") => {
                self.policy = one_of("POLICY", value, ["none", "conversation", "standard"])?.to_owned();
            }
            Some("SIGNING") if posts => self.signing = flag()?,
            Some("HTTP_METHOD") if posts => {
                self.method = match one_of("HTTP_METHOD", value, ["POST", "PUT", "GET"])? {
                    "PUT" => HttpMethod::Put,
                    "GET" => HttpMethod::Get,
                    _ => HttpMethod::Post,
                };
            }
            _ => {
                let Some(field) = self.entry.field(name) else { return Err(self.foreign(name)) };
                fields::check(field, value).map_err(|why| Problem::invalid(cut(name), why))?;
                if field.name == "includeMessageClassifications" {
                    self.classifications = value == true;
                }
            }
        }
        Ok(())
    }

    /// A member that this webhook does not take.
    fn foreign(&self, name: &str) -> Problem {
        let http: &[&str] = if self.entry.action == Action::HttpPost { &OF_HTTP } else { &[] };
        let filter: &[&str] = if self.entry.filter == Filterable::No { &[] } else { &["FILTER_BY"] };
        let own = self.entry.fields.iter().map(|field| field.name.as_str());
        let mut all: Vec<&str> = COMMON.iter().chain(http).chain(filter).copied().chain(own).collect();
        all.sort_unstable();
        all.dedup();
        let why = format!("event {} does not take it; it takes {}", self.event_id, all.join(", "));
        Problem::invalid(cut(name), why)
    }
}

/// Takes a member by its name in any case; null is as good as absent.
fn take(body: &mut Map<String, Value>, name: &str) -> Option<Value> {
    let key = body.keys().find(|key| key.eq_ignore_ascii_case(name))?.clone();
    body.remove(&key).filter(|value| !value.is_null())
}

/// One of a few words, in any case.
fn one_of<const N: usize>(
    name: &'static str,
    value: &Value,
    words: [&'static str; N],
) -> Result<&'static str, Problem> {
    let found =
        value.as_str().and_then(|text| words.into_iter().find(|word| word.eq_ignore_ascii_case(text)));
    found.ok_or_else(|| Problem::invalid(name, format!("it takes `{}`", words.join("`, `"))))
}

fn entry(event_id: Option<&Value>, catalogue: &Catalogue) -> Result<(u16, Entry), Problem> {
    let Some(value) = event_id.filter(|value| !value.is_null()) else {
        return Err(Problem::invalid("EVENT_ID", "it is missing: the number of the event to register for"));
    };
    let Some(number) = value.as_u64() else {
        return Err(Problem::invalid("EVENT_ID", "it takes a number"));
    };
    let known = u16::try_from(number).ok().and_then(|id| Some((id, catalogue.by_event_id(id)?.clone())));
    known.ok_or_else(|| {
        let mut all: Vec<u16> = catalogue.entries().iter().filter_map(|entry| entry.event_id).collect();
        all.sort_unstable();
        let all: Vec<String> = all.iter().map(u16::to_string).collect();
        Problem::invalid("EVENT_ID", format!("there is no event {number}; there are {}", all.join(", ")))
    })
}

/// `FILTER_BY` in the host's own language. Any path is taken, since payloads grow; what surely is a slip is refused.
fn filter(value: &Value, event_id: u16, entry: &Entry, catalogue: &Catalogue) -> Result<String, Problem> {
    let wrong = |why: String| Problem::invalid("FILTER_BY", why);
    let Filterable::Yes { prefix } = &entry.filter else {
        let mut all: Vec<u16> = catalogue
            .entries()
            .iter()
            .filter(|entry| entry.filter != Filterable::No)
            .filter_map(|entry| entry.event_id)
            .collect();
        all.sort_unstable();
        let all: Vec<String> = all.iter().map(u16::to_string).collect();
        return Err(wrong(format!(
            "event {event_id} cannot be filtered; those that can are {}",
            all.join(", ")
        )));
    };
    let text = value.as_str().ok_or_else(|| wrong("it takes a text such as `state:open`".to_owned()))?;
    let filter = Filter::parse_carrier(text).map_err(|why| {
        let mut problem = wrong(why.to_string());
        problem.position = match why {
            FilterError::Syntax { at, .. } => Some(at),
            FilterError::Length { .. } | FilterError::Depth | FilterError::Nodes => None,
        };
        problem
    })?;
    for (n, (path, value)) in Filter::carrier_clauses(text).enumerate() {
        let clause = |why: String| wrong(format!("clause {} (`{}:{}`): {why}", n + 1, cut(path), cut(value)));
        let begins = |prefix: &str| path.get(..prefix.len()).is_some_and(|p| p.eq_ignore_ascii_case(prefix));
        match prefix {
            Some(prefix) if !begins(prefix) => {
                return Err(clause(format!(
                    "paths of event {event_id} begin with `{prefix}`: write `{prefix}{}`",
                    cut(path)
                )));
            }
            None => {
                let prefixes = catalogue.entries().iter().filter_map(|entry| match &entry.filter {
                    Filterable::Yes { prefix: Some(prefix) } => Some(prefix.as_str()),
                    _ => None,
                });
                if let Some(prefix) = prefixes.into_iter().find(|prefix| begins(prefix)) {
                    return Err(clause(format!("paths of event {event_id} do not begin with `{prefix}`")));
                }
            }
            Some(_) => {}
        }
        if let Some((before, _)) = value.split_once(':') {
            let key = before.rsplit(['.', ' ']).next().unwrap_or(before);
            if DOCUMENTED_KEYS.iter().any(|known| known.eq_ignore_ascii_case(key)) {
                return Err(clause(
                    "the value holds another `path:value`: put `&` between the two".to_owned(),
                ));
            }
        }
    }
    let native = filter.to_string();
    if native.len() > Filter::MAX_LENGTH {
        let max = Filter::MAX_LENGTH as u64;
        let why =
            format!("written out it is {} bytes long, the limit `filter_characters` is {max}", native.len());
        return Err(wrong(why).limit("filter_characters", max));
    }
    Ok(native)
}

/// What is said of a member by those who check destinations and subscriptions, in the words of a registration.
pub(super) fn in_words(mut problem: Problem) -> Problem {
    let Some(field) = problem.field.clone() else { return problem };
    let (first, rest) = field.split_once('.').map_or((field.as_str(), ""), |(first, rest)| (first, rest));
    let renamed = match (first, rest) {
        ("url", _) => "HTTP_POST_ADDRESS".to_owned(),
        ("headers", _) => "HEADERS".to_owned(),
        ("auth", "") => "HEADERS.Authorization".to_owned(),
        ("auth", member) => format!("HEADERS.Authorization.{member}"),
        ("shared_secret", _) => "AUTH_TOKEN".to_owned(),
        ("filter", _) => "FILTER_BY".to_owned(),
        ("policy", _) => "POLICY".to_owned(),
        ("pgp_keys", _) => "PGP_KEY".to_owned(),
        ("schedule", _) => "SCHEDULE".to_owned(),
        ("sftp" | "login", "") => "SFTP".to_owned(),
        ("sftp", "file_name") => "FORMAT".to_owned(),
        ("sftp" | "login", member) => format!("SFTP.{member}"),
        ("email", "to") => "RECIPIENTS".to_owned(),
        _ => return problem,
    };
    let said = problem.detail.strip_prefix(&format!("`{field}`: ")).unwrap_or(&problem.detail).to_owned();
    let said = said.strip_prefix(&format!("{field}: ")).unwrap_or(&said);
    problem.detail = format!("`{renamed}`: {said}");
    problem.code = Code::InvalidBody.as_str();
    problem.field = Some(renamed);
    problem
}

#[cfg(test)]
#[path = "registration_tests.rs"]
mod tests;
