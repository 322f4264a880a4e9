//! Plugins, their versions, and the limits that a version runs under.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::clock::Millis;
use crate::event::{CarrierId, PluginName};

/// Whose plugin it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Owner {
    /// A carrier's own.
    Carrier(CarrierId),
    /// Loaded by an admin, for every carrier.
    Shared,
}

impl Owner {
    /// The leading key column: the carrier's id, or the empty text for shared plugins.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Carrier(id) => id.as_str(),
            Self::Shared => "",
        }
    }
}

/// How a subscription names a plugin: `redact` is the carrier's own, `shared/redact` the shared one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PluginRef {
    /// Whether it is one of the shared plugins.
    pub shared: bool,
    /// Its name.
    pub name: PluginName,
}

impl PluginRef {
    /// Whose plugin this is when `carrier` names it.
    pub fn owner(&self, carrier: &CarrierId) -> Owner {
        if self.shared { Owner::Shared } else { Owner::Carrier(carrier.clone()) }
    }
}

impl std::str::FromStr for PluginRef {
    type Err = crate::name::NameError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (shared, name) = match text.strip_prefix("shared/") {
            Some(name) => (true, name),
            None => (false, text),
        };
        Ok(Self { shared, name: name.parse()? })
    }
}

impl TryFrom<String> for PluginRef {
    type Error = crate::name::NameError;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<PluginRef> for String {
    fn from(p: PluginRef) -> String {
        p.to_string()
    }
}

impl std::fmt::Display for PluginRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{}", if self.shared { "shared/" } else { "" }, self.name)
    }
}

crate::name::text_schema!(PluginRef, 70);

/// SHA-256 of a component's bytes, in lower-case hex: what identifies a version everywhere.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Sha256Hex(String);

impl Sha256Hex {
    /// Of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        use sha2::Digest;
        Self(sha2::Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect())
    }

    /// What a row of the store says.
    ///
    /// # Errors
    /// When it is not 64 lower-case hex digits.
    pub fn from_hex(text: &str) -> Result<Self, crate::name::NameError> {
        let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if text.len() == 64 && text.bytes().all(hex) {
            return Ok(Self(text.to_owned()));
        }
        Err(crate::name::NameError {
            what: "SHA-256",
            text: text.chars().take(80).collect(),
            rule: "it takes 64 lower-case hexadecimal digits".to_owned(),
        })
    }

    /// The 64 digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for Sha256Hex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

crate::name::text_schema!(Sha256Hex, 64);

/// An immutable upload of a plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginVersion {
    /// Whose plugin it is.
    pub owner: Owner,
    /// The plugin's name.
    pub name: PluginName,
    /// 1 for the first upload of the name, then 2, ...
    pub version: i64,
    /// What identifies the bytes.
    pub sha256: Sha256Hex,
    /// Size of the component in bytes.
    pub size: i64,
    /// What was asked for when it was uploaded.
    pub limits: LimitsSpec,
    /// When it was uploaded.
    pub created: Millis,
}

/// The limits that an upload asks for. What is absent takes the default; the operator's ceiling bounds the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsSpec {
    /// Wall time of one call in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wall_ms: Option<u64>,
    /// Linear memory in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Everything that one call may return, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_bytes: Option<u64>,
    /// Deliveries that one call may return.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deliveries: Option<u32>,
}

/// What one call of a plugin may use. Every limit's name stands in the error that it causes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// `wall_ms`: wall time of one call, instantiation included. The epoch ticks every millisecond, so one tick more
    /// may pass before the call ends.
    pub wall: Duration,
    /// `memory_bytes`: the one linear memory.
    pub memory_bytes: u64,
    /// `output_bytes`: everything that the verdict holds.
    pub output_bytes: u64,
    /// `deliveries`: how many one verdict may hold.
    pub deliveries: u32,
    /// `log_lines`: lines per event; those above are dropped and counted.
    pub log_lines: u32,
    /// `log_bytes`: bytes of log per event, stdout and stderr included.
    pub log_bytes: u32,
    /// `table_elements`: entries of a WebAssembly table.
    pub table_elements: u32,
}

impl Default for Limits {
    /// The numbers of the design: 50 ms, 32 MiB, 1 MiB out, 64 deliveries, 256 lines and 16 KiB of log.
    fn default() -> Self {
        Self {
            wall: Duration::from_millis(50),
            memory_bytes: 32 << 20,
            output_bytes: 1 << 20,
            deliveries: 64,
            log_lines: 256,
            log_bytes: 16 << 10,
            table_elements: 10_000,
        }
    }
}

impl Limits {
    /// These limits with what `spec` asks for, each at most the ceiling's.
    pub fn with(self, spec: LimitsSpec, ceiling: &Self) -> Self {
        Self {
            wall: spec.wall_ms.map_or(self.wall, Duration::from_millis).min(ceiling.wall),
            memory_bytes: spec.memory_bytes.unwrap_or(self.memory_bytes).min(ceiling.memory_bytes),
            output_bytes: spec.output_bytes.unwrap_or(self.output_bytes).min(ceiling.output_bytes),
            deliveries: spec.deliveries.unwrap_or(self.deliveries).min(ceiling.deliveries),
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_gets_what_it_asks_for_up_to_the_ceiling() {
        let ceiling = Limits { wall: Duration::from_millis(200), ..Limits::default() };
        let spec = LimitsSpec { wall_ms: Some(1_000), memory_bytes: Some(1 << 20), ..LimitsSpec::default() };
        let limits = Limits::default().with(spec, &ceiling);
        assert_eq!(limits.wall, Duration::from_millis(200));
        assert_eq!(limits.memory_bytes, 1 << 20);
        assert_eq!(limits.deliveries, 64);
    }

    #[test]
    fn a_shared_plugin_is_named_with_its_prefix() {
        let p: PluginRef = "shared/redact".parse().unwrap();
        assert!(p.shared);
        assert_eq!(p.to_string(), "shared/redact");
        assert!("shared/".parse::<PluginRef>().is_err());
        assert!("other/redact".parse::<PluginRef>().is_err());
    }
}
