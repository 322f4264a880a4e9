//! The part of WASI 0.2 that a plugin may import, on a context that costs nothing until it is used.
//!
//! The interfaces are those of the `.wit` files beside this one: what is not in them (sockets, HTTP) is not linked, so
//! a plugin that asks for it is refused at upload. Everything is a function of the event: the wall clock stands at
//! the moment when the event was received, the monotonic clock is a counter, random bytes come from the event's id
//! and the plugin's hash, and there are no arguments, no environment, no input and no files.
//!
//! It is made here and not taken from `wasmtime-wasi`: there a wait on a clock sleeps within the host call, out of the
//! deadline's reach, and a context with its generators and boxes would be made for every event, though most plugins
//! never look at it. What is left to do is small, since a plugin has no files and no network.
//! It must not know the contract's own interfaces.

use sha2::{Digest, Sha256};
use wasmtime::component::{ComponentType, Lift, Linker, Lower, Resource, ResourceType, Val, WasmList};
use wasmtime::{Result, StoreContextMut, bail};

use super::log::{Log, Stream};
use crate::clock::Millis;

/// The interfaces, in the order of their dependencies: package and text.
pub(super) const WIT: [(&str, &str); 5] = [
    ("io", include_str!("io.wit")),
    ("clocks", include_str!("clocks.wit")),
    ("random", include_str!("random.wit")),
    ("cli", include_str!("cli.wit")),
    ("filesystem", include_str!("filesystem.wit")),
];

/// The version that the texts of [`WIT`] describe.
pub(super) const VERSION: &str = "0.2.12";

/// `random_bytes`: bytes that one call may ask for.
const RANDOM_BYTES: u64 = 64 << 10;

/// What stdout and stderr say that they can take at once. More is taken as well, and cut by the log.
const WRITE_ROOM: u64 = 64 << 10;

/// The host's side of the store that WASI needs.
pub(super) trait View: 'static {
    fn wasi(&mut self) -> &mut Wasi;
    fn log(&mut self) -> &mut Log;
}

/// What WASI knows of the event.
#[derive(Debug)]
pub(super) struct Wasi {
    wall: Millis,
    /// Nanoseconds: moved by each look, and by each wait.
    monotonic: u64,
    seed: Seed,
    random: Option<Random>,
}

/// What random bytes are made of.
#[derive(Debug, Clone)]
pub(super) struct Seed {
    pub(super) event: crate::event::EventId,
    pub(super) program: std::sync::Arc<str>,
}

impl Wasi {
    pub(super) fn new(received: Millis, seed: Seed) -> Self {
        Self { wall: received, monotonic: 0, seed, random: None }
    }

    fn random(&mut self) -> &mut Random {
        let seed = &self.seed;
        self.random.get_or_insert_with(|| Random::new(seed))
    }
}

/// SHA-256 in counter mode: not fast, but the same in every later version of every library.
#[derive(Debug)]
struct Random {
    key: [u8; 32],
    counter: u64,
    block: [u8; 32],
    used: usize,
}

impl Random {
    fn new(seed: &Seed) -> Self {
        let mut hash = Sha256::new();
        hash.update((seed.event.as_str().len() as u64).to_be_bytes());
        hash.update(seed.event.as_str());
        hash.update(seed.program.as_bytes());
        Self { key: hash.finalize().into(), counter: 0, block: [0; 32], used: 32 }
    }

    fn fill(&mut self, out: &mut [u8]) {
        for byte in out {
            if self.used == self.block.len() {
                let hash = Sha256::new().chain_update(self.key).chain_update(self.counter.to_be_bytes());
                self.block = hash.finalize().into();
                self.counter += 1;
                self.used = 0;
            }
            *byte = self.block[self.used];
            self.used += 1;
        }
    }

    fn u64(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }
}

/// A guest ended itself with `exit`.
#[derive(Debug, thiserror::Error)]
#[error("the plugin called exit with status {0}")]
pub(super) struct Exit(pub(super) u8);

/// A guest asked for too much in one call.
#[derive(Debug, thiserror::Error)]
#[error("{asked} random bytes asked for in one call, and {RANDOM_BYTES} are allowed")]
pub(super) struct TooMuchRandom {
    asked: u64,
}

