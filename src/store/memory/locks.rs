//! Locks by key: one of a few for each, so that what is done under different keys seldom waits for each other.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// No order is kept among them: who holds one takes no other.
#[derive(Debug)]
pub(super) struct Locks {
    locks: [Mutex<()>; LOCKS],
}

impl Locks {
    /// `hash`: that of the key.
    pub(super) fn of(&self, hash: u64) -> MutexGuard<'_, ()> {
        // LOCKS is a power of two.
        let index = usize::try_from(hash & (LOCKS as u64 - 1)).unwrap_or(0);
        self.locks[index].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Locks {
    fn default() -> Self {
        Self { locks: [const { Mutex::new(()) }; LOCKS] }
    }
}

const LOCKS: usize = 64;
