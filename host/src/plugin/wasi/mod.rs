//! The part of WASI 0.2 that a plugin may import: the interfaces of `wasmtime-wasi`, linked one by one.
//!
//! What is not linked here (sockets, HTTP) no plugin gets. Everything is a function of the event, and nothing waits:
//!
//! | interfaces | who answers |
//! | --- | --- |
//! | `cli` environment, exit, terminals; `io/error`; `filesystem` | `wasmtime-wasi`, with an empty context: no arguments, no environment, no terminal, no folder |
//! | `clocks` | [`clocks`]: they stand at the event's time |
//! | `random` | [`random`]: seeded with the event and the plugin |
//! | `cli` stdin, stdout, stderr; `io/streams`, `io/poll` | [`streams`]: an input that has ended, the log, and nothing to wait for |
//!
//! A whole context of `wasmtime-wasi` is not made: it asks the system for time and randomness and boxes a dozen parts
//! for every event, though most plugins never look at it. The parts that are used cost nothing until they are.
//! It must not know the contract's own interfaces.

mod clocks;
mod random;
mod streams;

use wasmtime::Result;
use wasmtime::component::{HasData, HasSelf, Linker, ResourceTable};
use wasmtime_wasi::cli::{WasiCli, WasiCliCtx, WasiCliCtxView};
use wasmtime_wasi::filesystem::{WasiFilesystem, WasiFilesystemCtx, WasiFilesystemCtxView};
use wasmtime_wasi::p2::bindings::{self, sync};
use wasmtime_wasi_io::bindings::wasi::io::error;

use super::log::Log;
use crate::clock::Millis;

use random::Random;
pub(super) use random::{Seed, TooMuchRandom};

/// The permitted interfaces as text, in the order of their dependencies: package and text. The check of an upload
/// compares types before anything is compiled, and compiled bindings have no text; a test holds these against what is
/// linked.
pub(super) const WIT: [(&str, &str); 5] = [
    ("io", include_str!("io.wit")),
    ("clocks", include_str!("clocks.wit")),
    ("random", include_str!("random.wit")),
    ("cli", include_str!("cli.wit")),
    ("filesystem", include_str!("filesystem.wit")),
];

/// The version that the texts of [`WIT`] describe.
pub(super) const VERSION: &str = "0.2.12";

/// The host's side of the store that WASI needs.
pub(super) trait View: Send + 'static {
    fn wasi(&mut self) -> &mut Wasi;
    fn log(&mut self) -> &mut Log;
}

/// What WASI knows of one call.
pub(super) struct Wasi {
    wall: Millis,
    /// Nanoseconds: moved by each look, and by each wait.
    monotonic: u64,
    seed: Seed,
    random: Option<Random>,
    // Empty, and without a byte on the heap.
    cli: WasiCliCtx,
    files: WasiFilesystemCtx,
    table: ResourceTable,
}

impl Wasi {
    pub(super) fn new(received: Millis, seed: Seed) -> Self {
        Self {
            wall: received,
            monotonic: 0,
            seed,
            random: None,
            cli: WasiCliCtx::default(),
            files: WasiFilesystemCtx::default(),
            table: ResourceTable::new(),
        }
    }

    fn random(&mut self) -> &mut Random {
        let seed = &self.seed;
        self.random.get_or_insert_with(|| Random::new(seed))
    }
}

/// The table of resources, for [`error`]. Nothing is ever put in.
struct Table;

impl HasData for Table {
    type Data<'a> = &'a mut ResourceTable;
}

fn cli<T: View>(host: &mut T) -> WasiCliCtxView<'_> {
    let wasi = host.wasi();
    WasiCliCtxView { ctx: &mut wasi.cli, table: &mut wasi.table }
}

fn files<T: View>(host: &mut T) -> WasiFilesystemCtxView<'_> {
    let wasi = host.wasi();
    WasiFilesystemCtxView { ctx: &mut wasi.files, table: &mut wasi.table }
}