// Handles carry a number and nothing else, so no table of resources is needed.
struct Input;
struct Output;
struct Pollable;
struct IoError;
struct TerminalInput;
struct TerminalOutput;
struct Descriptor;
struct DirectoryEntries;

const STDOUT: u32 = 1;
const STDERR: u32 = 2;

#[derive(ComponentType, Lift, Lower)]
#[component(variant)]
enum StreamError {
    #[component(name = "last-operation-failed")]
    Failed(Resource<IoError>),
    #[component(name = "closed")]
    Closed,
}

#[derive(ComponentType, Lift, Lower)]
#[component(record)]
struct Datetime {
    seconds: u64,
    nanoseconds: u32,
}

/// Adds every interface of [`WIT`].
pub(super) fn add_to_linker<T: View>(linker: &mut Linker<T>) -> Result<()> {
    io(linker)?;
    clocks(linker)?;
    random(linker)?;
    cli(linker)?;
    filesystem(linker)
}

fn name(interface: &str) -> String {
    format!("wasi:{interface}@{VERSION}")
}

/// Nothing of the host hangs on a handle, so there is nothing to free.
fn nothing<T>(_: StoreContextMut<'_, T>, _: u32) -> Result<()> {
    Ok(())
}

type Written = (Result<(), StreamError>,);
type Taken = (Result<u64, StreamError>,);

fn io<T: View>(linker: &mut Linker<T>) -> Result<()> {
    let mut i = linker.instance(&name("io/error"))?;
    i.resource("error", ResourceType::host::<IoError>(), nothing)?;
    i.func_wrap("[method]error.to-debug-string", |_, (_,): (Resource<IoError>,)| {
        Ok((String::from("input or output failed"),))
    })?;

    // Whatever is waited for has come already: time is the guest's own, so a wait moves it and ends at once.
    let mut i = linker.instance(&name("io/poll"))?;
    i.resource("pollable", ResourceType::host::<Pollable>(), nothing)?;
    i.func_wrap("[method]pollable.ready", |_, (_,): (Resource<Pollable>,)| Ok((true,)))?;
    i.func_wrap("[method]pollable.block", |_, (_,): (Resource<Pollable>,)| Ok(()))?;
    i.func_wrap("poll", |_, (list,): (Vec<Resource<Pollable>>,)| {
        if list.is_empty() {
            bail!("poll of an empty list would wait for ever");
        }
        Ok(((0..u32::try_from(list.len())?).collect::<Vec<u32>>(),))
    })?;

    let mut i = linker.instance(&name("io/streams"))?;
    i.resource("input-stream", ResourceType::host::<Input>(), nothing)?;
    i.resource("output-stream", ResourceType::host::<Output>(), nothing)?;
    for read in ["[method]input-stream.read", "[method]input-stream.blocking-read"] {
        i.func_wrap(read, |_, (_, _): (Resource<Input>, u64)| Ok((Err::<Vec<u8>, _>(StreamError::Closed),)))?;
    }
    for skip in ["[method]input-stream.skip", "[method]input-stream.blocking-skip"] {
        i.func_wrap(skip, |_, (_, _): (Resource<Input>, u64)| -> Result<Taken> {
            Ok((Err(StreamError::Closed),))
        })?;
    }
    i.func_wrap("[method]input-stream.subscribe", |_, (_,): (Resource<Input>,)| {
        Ok((Resource::<Pollable>::new_own(0),))
    })?;
    i.func_wrap("[method]output-stream.check-write", |_, (_,): (Resource<Output>,)| -> Result<Taken> {
        Ok((Ok(WRITE_ROOM),))
    })?;
    for write in ["[method]output-stream.write", "[method]output-stream.blocking-write-and-flush"] {
        i.func_wrap(write, |mut store, (out, bytes): (Resource<Output>, WasmList<u8>)| -> Result<Written> {
            // One call keeps at most this much; the guest's own copy is not the host's to hold.
            let all = bytes.as_le_slice(&store);
            let some = all[..all.len().min(WRITE_ROOM as usize)].to_vec();
            let stream = if out.rep() == STDOUT { Stream::Out } else { Stream::Err };
            store.data_mut().log().write(stream, &some);
            Ok((Ok(()),))
        })?;
    }
    for flush in ["[method]output-stream.flush", "[method]output-stream.blocking-flush"] {
        i.func_wrap(flush, |_, (_,): (Resource<Output>,)| -> Result<Written> { Ok((Ok(()),)) })?;
    }
    i.func_wrap("[method]output-stream.subscribe", |_, (_,): (Resource<Output>,)| {
        Ok((Resource::<Pollable>::new_own(0),))
    })?;
    for zeroes in
        ["[method]output-stream.write-zeroes", "[method]output-stream.blocking-write-zeroes-and-flush"]
    {
        i.func_wrap(zeroes, |_, (_, _): (Resource<Output>, u64)| -> Result<Written> { Ok((Ok(()),)) })?;
    }
    for splice in ["[method]output-stream.splice", "[method]output-stream.blocking-splice"] {
        i.func_wrap(splice, |_, (_, _, _): (Resource<Output>, Resource<Input>, u64)| -> Result<Taken> {
            Ok((Err(StreamError::Closed),))
        })?;
    }
    Ok(())
}

