//! What an upload has to pass, before it is compiled and after. Every refusal is a kind of its own.
//!
//! Pure but for the last step, which runs the plugin. It must not know threads or files.

use std::collections::BTreeSet;
use std::time::Duration;

use wasmparser::{Chunk, Encoding, Parser, Payload, Validator};
use wasmtime::Engine;

use super::artifact::ArtifactError;
use super::compile::CompileError;
use super::outcome::Fault;
use super::{engine, wasi};
use crate::carrier::Sha256Hex;

/// The contract as text, for the check of types.
const TYPES: &str = include_str!("../../../wit/v1/types.wit");

/// What a plugin must export, and the interfaces of the contract that it may import.
const HANDLER: &str = "hookyard:plugin/handler";
const OWN: [&str; 5] = [
    "hookyard:plugin/types",
    "hookyard:plugin/log",
    "hookyard:plugin/settings",
    "hookyard:plugin/tables",
    "hookyard:plugin/links",
];
const OWN_VERSION: &str = "1.0.0";

/// Components and modules inside of one upload.
const PARTS: usize = 64;

/// What is known of an upload that passed.
#[derive(Debug, Clone)]
pub struct Checked {
    /// What identifies it.
    pub sha256: Sha256Hex,
    /// Its size in bytes.
    pub size: u64,
    /// The interfaces that it imports.
    pub imports: Vec<String>,
    /// What its author should know although it is accepted.
    pub warnings: Vec<String>,
    /// What the smoke run cost, instantiation included.
    pub smoke: Duration,
    /// It, ready to run.
    pub program: std::sync::Arc<super::Program>,
}

/// Why an upload is refused.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// Limit `component_bytes_max`.
    #[error("limit component_bytes_max hit: the component has {size} bytes, {allowed} are allowed")]
    TooBig {
        /// Its size.
        size: u64,
        /// The limit.
        allowed: u64,
    },
    /// It is compiled already.
    #[error(
        "this is a precompiled artifact: upload the component itself, the host compiles it and runs nothing else"
    )]
    Precompiled,
    /// It is a core module.
    #[error(
        "this is a core WebAssembly module, not a component: build for the target wasm32-wasip2, or make a \
         component of it with `wasm-tools component new`"
    )]
    CoreModule,
    /// It is something else altogether.
    #[error("this is not a WebAssembly component: it does not begin with a component's header")]
    NotWasm,
    /// It ends too early.
    #[error("the component is cut short: it ends in the middle at byte {at}")]
    Truncated {
        /// Where.
        at: u64,
    },
    /// It breaks the rules of WebAssembly, or uses a part of it that plugins may not use.
    #[error("the component is not valid: {message} (at byte {at:#x})")]
    Invalid {
        /// The rule.
        message: String,
        /// Where.
        at: u64,
    },
    /// Limit `component_parts`.
    #[error("limit component_parts hit: {parts} modules and components inside, {allowed} are allowed")]
    TooManyParts {
        /// How many there are.
        parts: usize,
        /// How many may be.
        allowed: usize,
    },
    /// It asks for the network.
    #[error(
        "it imports {import}: a plugin has no network. It names destinations in its verdict and the host sends"
    )]
    Network {
        /// The interface.
        import: String,
    },
    /// It was made for a contract that this host does not have.
    #[error("it imports {import}, which this host does not have: it has hookyard:plugin@{OWN_VERSION}")]
    OtherContract {
        /// The interface.
        import: String,
    },
    /// It asks for something else that no plugin gets.
    #[error("it imports {import}, which plugins do not get. Allowed are: {allowed}")]
    UnknownImport {
        /// The interface or function.
        import: String,
        /// What is allowed.
        allowed: String,
    },
    /// It is a component of another kind.
    #[error(
        "it does not export {HANDLER}@{OWN_VERSION}, so it is not a Hookyard plugin; it exports {}",
        list(exports)
    )]
    OtherWorld {
        /// What it exports.
        exports: Vec<String>,
    },
    /// It has the right names with other types.
    #[error("it does not fit the contract hookyard:plugin@{OWN_VERSION}: {0}")]
    Types(String),
    /// It needs more than an instance can get.
    #[error("it does not fit into an instance: {0}")]
    TooLarge(String),
    /// It could not be compiled.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// Its start code failed.
    #[error("its start code failed: {0}")]
    Start(Fault),
    /// It did not answer the sample event in time.
    #[error("it did not answer the sample event: {0}")]
    Smoke(Fault),
    /// The host failed, not the upload.
    #[error("the host could not check it: {0}")]
    Host(String),
}

