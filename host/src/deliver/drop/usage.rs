//! How much a carrier has in the drop folder, against its share. Counted once by looking, then kept up with what this host does; counted
//! again by every clearing up, since others may write and delete there.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::fault::DropError;

/// The most that one carrier may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// In bytes: the limit `drop.carrier_bytes`.
    pub bytes: u64,
    /// In files: the limit `drop.carrier_files`.
    pub files: u64,
}

/// How much there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// In bytes.
    pub bytes: u64,
    /// In files.
    pub files: u64,
}

/// One carrier's count. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Counter(Arc<Mutex<Count>>);

#[derive(Debug, Default)]
struct Count {
    /// Nothing before it was first looked at.
    there: Option<Usage>,
    /// What files that are being written take.
    growing: Usage,
}

impl Counter {
    fn lock(&self) -> MutexGuard<'_, Count> {
        // Numbers alone are in there: they are whole whoever panicked.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What there is, when it was looked at before.
    pub(super) fn known(&self) -> Option<Usage> {
        self.lock().there
    }

    /// Says what was found by looking.
    pub(super) fn found(&self, usage: Usage) {
        self.lock().there = Some(usage);
    }

    /// A file is gone.
    pub(super) fn removed(&self, bytes: u64) {
        if let Some(there) = &mut self.lock().there {
            there.bytes = there.bytes.saturating_sub(bytes);
            there.files = there.files.saturating_sub(1);
        }
    }

    /// Takes room for one file that will be written.
    pub(super) fn begin(&self, share: Share) -> Result<Growing, DropError> {
        let mut count = self.lock();
        let files = count.there.unwrap_or_default().files + count.growing.files;
        if files >= share.files {
            return Err(DropError::Files { files, limit: share.files });
        }
        count.growing.files += 1;
        Ok(Growing { counter: self.clone(), share, bytes: 0 })
    }
}

/// The room of one file that is being written; given back unless it becomes one.
#[derive(Debug)]
pub(super) struct Growing {
    counter: Counter,
    share: Share,
    bytes: u64,
}

impl Growing {
    /// Takes room for so many bytes more.
    pub(super) fn grow(&mut self, more: u64) -> Result<(), DropError> {
        let mut count = self.counter.lock();
        let taken = count.there.unwrap_or_default().bytes + count.growing.bytes;
        if taken + more > self.share.bytes {
            return Err(DropError::Bytes { bytes: taken, limit: self.share.bytes });
        }
        count.growing.bytes += more;
        self.bytes += more;
        Ok(())
    }

    /// How much it has so far.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// It has its name now.
    pub(super) fn done(self) {
        let mut count = self.counter.lock();
        let there = count.there.get_or_insert_default();
        there.bytes += self.bytes;
        there.files += 1;
    }
}

impl Drop for Growing {
    fn drop(&mut self) {
        let mut count = self.counter.lock();
        count.growing.bytes -= self.bytes;
        count.growing.files -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_counts_from_its_first_byte_and_what_is_given_up_no_more() {
        let counter = Counter::default();
        let share = Share { bytes: 100, files: 2 };
        counter.found(Usage { bytes: 50, files: 0 });
        let mut one = counter.begin(share).unwrap();
        one.grow(30).unwrap();
        let mut two = counter.begin(share).unwrap();
        assert_eq!(two.grow(21), Err(DropError::Bytes { bytes: 80, limit: 100 }));
        two.grow(20).unwrap();
        assert_eq!(counter.begin(share).map(drop), Err(DropError::Files { files: 2, limit: 2 }));
        drop(two);
        one.done();
        assert_eq!(counter.known(), Some(Usage { bytes: 80, files: 1 }));
        counter.removed(30);
        assert_eq!(counter.known(), Some(Usage { bytes: 50, files: 0 }));
        counter.begin(share).unwrap().grow(50).unwrap();
    }
}
