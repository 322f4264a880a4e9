//! One call of one plugin: a fresh instance, the event in, the verdict or the fault out.
//!
//! It must not know chains, threads or which subscription asks.

use std::sync::Arc;

use bytes::Bytes;
use wasmtime::{Store, Trap};
use wasmtime_wasi::I32Exit;

use super::Chain;
use super::guard::Guard;
use super::log::{Log, cut};
use super::outcome::{Fault, TrapKind};
use super::v1::{self, Verdict};
use super::wasi::{self, Seed, TooMuchRandom, Wasi};
use crate::carrier::{Limits, Sha256Hex};
use crate::clock::Millis;
use crate::event::{Event, EventId};

/// Handles that a guest may hold; it needs a few for stdout and clocks.
const HANDLES: usize = 256;

/// Bytes of a fault's message.
const MESSAGE: usize = 2 << 10;

/// A version that is ready to run: compiled, linked, with its limits. Shared by all that use it.
pub struct Program {
    pub(super) sha256: Sha256Hex,
    pub(super) limits: Limits,
    pub(super) pre: v1::Pre,
    pub(super) seed: Arc<str>,
}

impl Program {
    /// What identifies the component's bytes.
    pub fn sha256(&self) -> &Sha256Hex {
        &self.sha256
    }

    /// What one call may use.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }
}

impl std::fmt::Debug for Program {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Program").field("sha256", &self.sha256).field("limits", &self.limits).finish()
    }
}

/// What the store of a call holds.
pub(super) struct Host {
    pub(super) chain: Arc<Chain>,
    pub(super) event: EventId,
    pub(super) received: Millis,
    pub(super) log: Log,
    guard: Guard,
    wasi: Wasi,
}

impl wasi::View for Host {
    fn wasi(&mut self) -> &mut Wasi {
        &mut self.wasi
    }

    fn log(&mut self) -> &mut Log {
        &mut self.log
    }
}

/// What one call came to.
pub(super) struct Called {
    pub(super) result: Result<Verdict, Fault>,
    /// Whether the fault came before `handle` was reached: from the start code.
    pub(super) in_start: bool,
    pub(super) log: Log,
}

/// Runs `program` on the event with `payload` in a fresh instance. The engine's epoch must be moving.
pub(super) fn call(program: &Program, chain: &Arc<Chain>, event: &Event, payload: &Bytes) -> Called {
    let limits = &program.limits;
    let mut store = store(program, chain, event);
    let mut in_start = true;
    let answer = program.pre.instantiate(&mut store).and_then(|plugin| {
        in_start = false;
        v1::handle(&plugin, &mut store, event, payload)
    });
    let mut host = store.into_data();
    host.log.finish();
    let result = match answer {
        Ok(Ok(verdict)) => Ok(verdict),
        Ok(Err(v1::Failure::Rejected(why))) => Err(Fault::Rejected(cut(&why, MESSAGE).to_owned())),
        Ok(Err(v1::Failure::Temporary(why))) => Err(Fault::Temporary(cut(&why, MESSAGE).to_owned())),
        Err(error) => Err(blame(&error, &host, limits)),
    };
    Called { result, in_start, log: host.log }
}

/// A store for one call, with all of its limits set.
pub(super) fn store(program: &Program, chain: &Arc<Chain>, event: &Event) -> Store<Host> {
    let limits = &program.limits;
    let seed = Seed { event: event.id.clone(), program: program.seed.clone() };
    let host = Host {
        chain: chain.clone(),
        event: event.id.clone(),
        received: event.received,
        log: Log::new(limits.log_lines, limits.log_bytes),
        guard: Guard::new(limits),
        wasi: Wasi::new(event.received, seed),
    };
    let mut store = Store::new(program.pre.engine(), host);
    store.limiter(|host| &mut host.guard);
    store.set_hostcall_fuel(usize::try_from(limits.output_bytes.saturating_mul(2)).unwrap_or(usize::MAX));
    store.set_max_component_handles(HANDLES);
    // Before instantiation, since start code is the guest's too; one tick more because the present one has begun.
    let ticks = u64::try_from(limits.wall.as_millis() / super::engine::TICK.as_millis()).unwrap_or(u64::MAX);
    store.set_epoch_deadline(ticks.saturating_add(1));
    store
}

