//! The layers of a call one by one, for the bench alone.
//!
//! Nothing of the host may use it, and it must not know what is compared with what.

use std::sync::Arc;

use wasmtime::component::{Component, ComponentExportIndex, InstancePre};

use super::call::{Host, Program, call, store};
use super::{Chain, Runtime, chain, v1};
use crate::event::Event;

/// A component that is no plugin: one function of texts, with the store and the limits of a plugin's call. What it
/// costs less than a plugin is what the contract costs.
pub struct Texts {
    limits: Arc<Program>,
    pre: InstancePre<Host>,
    function: ComponentExportIndex,
}

impl Runtime {
    /// Runs `work` with the epoch moving, on the caller's thread.
    pub fn ticking<T>(&self, work: impl FnOnce() -> T) -> T {
        let _running = self.0.floor.ticker.run();
        work()
    }

    /// A whole run of the chain with its checks, without queue and threads.
    pub fn run_here(&self, chain: &Arc<Chain>, event: &Event) -> chain::Ran {
        self.0.floor.run(chain, event)
    }

    /// Makes a component ready that exports `function` with the type `func(a: string, b: string) -> string`. `limits`
    /// are those of its calls.
    ///
    /// # Panics
    /// When it is no such component.
    pub fn texts(&self, component: &[u8], function: &str, limits: &Arc<Program>) -> Texts {
        let component = Component::new(&self.0.engine, component).expect("it compiles");
        let pre = self.0.linker.instantiate_pre(&component).expect("its imports are there");
        let function = component.get_export_index(None, function).expect("it exports the function");
        Texts { limits: limits.clone(), pre, function }
    }
}

impl Texts {
    /// A fresh call.
    ///
    /// # Panics
    /// When it fails.
    pub fn call(&self, chain: &Arc<Chain>, event: &Event, a: &str, b: &str) -> String {
        let mut store = store(&self.limits, chain, event);
        let instance = self.pre.instantiate(&mut store).expect("it can be instantiated");
        let function = instance
            .get_typed_func::<(&str, &str), (String,)>(&mut store, self.function)
            .expect("it has the type of two texts to one");
        function.call(&mut store, (a, b)).expect("it does not trap").0
    }
}

impl Program {
    /// A store and an instance in it, made and dropped.
    ///
    /// # Panics
    /// When it cannot be instantiated.
    pub fn instantiate_only(&self, chain: &Arc<Chain>, event: &Event) {
        self.pre.instantiate(&mut store(self, chain, event)).expect("it can be instantiated");
    }

    /// A fresh call, its verdict not checked.
    ///
    /// # Panics
    /// When it fails.
    pub fn call_only(&self, chain: &Arc<Chain>, event: &Event) {
        call(self, chain, event, &event.payload).result.expect("it answers");
    }

    /// `times` calls of one instance.
    ///
    /// # Panics
    /// When one fails.
    pub fn call_reused(&self, chain: &Arc<Chain>, event: &Event, times: u64) {
        let mut store = store(self, chain, event);
        let plugin = self.pre.instantiate(&mut store).expect("it can be instantiated");
        for _ in 0..times {
            let answer = v1::handle(&plugin, &mut store, event, &event.payload);
            assert!(answer.expect("it does not trap").is_ok());
        }
    }
}