/// Adds every interface of [`WIT`], and no other.
pub(super) fn add_to_linker<T: View>(linker: &mut Linker<T>) -> Result<()> {
    let l = linker;
    error::add_to_linker::<T, Table>(l, |host| &mut host.wasi().table)?;
    sync::io::poll::add_to_linker::<T, HasSelf<Log>>(l, T::log)?;
    sync::io::streams::add_to_linker::<T, HasSelf<Log>>(l, T::log)?;

    bindings::clocks::monotonic_clock::add_to_linker::<T, HasSelf<Wasi>>(l, T::wasi)?;
    bindings::clocks::wall_clock::add_to_linker::<T, HasSelf<Wasi>>(l, T::wasi)?;

    bindings::random::random::add_to_linker::<T, HasSelf<Wasi>>(l, T::wasi)?;
    bindings::random::insecure::add_to_linker::<T, HasSelf<Wasi>>(l, T::wasi)?;
    bindings::random::insecure_seed::add_to_linker::<T, HasSelf<Wasi>>(l, T::wasi)?;

    bindings::cli::environment::add_to_linker::<T, WasiCli>(l, cli)?;
    bindings::cli::exit::add_to_linker::<T, WasiCli>(l, cli)?;
    bindings::cli::stdin::add_to_linker::<T, HasSelf<Log>>(l, T::log)?;
    bindings::cli::stdout::add_to_linker::<T, HasSelf<Log>>(l, T::log)?;
    bindings::cli::stderr::add_to_linker::<T, HasSelf<Log>>(l, T::log)?;
    bindings::cli::terminal_input::add_to_linker::<T, WasiCli>(l, cli)?;
    bindings::cli::terminal_output::add_to_linker::<T, WasiCli>(l, cli)?;
    bindings::cli::terminal_stdin::add_to_linker::<T, WasiCli>(l, cli)?;
    bindings::cli::terminal_stdout::add_to_linker::<T, WasiCli>(l, cli)?;
    bindings::cli::terminal_stderr::add_to_linker::<T, WasiCli>(l, cli)?;

    // No folder is opened for a guest, so it never holds a descriptor: what could be done with one is there for the
    // types alone, since Rust's std imports them.
    sync::filesystem::types::add_to_linker::<T, WasiFilesystem>(l, files)?;
    bindings::filesystem::preopens::add_to_linker::<T, WasiFilesystem>(l, files)
}

#[cfg(test)]
mod tests {
    use wasmtime::Engine;
    use wasmtime::component::Component;
    use wit_component::{ComponentEncoder, StringEncoding};
    use wit_parser::{LiftLowerAbi, ManglingAndAbi, Resolve};

    use super::*;
    use crate::plugin::{check, engine, v1};

    /// A component that imports every function of these interfaces.
    fn importer(texts: &[(&str, &str)], interfaces: impl IntoIterator<Item = String>) -> Vec<u8> {
        let mut resolve = Resolve::new();
        for (name, text) in texts {
            resolve.push_source(name, text).unwrap();
        }
        let imports: String =
            interfaces.into_iter().map(|name| format!("import {name}@{VERSION};\n")).collect();
        let all = format!("package hookyard:all;\nworld all {{\n{imports}}}");
        let package = resolve.push_source("all", &all).unwrap();
        let world = resolve.select_world(&[package], Some("all")).unwrap();
        let abi = ManglingAndAbi::Legacy(LiftLowerAbi::Sync);
        let mut module = wit_component::dummy_module(&resolve, world, abi);
        wit_component::embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
        ComponentEncoder::default().module(&module).unwrap().encode().unwrap()
    }

    /// Whether a component is given all that it imports.
    fn link(component: &[u8]) -> Result<()> {
        let engine = Engine::new(&engine::compile_config())?;
        v1::linker(&engine)?.instantiate_pre(&Component::new(&engine, component)?).map(drop)
    }

    #[test]
    fn what_the_texts_permit_is_linked_with_the_same_types() {
        let all = check::wasi_interfaces();
        assert_eq!(all.len(), 20, "{all:?}");
        link(&importer(&WIT, all)).unwrap();
        // The test can fail: with one more function, and with another type.
        for (from, to) in [
            ("initial-cwd: func", "home: func() -> string; initial-cwd: func"),
            ("initial-cwd: func() -> option<string>", "initial-cwd: func() -> string"),
        ] {
            let other = WIT[3].1.replace(from, to);
            let texts = [WIT[0], WIT[1], WIT[2], ("cli", &other)];
            let error = link(&importer(&texts, ["wasi:cli/environment".to_owned()])).unwrap_err();
            assert!(format!("{error:#}").contains("wasi:cli/environment"), "{error:#}");
        }
    }
}
