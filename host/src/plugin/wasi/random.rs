//! Random bytes that are a function of the event and the plugin.
//!
//! It must not know where the host gets randomness for itself.

use sha2::{Digest, Sha256};
use wasmtime::Result;
use wasmtime_wasi::p2::bindings::random::{insecure, insecure_seed, random};

use super::Wasi;

/// `random_bytes`: bytes that one call may ask for.
const RANDOM_BYTES: u64 = 64 << 10;

/// What random bytes are made of.
#[derive(Debug, Clone)]
pub(in crate::plugin) struct Seed {
    pub(in crate::plugin) event: crate::event::EventId,
    pub(in crate::plugin) program: std::sync::Arc<str>,
}

/// A guest asked for too much in one call.
#[derive(Debug, thiserror::Error)]
#[error("{asked} random bytes asked for in one call, and {RANDOM_BYTES} are allowed")]
pub(in crate::plugin) struct TooMuchRandom {
    asked: u64,
}

/// SHA-256 in counter mode: not fast, but the same in every later version of every library. The generators that
/// `wasmtime-wasi` would keep in its context promise nothing of the kind.
#[derive(Debug)]
pub(super) struct Random {
    key: [u8; 32],
    counter: u64,
    block: [u8; 32],
    used: usize,
}

impl Random {
    pub(super) fn new(seed: &Seed) -> Self {
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

    fn bytes(&mut self, asked: u64) -> Result<Vec<u8>> {
        if asked > RANDOM_BYTES {
            return Err(TooMuchRandom { asked }.into());
        }
        let mut bytes = vec![0; usize::try_from(asked)?];
        self.fill(&mut bytes);
        Ok(bytes)
    }

    fn u64(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }
}

impl random::Host for Wasi {
    fn get_random_bytes(&mut self, asked: u64) -> Result<Vec<u8>> {
        self.random().bytes(asked)
    }

    fn get_random_u64(&mut self) -> Result<u64> {
        Ok(self.random().u64())
    }
}

impl insecure::Host for Wasi {
    fn get_insecure_random_bytes(&mut self, asked: u64) -> Result<Vec<u8>> {
        self.random().bytes(asked)
    }

    fn get_insecure_random_u64(&mut self) -> Result<u64> {
        Ok(self.random().u64())
    }
}

impl insecure_seed::Host for Wasi {
    fn insecure_seed(&mut self) -> Result<(u64, u64)> {
        let random = self.random();
        Ok((random.u64(), random.u64()))
    }
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

    #[test]
    fn one_call_gets_so_much_and_no_more() {
        let mut random = Random::new(&Seed { event: "1".parse().unwrap(), program: "a".into() });
        assert_eq!(random.bytes(RANDOM_BYTES).unwrap().len(), 64 << 10);
        let error = random.bytes(RANDOM_BYTES + 1).unwrap_err();
        assert!(error.is::<TooMuchRandom>(), "{error:?}");
    }
}