/// Which fault it was: the limit by its name before the trap that it led to.
fn blame(error: &wasmtime::Error, host: &Host, limits: &Limits) -> Fault {
    let trap = error.downcast_ref::<Trap>().copied();
    if trap == Some(Trap::Interrupt) {
        return Fault::Deadline { wall: limits.wall };
    }
    if let Some(TooMuchRandom { .. }) = error.downcast_ref() {
        return Fault::LimitHit { limit: "random_bytes", message: error.root_cause().to_string() };
    }
    if fuel_is_out(error) {
        let message = format!(
            "more was handed to the host in one call than twice the limit for output of {} bytes",
            limits.output_bytes
        );
        return Fault::LimitHit { limit: "output_bytes", message };
    }
    // A refused growth that the guest got over is no fault; one that a trap followed is what it died of.
    if let Some(refusal) = host.guard.refused {
        return Fault::LimitHit { limit: refusal.limit, message: refusal.to_string() };
    }
    let own = error.root_cause().to_string();
    let (what, message) = match trap {
        Some(Trap::UnreachableCodeReached) => match host.log.panic() {
            Some(panic) => (TrapKind::Panic, panic),
            None => (TrapKind::Unreachable, own),
        },
        Some(Trap::StackOverflow) => (TrapKind::StackOverflow, own),
        Some(Trap::MemoryOutOfBounds) if below_zero(error) => {
            (TrapKind::StackOverflow, "the stack in the plugin's own memory is exhausted".to_owned())
        }
        Some(Trap::MemoryOutOfBounds | Trap::HeapMisaligned) => (TrapKind::MemoryOutOfBounds, own),
        Some(Trap::TableOutOfBounds | Trap::IndirectCallToNull | Trap::BadSignature) => {
            (TrapKind::Table, own)
        }
        Some(Trap::IntegerOverflow | Trap::IntegerDivisionByZero | Trap::BadConversionToInteger) => {
            (TrapKind::Arithmetic, own)
        }
        Some(_) => (TrapKind::Other, own),
        None if let Some(I32Exit(status)) = error.downcast_ref() => {
            (TrapKind::Exit, format!("the plugin called exit with status {status}"))
        }
        // What is left comes from lifting what the guest answered: bad text, bad pointers, bad discriminants.
        None => (TrapKind::Contract, own),
    };
    Fault::Trapped { what, message: cut(&message, MESSAGE).to_owned() }
}

/// Whether the fuel for host calls ran out. The error's type is private to wasmtime, so its words must do; a test
/// holds them.
fn fuel_is_out(error: &wasmtime::Error) -> bool {
    error.chain().any(|cause| cause.to_string().contains("fuel allocated for hostcalls has been exhausted"))
}

/// Whether the guest reached just below address 0. The SDK's build puts the guest's own stack at the beginning of its
/// memory, so that this is where an overflow of it ends up: at the top of the 32-bit addresses, or just above them
/// with an instruction's offset.
fn below_zero(error: &wasmtime::Error) -> bool {
    const NEAR: u64 = 1 << 20;
    error.chain().any(|cause| {
        let text = cause.to_string();
        let address = text.strip_prefix("memory fault at wasm address 0x").and_then(|rest| {
            let digits = rest.split(|c: char| !c.is_ascii_hexdigit()).next()?;
            u64::from_str_radix(digits, 16).ok()
        });
        address.is_some_and(|address| ((1 << 32) - NEAR..(1 << 32) + NEAR).contains(&address))
    })
}
