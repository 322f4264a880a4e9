//! Does the harm that the event asks for: `{"do": "loop"}` and so on. What it must survive of these is the host.

#![expect(
    clippy::disallowed_methods,
    reason = "a plugin may look at its clock and wait; the test is what it gets"
)]

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::hint::black_box;
use std::time::{Duration, Instant, SystemTime};

use hookyard::{Delivery, Event, Failure, Result, Verdict};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", tag = "do", content = "with")]
enum Harm {
    Loop,
    Memory,
    Recurse,
    RecurseInMemory,
    Output(usize),
    OneHugeMessage(usize),
    Log(u32),
    Stdout(u32),
    Trap,
    Panic(String),
    Exit,
    Sleep(u64),
    Spin(u64),
    Deliver(String),
    DeliverLater(u64),
    Mail(String),
    Many(usize),
    ForwardText(String),
    ForwardFetch,
    Append(String),
    Reject(String),
    Later(String),
    WriteSecret(u8),
    FindSecret(u8),
    World,
    Nothing,
}

#[hookyard::plugin]
fn handle(event: &Event) -> Result<Verdict> {
    match event.json::<Harm>()? {
        Harm::Loop => loop {
            black_box(());
        },
        Harm::Memory => {
            let mut all = Vec::new();
            loop {
                all.push(black_box(vec![1_u8; 1 << 20]));
            }
        }
        Harm::Recurse => Ok(Verdict::drop(recurse(1).to_string())),
        Harm::RecurseInMemory => Ok(Verdict::drop(recurse_in_memory(1).to_string())),
        Harm::Output(bytes) => {
            Ok(Delivery::http("claims").bytes("application/octet-stream", vec![b'x'; bytes]).into())
        }
        Harm::OneHugeMessage(bytes) => {
            hookyard::log::write(hookyard::log::Level::Info, &"x".repeat(bytes));
            Ok(Verdict::forward())
        }
        Harm::Log(lines) => {
            for n in 0..lines {
                hookyard::log::info!("line {n}");
            }
            Ok(Verdict::forward())
        }
        Harm::Stdout(lines) => {
            for n in 0..lines {
                println!("out {n}");
                eprint!("err {n} ");
            }
            Ok(Verdict::forward())
        }
        Harm::Trap => std::process::abort(),
        Harm::Panic(message) => panic!("{message}"),
        Harm::Exit => std::process::exit(3),
        Harm::Sleep(seconds) => {
            let start = Instant::now();
            std::thread::sleep(Duration::from_secs(seconds));
            Ok(Verdict::drop(format!("slept {} s", start.elapsed().as_secs())))
        }
        Harm::Spin(turns) => {
            (0..turns).for_each(|turn| {
                black_box(turn);
            });
            Ok(Verdict::forward())
        }
        Harm::Deliver(destination) => Ok(Delivery::http(destination).original().into()),
        Harm::DeliverLater(wait_ms) => {
            let moment = event.received_ms + wait_ms;
            Ok(Verdict::deliver(vec![Delivery::http("claims").original().not_before_ms(moment)]))
        }
        Harm::Mail(destination) => {
            Ok(Delivery::email(destination).to("a@b.test").subject("hello").text("a mail").into())
        }
        Harm::Many(count) => Ok(Verdict::deliver(vec![Delivery::http("claims").original(); count])),
        Harm::ForwardText(text) => Ok(Verdict::Forward(text.into_bytes().into())),
        Harm::ForwardFetch => {
            Ok(Verdict::Forward(hookyard::Content::Fetch("https://files.test/a".to_owned())))
        }
        Harm::Append(next) => {
            let setting = hookyard::settings::get("suffix").unwrap_or_default();
            let entry = hookyard::tables::get("brands", "QB").unwrap_or_default();
            Verdict::forward_json(&command(&next, &setting, &entry))
        }
        Harm::Reject(why) => Err(Failure::rejected(why)),
        Harm::Later(why) => Err(Failure::temporary(why)),
        Harm::WriteSecret(mask) => {
            // In one small piece, and over many pages.
            let small = black_box(secret(mask));
            let mut large = vec![0_u8; 12 << 20];
            for page in large.chunks_mut(4_096) {
                page[100..100 + small.len()].copy_from_slice(&small);
            }
            black_box(&large);
            Ok(Verdict::drop(format!("wrote {} bytes", large.len())))
        }
        Harm::FindSecret(mask) => Ok(Verdict::drop(format!("found {}", find(mask)))),
        Harm::World => Ok(Verdict::drop(world())),
        Harm::Nothing => Ok(Verdict::forward()),
    }
}

/// What `append` makes: the next plugin's command with what this one could read.
fn command(next: &str, setting: &str, entry: &str) -> std::collections::BTreeMap<&'static str, String> {
    [("do", next.to_owned()), ("with", format!("{setting}/{entry}"))].into()
}

/// Without end, on the native stack alone.
fn recurse(n: u64) -> u64 {
    if black_box(n) == 0 {
        return 0;
    }
    black_box(recurse(n + 1)).wrapping_add(1)
}

/// Without end, with a frame in the guest's own memory.
#[expect(unconditional_recursion, reason = "that is the harm")]
fn recurse_in_memory(n: u8) -> u64 {
    // Byte by byte: one fill of all would trap without an address.
    let frame: [u8; 256] = std::array::from_fn(|_| black_box(n));
    u64::from(frame[usize::from(n)]) + black_box(recurse_in_memory(n.wrapping_add(1)))
}

/// Sixteen bytes that stand nowhere in the component: they are made with a mask.
fn secret(mask: u8) -> [u8; 16] {
    std::array::from_fn(|n| black_box(b"TbZ8!secret-word"[n]) ^ mask)
}

/// How often the secret stands in the whole of the memory, as far as it can be grown.
#[cfg(target_family = "wasm")]
fn find(mask: u8) -> usize {
    use core::arch::wasm32::{memory_grow, memory_size};
    while memory_grow(0, 1) != usize::MAX {}
    let plain = *b"TbZ8!secret-word";
    let bytes = memory_size(0) << 16;
    let at = |n: usize| {
        #[expect(unsafe_code, reason = "it looks for what is not its own")]
        // SAFETY: below the memory's size; a read of the whole linear memory is what this guest is for.
        unsafe {
            core::ptr::with_exposed_provenance::<u8>(n).read_volatile()
        }
    };
    (1_024..bytes - 16).filter(|start| (0..16).all(|n| at(start + n) == plain[n] ^ mask)).count()
}

#[cfg(not(target_family = "wasm"))]
fn find(_: u8) -> usize {
    0
}

/// All that could differ between two runs.
fn world() -> String {
    let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis();
    let random = RandomState::new().hash_one(1_u8);
    let first = Instant::now();
    let moved = first.elapsed() > Duration::ZERO;
    let arguments = std::env::args().count();
    let variables = std::env::vars().count();
    let file = std::fs::read("/etc/passwd").is_ok();
    format!("wall {wall} random {random:016x} moved {moved} args {arguments} env {variables} file {file}")
}
