//! The layers of a call one by one, for the bench alone.
//!
//! Nothing of the host may use it, and it must not know what is compared with what.

use std::sync::Arc;

use super::call::{Program, call, store};
use super::{Chain, Runtime, chain, v1};
use crate::event::Event;

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
    pub fn call_reused(&self, chain: &Arc<Chain>, event: &Event, times: u32) {
        let mut store = store(self, chain, event);
        let plugin = self.pre.instantiate(&mut store).expect("it can be instantiated");
        for _ in 0..times {
            let answer = v1::handle(&plugin, &mut store, event, &event.payload);
            assert!(answer.expect("it does not trap").is_ok());
        }
    }
}
