//! The store's limiter: refuses growth above the limits and remembers the name of the limit that it was.
//!
//! It must not know what the guest does with the refusal.

use wasmtime::{ResourceLimiter, Result};

use crate::carrier::Limits;

/// Limits of one instance and the last refusal.
#[derive(Debug)]
pub(super) struct Guard {
    memory_bytes: usize,
    table_elements: usize,
    pub(super) refused: Option<Refusal>,
}

/// What was asked for and what is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) limit: &'static str,
    pub(super) asked: usize,
    pub(super) allowed: usize,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} asked for, {} allowed", self.asked, self.allowed)
    }
}

impl Guard {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            memory_bytes: usize::try_from(limits.memory_bytes).unwrap_or(usize::MAX),
            table_elements: limits.table_elements as usize,
            refused: None,
        }
    }

    fn judge(
        &mut self,
        limit: &'static str,
        asked: usize,
        allowed: usize,
        maximum: Option<usize>,
    ) -> Result<bool> {
        if asked > allowed {
            self.refused = Some(Refusal { limit, asked, allowed });
        }
        Ok(asked <= allowed && maximum.is_none_or(|max| asked <= max))
    }
}

impl ResourceLimiter for Guard {
    fn memory_growing(&mut self, _: usize, asked: usize, maximum: Option<usize>) -> Result<bool> {
        self.judge("memory_bytes", asked, self.memory_bytes, maximum)
    }

    fn table_growing(&mut self, _: usize, asked: usize, maximum: Option<usize>) -> Result<bool> {
        self.judge("table_elements", asked, self.table_elements, maximum)
    }
}
