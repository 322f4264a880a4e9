//! The engine: which WebAssembly a plugin may use, the pool that its instances live in, and the tick of the epoch.
//!
//! One engine in a process. It must not know what a plugin is.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig, Strategy,
    WasmBacktraceDetails, WasmFeatures,
};

use crate::carrier::Limits;
use crate::clock::Stopwatch;

/// The WebAssembly that plugins may use. Everything here behaves the same on every machine and in every run: no
/// threads, no relaxed SIMD. 64-bit memories, garbage collection, exceptions and asynchronous components stay out
/// because nothing needs them and each is more to attack.
pub(super) const FEATURES: WasmFeatures = WasmFeatures::WASM2
    .union(WasmFeatures::TAIL_CALL)
    .union(WasmFeatures::EXTENDED_CONST)
    .union(WasmFeatures::MULTI_MEMORY)
    .union(WasmFeatures::COMPONENT_MODEL)
    // Without them a table holds functions and nothing else, and no collector of garbage is compiled in.
    .difference(WasmFeatures::GC_TYPES);

/// How long one tick of the epoch is.
pub(super) const TICK: Duration = Duration::from_millis(1);

/// Instances of the pool that are kept for checks of uploads, beside one for each worker thread.
pub(super) const CHECK_SLOTS: usize = 2;

/// Native stack that a guest may use. The worker threads' stacks are larger.
const GUEST_STACK: usize = 256 << 10;

/// A guest built with the SDK's settings stays within this much memory, so that resetting its slot needs no system
/// call and its next run takes no page fault.
const KEEP_RESIDENT: usize = 256 << 10;

/// Core modules of one component: the plugin, and the shim and fix-up modules that the component tools add.
const CORE_INSTANCES: u32 = 8;
const TABLES: u32 = 4;

/// What decides the compiled code. The compiler's process and the host use it alike; an artifact of one is good for
/// the other only when all of it agrees.
pub(super) fn compile_config() -> Config {
    let mut c = Config::new();
    // Features of the crate unify over a workspace, so what is off is switched off here as well.
    c.wasm_features(WasmFeatures::all().difference(FEATURES), false);
    c.wasm_features(FEATURES, true);
    c.strategy(Strategy::Cranelift)
        .cranelift_opt_level(OptLevel::Speed)
        .cranelift_nan_canonicalization(true)
        .epoch_interruption(true)
        .consume_fuel(false)
        .concurrency_support(false)
        .max_wasm_stack(GUEST_STACK)
        .memory_init_cow(true)
        // The runtime walks the stack by itself; registering frames with the system is slow with many components.
        .native_unwind_info(false)
        // Debug information is input that the uploader controls; names alone are enough for a trace.
        .wasm_backtrace_details(WasmBacktraceDetails::Disable)
        .parallel_compilation(false);
    c
}

/// The engine that runs plugins: `slots` instances at once, none above `ceiling`.
pub(super) fn run_config(slots: usize, ceiling: &Limits) -> Config {
    let slots = u32::try_from(slots).unwrap_or(u32::MAX / CORE_INSTANCES);
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(slots)
        .total_core_instances(slots.saturating_mul(CORE_INSTANCES))
        .total_memories(slots)
        .total_tables(slots.saturating_mul(TABLES))
        .max_core_instances_per_component(CORE_INSTANCES)
        .max_memories_per_component(1)
        .max_tables_per_component(TABLES)
        .max_component_instance_size(256 << 10)
        .max_core_instance_size(256 << 10)
        .table_elements(ceiling.table_elements as usize)
        .max_memory_size(usize::try_from(ceiling.memory_bytes).unwrap_or(usize::MAX))
        .linear_memory_keep_resident(KEEP_RESIDENT)
        .table_keep_resident(64 << 10)
        // Every slot stays mapped for the component that it ran last.
        .max_unused_warm_slots(slots)
        // Until wasmtime's pull request 14357 is in, pages that were swapped out would not be reset.
        .pagemap_scan(Enabled::No);
    let mut c = compile_config();
    c.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    c
}