impl CheckError {
    /// A stable word for the API.
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooBig { .. } => "plugin_too_big",
            Self::Precompiled => "plugin_precompiled",
            Self::CoreModule => "plugin_core_module",
            Self::NotWasm => "plugin_not_wasm",
            Self::Truncated { .. } => "plugin_truncated",
            Self::Invalid { .. } => "plugin_invalid",
            Self::TooManyParts { .. } => "plugin_too_many_parts",
            Self::Network { .. } => "plugin_network_import",
            Self::OtherContract { .. } => "plugin_other_contract",
            Self::UnknownImport { .. } => "plugin_unknown_import",
            Self::OtherWorld { .. } => "plugin_other_world",
            Self::Types(_) => "plugin_types",
            Self::TooLarge(_) => "plugin_too_large",
            Self::Compile(CompileError::Time(_)) => "plugin_compile_time",
            Self::Compile(CompileError::Memory(_)) => "plugin_compile_memory",
            Self::Compile(CompileError::Refused(_)) => "plugin_not_compilable",
            Self::Compile(_) | Self::Host(_) => "host_failed",
            Self::Start(_) => "plugin_start_failed",
            Self::Smoke(_) => "plugin_smoke_failed",
        }
    }

    /// The limit that was hit, by its name in the configuration or the documentation.
    pub fn limit(&self) -> Option<&'static str> {
        match self {
            Self::TooBig { .. } => Some("component_bytes_max"),
            Self::TooManyParts { .. } => Some("component_parts"),
            Self::Compile(CompileError::Time(_)) => Some("compile_cpu_s"),
            Self::Compile(CompileError::Memory(_)) => Some("compile_memory_bytes"),
            Self::Start(Fault::LimitHit { limit, .. }) | Self::Smoke(Fault::LimitHit { limit, .. }) => {
                Some(limit)
            }
            // The engine says in its own words what does not fit.
            Self::TooLarge(why) if why.contains("table index") => Some("table_elements"),
            Self::TooLarge(why) if why.contains("memory index") => Some("memory_bytes"),
            Self::Start(Fault::Deadline { .. }) | Self::Smoke(Fault::Deadline { .. }) => Some("wall_ms"),
            _ => None,
        }
    }

    /// Whether the host is to blame, and not the upload.
    pub fn is_hosts(&self) -> bool {
        self.code() == "host_failed"
    }
}

impl From<ArtifactError> for CheckError {
    fn from(error: ArtifactError) -> Self {
        match error {
            ArtifactError::Refused(why) => Self::TooLarge(why),
            ArtifactError::Io { .. } => Self::Host(error.to_string()),
        }
    }
}

/// Everything that can be said of the bytes alone. Gives the names of what they import.
pub(super) fn inspect(bytes: &[u8], component_bytes_max: u64) -> Result<Vec<String>, CheckError> {
    let size = bytes.len() as u64;
    if size > component_bytes_max {
        return Err(CheckError::TooBig { size, allowed: component_bytes_max });
    }
    if Engine::detect_precompiled(bytes).is_some() {
        return Err(CheckError::Precompiled);
    }
    header(bytes)?;
    Validator::new_with_features(engine::FEATURES)
        .validate_all(bytes)
        .map_err(|error| invalid(&error, bytes))?;
    let surface = surface(bytes)?;
    if surface.parts > PARTS {
        return Err(CheckError::TooManyParts { parts: surface.parts, allowed: PARTS });
    }
    for import in &surface.imports {
        allowed(import)?;
    }
    if !surface.exports.iter().any(|export| split(export).0 == HANDLER) {
        return Err(CheckError::OtherWorld { exports: surface.exports });
    }
    types(bytes, &surface)?;
    Ok(surface.imports)
}

fn header(bytes: &[u8]) -> Result<(), CheckError> {
    match Parser::new(0).parse(bytes, true) {
        Ok(Chunk::Parsed { payload: Payload::Version { encoding: Encoding::Component, .. }, .. }) => Ok(()),
        Ok(Chunk::Parsed { payload: Payload::Version { encoding: Encoding::Module, .. }, .. }) => {
            Err(CheckError::CoreModule)
        }
        // A beginning of a header is a component that was cut very short.
        _ if !bytes.is_empty() && b"\0asm\x0d\0\x01\0".starts_with(bytes) => {
            Err(CheckError::Truncated { at: bytes.len() as u64 })
        }
        _ => Err(CheckError::NotWasm),
    }
}

fn invalid(error: &wasmparser::BinaryReaderError, bytes: &[u8]) -> CheckError {
    // The parser finds a section that is longer than what is left, or nothing where something must come.
    if cut_short(bytes) {
        return CheckError::Truncated { at: bytes.len() as u64 };
    }
    CheckError::Invalid { message: error.message().to_owned(), at: error.offset() as u64 }
}