fn clocks<T: View>(linker: &mut Linker<T>) -> Result<()> {
    let mut i = linker.instance(&name("clocks/monotonic-clock"))?;
    i.func_wrap("now", |mut store: StoreContextMut<'_, T>, ()| {
        // A microsecond for each look: it never stands still, so a guest that waits by looking gets on.
        let wasi = store.data_mut().wasi();
        let now = wasi.monotonic;
        wasi.monotonic = now.saturating_add(1_000);
        Ok((now,))
    })?;
    i.func_wrap("resolution", |_, ()| Ok((1_000_u64,)))?;
    i.func_wrap("subscribe-instant", |mut store: StoreContextMut<'_, T>, (at,): (u64,)| {
        let wasi = store.data_mut().wasi();
        wasi.monotonic = wasi.monotonic.max(at);
        Ok((Resource::<Pollable>::new_own(0),))
    })?;
    i.func_wrap("subscribe-duration", |mut store: StoreContextMut<'_, T>, (by,): (u64,)| {
        let wasi = store.data_mut().wasi();
        wasi.monotonic = wasi.monotonic.saturating_add(by);
        Ok((Resource::<Pollable>::new_own(0),))
    })?;

    let mut i = linker.instance(&name("clocks/wall-clock"))?;
    i.func_wrap("now", |mut store: StoreContextMut<'_, T>, ()| {
        let at = u64::try_from(store.data_mut().wasi().wall.0).unwrap_or(0);
        let nanoseconds = u32::try_from(at % 1_000 * 1_000_000)?;
        Ok((Datetime { seconds: at / 1_000, nanoseconds },))
    })?;
    i.func_wrap("resolution", |_, ()| Ok((Datetime { seconds: 0, nanoseconds: 1_000_000 },)))
}

fn random<T: View>(linker: &mut Linker<T>) -> Result<()> {
    let bytes = |mut store: StoreContextMut<'_, T>, (asked,): (u64,)| {
        if asked > RANDOM_BYTES {
            return Err(TooMuchRandom { asked }.into());
        }
        let mut bytes = vec![0; usize::try_from(asked)?];
        store.data_mut().wasi().random().fill(&mut bytes);
        Ok((bytes,))
    };
    let number = |mut store: StoreContextMut<'_, T>, ()| Ok((store.data_mut().wasi().random().u64(),));
    let mut i = linker.instance(&name("random/random"))?;
    i.func_wrap("get-random-bytes", bytes)?;
    i.func_wrap("get-random-u64", number)?;
    let mut i = linker.instance(&name("random/insecure"))?;
    i.func_wrap("get-insecure-random-bytes", bytes)?;
    i.func_wrap("get-insecure-random-u64", number)?;
    let mut i = linker.instance(&name("random/insecure-seed"))?;
    i.func_wrap("insecure-seed", |mut store: StoreContextMut<'_, T>, ()| {
        let random = store.data_mut().wasi().random();
        Ok(((random.u64(), random.u64()),))
    })
}