/// A name for all that decides whether a compiled artifact can be loaded by this build: 16 hex digits.
pub(super) fn compatibility(engine: &Engine) -> String {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    // A change of what the host adds around the compiler shows as well.
    (env!("CARGO_PKG_VERSION"), std::env::consts::ARCH).hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

/// Moves the engine's epoch on by one each millisecond while a guest runs, and rests otherwise.
pub(super) struct Ticker {
    state: Arc<TickerState>,
    thread: Option<std::thread::JoinHandle<()>>,
}

struct TickerState {
    busy: AtomicUsize,
    stop: AtomicBool,
}

impl Ticker {
    pub(super) fn start(engine: &Engine) -> std::io::Result<Self> {
        let state = Arc::new(TickerState { busy: AtomicUsize::new(0), stop: AtomicBool::new(false) });
        // Weak: a forgotten ticker must not keep an engine and its address space alive.
        let (weak, shared) = (engine.weak(), state.clone());
        let thread = std::thread::Builder::new().name("wasm-tick".to_owned()).spawn(move || {
            'rest: while !shared.stop.load(Ordering::Acquire) {
                if shared.busy.load(Ordering::Acquire) == 0 {
                    std::thread::park();
                    continue;
                }
                let watch = Stopwatch::start();
                let mut ticks = 0_u128;
                while shared.busy.load(Ordering::Acquire) > 0 && !shared.stop.load(Ordering::Acquire) {
                    std::thread::park_timeout(TICK);
                    // Late wake-ups are caught up with, so that deadlines keep to wall time on a busy machine.
                    let due = watch.elapsed().as_millis() / TICK.as_millis();
                    let Some(engine) = weak.upgrade() else { break 'rest };
                    while ticks < due {
                        engine.increment_epoch();
                        ticks += 1;
                    }
                }
            }
        })?;
        Ok(Self { state, thread: Some(thread) })
    }

    /// The epoch moves on until the guard is dropped.
    pub(super) fn run(&self) -> Running<'_> {
        if self.state.busy.fetch_add(1, Ordering::AcqRel) == 0
            && let Some(thread) = &self.thread
        {
            thread.thread().unpark();
        }
        Running(&self.state)
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.state.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // It panics nowhere; and if it did, there is nothing left to tick for.
            let _ = thread.join();
        }
    }
}

/// See [`Ticker::run`].
pub(super) struct Running<'a>(&'a TickerState);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_switch_is_where_the_design_wants_it() {
        let limits = Limits::default();
        let config = run_config(4, &limits);
        // Reading the features back needs an engine: the crate's own defaults are added only there.
        let engine = Engine::new(&config).unwrap();
        let config = &engine;
        assert!(!config.get_concurrency_support());
        assert!(config.get_epoch_interruption());
        assert!(!config.get_consume_fuel());
        assert_eq!(config.get_cranelift_nan_canonicalization(), Some(true));
        assert_eq!(config.get_native_unwind_info(), Some(false));
        assert_eq!(config.get_max_wasm_stack(), GUEST_STACK);
        assert_eq!(config.get_wasm_features(), FEATURES);
        for off in [
            WasmFeatures::THREADS,
            WasmFeatures::RELAXED_SIMD,
            WasmFeatures::MEMORY64,
            WasmFeatures::GC,
            WasmFeatures::EXCEPTIONS,
            WasmFeatures::STACK_SWITCHING,
            WasmFeatures::CM_ASYNC,
            WasmFeatures::CM_THREADING,
        ] {
            assert!(!config.get_wasm_features().intersects(off), "{off:?}");
        }
        let pool = config.get_pooling_config().unwrap();
        assert_eq!(pool.get_max_unused_warm_slots(), 4);
        assert_eq!(pool.get_total_component_instances(), 4);
        assert_eq!(pool.get_max_memories_per_component(), 1);
        assert_eq!(pool.get_max_memory_size(), 32 << 20);
        assert_eq!(pool.get_memory_keep_resident(), KEEP_RESIDENT);
        assert_eq!(pool.get_table_elements(), 10_000);
        assert!(matches!(pool.get_pagemap_scan(), Enabled::No));
    }

    #[test]
    fn the_compilers_artifacts_fit_the_pool() {
        let run = Engine::new(&run_config(1, &Limits::default())).unwrap();
        let compile = Engine::new(&compile_config()).unwrap();
        assert_eq!(compatibility(&run), compatibility(&compile));
        let mut other = compile_config();
        other.cranelift_nan_canonicalization(false);
        assert_ne!(compatibility(&run), compatibility(&Engine::new(&other).unwrap()));
    }
}