/// Whether the sections of the component run over its end. Only their lengths are read.
fn cut_short(bytes: &[u8]) -> bool {
    let mut at = 8;
    while at < bytes.len() {
        let (mut length, mut shift) = (0_u64, 0);
        let mut next = at + 1;
        loop {
            let Some(byte) = bytes.get(next) else { return true };
            length |= u64::from(byte & 0x7f) << shift;
            next += 1;
            shift += 7;
            if byte & 0x80 == 0 || shift > 28 {
                break;
            }
        }
        let Some(end) = usize::try_from(length).ok().and_then(|length| next.checked_add(length)) else {
            return true;
        };
        if end > bytes.len() {
            return true;
        }
        at = end;
    }
    false
}

struct Surface {
    imports: Vec<String>,
    exports: Vec<String>,
    parts: usize,
}

/// Names of the outermost component's imports and exports.
fn surface(bytes: &[u8]) -> Result<Surface, CheckError> {
    let mut surface = Surface { imports: Vec::new(), exports: Vec::new(), parts: 0 };
    let mut depth = 0;
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.map_err(|error| invalid(&error, bytes))? {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => {
                surface.parts += 1;
                depth += 1;
            }
            Payload::End(_) => depth -= 1,
            Payload::ComponentImportSection(section) if depth == 0 => {
                for import in section {
                    let import = import.map_err(|error| invalid(&error, bytes))?;
                    surface.imports.push(import.name.name.to_owned());
                }
            }
            Payload::ComponentExportSection(section) if depth == 0 => {
                for export in section {
                    let export = export.map_err(|error| invalid(&error, bytes))?;
                    surface.exports.push(export.name.name.to_owned());
                }
            }
            _ => {}
        }
    }
    Ok(surface)
}

/// `wasi:io/poll@0.2.3` as interface and version.
fn split(import: &str) -> (&str, &str) {
    import.split_once('@').unwrap_or((import, ""))
}

fn allowed(import: &str) -> Result<(), CheckError> {
    let (interface, version) = split(import);
    if OWN.contains(&interface) {
        // The same rule as the linker's: a lower or equal version of the same major one is there.
        return match version.strip_prefix("1.0.") {
            Some(_) => Ok(()),
            None => Err(CheckError::OtherContract { import: import.to_owned() }),
        };
    }
    if interface.starts_with("hookyard:") {
        return Err(CheckError::OtherContract { import: import.to_owned() });
    }
    if interface.starts_with("wasi:sockets/") || interface.starts_with("wasi:http/") {
        return Err(CheckError::Network { import: import.to_owned() });
    }
    let wasi = wasi_interfaces();
    if wasi.contains(interface) && version.starts_with("0.2.") {
        return Ok(());
    }
    let mut all: Vec<String> = OWN.iter().map(|name| format!("{name}@{OWN_VERSION}")).collect();
    all.extend(wasi.iter().map(|name| format!("{name}@0.2")));
    Err(CheckError::UnknownImport { import: import.to_owned(), allowed: all.join(", ") })
}

/// `wasi:io/poll` and so on: what the texts of the permitted WASI describe.
pub(super) fn wasi_interfaces() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (package, text) in wasi::WIT {
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("interface ") {
                let name = rest.split([' ', '{']).next().unwrap_or_default();
                names.insert(format!("wasi:{package}/{name}"));
            }
        }
    }
    names
}

/// Compares the types with those of the contract and of the permitted WASI, each in the version that is imported.
fn types(bytes: &[u8], surface: &Surface) -> Result<(), CheckError> {
    let wasi: Vec<&str> =
        surface.imports.iter().map(String::as_str).filter(|import| import.starts_with("wasi:")).collect();
    let versions: BTreeSet<&str> = wasi.iter().map(|import| split(import).1).collect();
    let mut world = String::from("package hookyard:check;\nworld check {\n");
    world.push_str("include hookyard:plugin/plugin@1.0.0;\n");
    for import in &wasi {
        world.push_str(&format!("import {import};\n"));
    }
    world.push('}');
    let host = |error: anyhow::Error| CheckError::Host(format!("the contract's text: {error:#}"));
    let mut resolve = wit_parser::Resolve::new();
    resolve.push_source("types.wit", TYPES).map_err(host)?;
    for version in versions {
        for (package, text) in wasi::WIT {
            // Nothing in the permitted part has changed between the versions of WASI 0.2 but its number.
            resolve.push_source(package, &text.replace(wasi::VERSION, version)).map_err(host)?;
        }
    }
    let package = resolve.push_source("check.wit", &world).map_err(host)?;
    let world = resolve.select_world(&[package], Some("check")).map_err(host)?;
    wit_component::targets(&resolve, world, bytes).map_err(|error| CheckError::Types(format!("{error:#}")))
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
}

#[cfg(test)]
mod tests;