fn cli<T: View>(linker: &mut Linker<T>) -> Result<()> {
    let mut i = linker.instance(&name("cli/environment"))?;
    i.func_wrap("get-environment", |_, ()| Ok((Vec::<(String, String)>::new(),)))?;
    i.func_wrap("get-arguments", |_, ()| Ok((Vec::<String>::new(),)))?;
    i.func_wrap("initial-cwd", |_, ()| Ok((None::<String>,)))?;
    let mut i = linker.instance(&name("cli/exit"))?;
    i.func_wrap("exit", |_, (status,): (Result<(), ()>,)| -> Result<()> {
        Err(Exit(u8::from(status.is_err())).into())
    })?;
    i.func_wrap("exit-with-code", |_, (code,): (u8,)| -> Result<()> { Err(Exit(code).into()) })?;
    linker
        .instance(&name("cli/stdin"))?
        .func_wrap("get-stdin", |_, ()| Ok((Resource::<Input>::new_own(0),)))?;
    linker
        .instance(&name("cli/stdout"))?
        .func_wrap("get-stdout", |_, ()| Ok((Resource::<Output>::new_own(STDOUT),)))?;
    linker
        .instance(&name("cli/stderr"))?
        .func_wrap("get-stderr", |_, ()| Ok((Resource::<Output>::new_own(STDERR),)))?;
    linker.instance(&name("cli/terminal-input"))?.resource(
        "terminal-input",
        ResourceType::host::<TerminalInput>(),
        nothing,
    )?;
    linker.instance(&name("cli/terminal-output"))?.resource(
        "terminal-output",
        ResourceType::host::<TerminalOutput>(),
        nothing,
    )?;
    linker
        .instance(&name("cli/terminal-stdin"))?
        .func_wrap("get-terminal-stdin", |_, ()| Ok((None::<Resource<TerminalInput>>,)))?;
    linker
        .instance(&name("cli/terminal-stdout"))?
        .func_wrap("get-terminal-stdout", |_, ()| Ok((None::<Resource<TerminalOutput>>,)))?;
    linker
        .instance(&name("cli/terminal-stderr"))?
        .func_wrap("get-terminal-stderr", |_, ()| Ok((None::<Resource<TerminalOutput>>,)))
}

/// No folder is opened for a guest, so it never holds a descriptor: its methods are there for the types alone.
fn filesystem<T: View>(linker: &mut Linker<T>) -> Result<()> {
    let mut i = linker.instance(&name("filesystem/types"))?;
    i.resource("descriptor", ResourceType::host::<Descriptor>(), nothing)?;
    i.resource("directory-entry-stream", ResourceType::host::<DirectoryEntries>(), nothing)?;
    for function in functions(WIT[4].1, "types")? {
        i.func_new(&function, |_, _, _, _: &mut [Val]| bail!("a plugin has no files"))?;
    }
    linker
        .instance(&name("filesystem/preopens"))?
        .func_wrap("get-directories", |_, ()| Ok((Vec::<(Resource<Descriptor>, String)>::new(),)))
}

/// The names of an interface's functions, as components import them.
fn functions(of: &str, interface: &str) -> Result<Vec<String>> {
    let mut resolve = wit_parser::Resolve::new();
    for (name, text) in WIT {
        let package = resolve.push_source(name, text).map_err(wasmtime::Error::from_anyhow)?;
        if text == of {
            let id = resolve.packages[package].interfaces[interface];
            return Ok(resolve.interfaces[id].functions.keys().cloned().collect());
        }
    }
    bail!("no such package")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_bytes_hang_on_event_and_program_alone() {
        let seed =
            |event: &str, program: &str| Seed { event: event.parse().unwrap(), program: program.into() };
        let first = |seed: &Seed| Random::new(seed).u64();
        assert_eq!(first(&seed("1", "a")), first(&seed("1", "a")));
        assert_ne!(first(&seed("1", "a")), first(&seed("2", "a")));
        assert_ne!(first(&seed("1", "a")), first(&seed("1", "b")));
        // Pinned: a replay in ten years must give the same bytes.
        assert_eq!(first(&seed("evt-1", "00")), 7_631_784_840_924_007_148);
        let (mut whole, mut parts) = ([0; 100], [0; 100]);
        Random::new(&seed("1", "a")).fill(&mut whole);
        let mut random = Random::new(&seed("1", "a"));
        parts.chunks_mut(7).for_each(|part| random.fill(part));
        assert_eq!(whole, parts);
    }
}
