//! The guest's two clocks: the wall clock stands at the moment when the event was received, and the monotonic clock is
//! a counter that each look and each wait moves.
//!
//! It must not know the host's own time. `wasmtime-wasi` waits for real, within the host call and so out of the
//! deadline's reach; here a wait is over when it begins.

use wasmtime::Result;
use wasmtime::component::Resource;
use wasmtime_wasi::p2::DynPollable;
use wasmtime_wasi::p2::bindings::clocks::{monotonic_clock, wall_clock};

use super::Wasi;
use super::streams::ready;

/// Nanoseconds that a look at the monotonic clock takes. It never stands still, so a guest that waits by looking gets
/// on.
const LOOK: u64 = 1_000;

impl wall_clock::Host for Wasi {
    fn now(&mut self) -> Result<wall_clock::Datetime> {
        let at = u64::try_from(self.wall.0).unwrap_or(0);
        let nanoseconds = u32::try_from(at % 1_000 * 1_000_000)?;
        Ok(wall_clock::Datetime { seconds: at / 1_000, nanoseconds })
    }

    fn resolution(&mut self) -> Result<wall_clock::Datetime> {
        Ok(wall_clock::Datetime { seconds: 0, nanoseconds: 1_000_000 })
    }
}

impl monotonic_clock::Host for Wasi {
    fn now(&mut self) -> Result<u64> {
        let now = self.monotonic;
        self.monotonic = now.saturating_add(LOOK);
        Ok(now)
    }

    fn resolution(&mut self) -> Result<u64> {
        Ok(LOOK)
    }

    fn subscribe_instant(&mut self, when: u64) -> Result<Resource<DynPollable>> {
        self.monotonic = self.monotonic.max(when);
        Ok(ready())
    }

    fn subscribe_duration(&mut self, by: u64) -> Result<Resource<DynPollable>> {
        self.monotonic = self.monotonic.saturating_add(by);
        Ok(ready())
    }
}
