//! Who was posted, accepted and delivered, by identity, and how long each took.

use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

use hdrhistogram::Histogram;

use crate::clock::Stopwatch;

/// The account of every event of a load.
#[derive(Debug)]
pub(super) struct Book {
    watch: Stopwatch,
    entries: Vec<Entry>,
    delivered: AtomicUsize,
}

#[derive(Debug, Default)]
struct Entry {
    posted_us: AtomicU64,
    arrived_us: AtomicU64,
    accepted: AtomicU32,
    arrivals: AtomicU32,
}

/// What the account comes to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sum {
    /// Accepted and never delivered.
    pub(super) lost: usize,
    /// Delivered more than once.
    pub(super) repeated: usize,
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
    /// From the first post to the last arrival.
    pub(super) seconds: f64,
}

impl Book {
    pub(super) fn new(events: usize) -> Self {
        let entries = std::iter::repeat_with(Entry::default).take(events).collect();
        Self { watch: Stopwatch::start(), entries, delivered: AtomicUsize::new(0) }
    }

    fn now_us(&self) -> u64 {
        u64::try_from(self.watch.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    pub(super) fn posted(&self, n: usize) {
        self.entries[n].posted_us.store(self.now_us(), Ordering::Relaxed);
    }

    pub(super) fn accepted(&self, n: usize) {
        self.entries[n].accepted.store(1, Ordering::Relaxed);
    }

    pub(super) fn arrived(&self, n: usize) {
        let Some(entry) = self.entries.get(n) else { return };
        if entry.arrivals.fetch_add(1, Ordering::Relaxed) == 0 {
            entry.arrived_us.store(self.now_us(), Ordering::Relaxed);
            self.delivered.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many different events have arrived.
    pub(super) fn delivered(&self) -> usize {
        self.delivered.load(Ordering::Relaxed)
    }

    pub(super) fn sum(&self) -> Sum {
        // Up to a minute, three digits: the constants are in range.
        let mut took = Histogram::<u64>::new_with_bounds(1, 60_000_000, 3).expect("the bounds are in range");
        let (mut lost, mut repeated, mut first, mut last) = (0, 0, u64::MAX, 0);
        for entry in &self.entries {
            let (posted, arrived) =
                (entry.posted_us.load(Ordering::Relaxed), entry.arrived_us.load(Ordering::Relaxed));
            let arrivals = entry.arrivals.load(Ordering::Relaxed);
            lost += usize::from(entry.accepted.load(Ordering::Relaxed) == 1 && arrivals == 0);
            repeated += usize::from(arrivals > 1);
            if arrivals > 0 {
                took.saturating_record(arrived.saturating_sub(posted).max(1));
                first = first.min(posted);
                last = last.max(arrived);
            }
        }
        Sum {
            lost,
            repeated,
            p50_ms: took.value_at_quantile(0.5) as f64 / 1e3,
            p99_ms: took.value_at_quantile(0.99) as f64 / 1e3,
            seconds: last.saturating_sub(first) as f64 / 1e6,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_book_counts_by_identity() {
        let book = Book::new(3);
        for n in 0..3 {
            book.posted(n);
            book.accepted(n);
        }
        book.arrived(0);
        book.arrived(0);
        book.arrived(2);
        let sum = book.sum();
        assert_eq!((sum.lost, sum.repeated, book.delivered()), (1, 1, 2));
    }
}
