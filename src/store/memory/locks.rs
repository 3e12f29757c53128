//! Locks by key: one of a few for each, so that what is done under different keys seldom waits for each other.

use std::{
    hash::BuildHasher,
    sync::{Mutex, MutexGuard, PoisonError},
};

use foldhash::fast::RandomState;

/// No order is kept among them: who holds one takes no other.
#[derive(Debug)]
pub(super) struct Locks {
    locks: [Mutex<()>; LOCKS],
    hasher: RandomState,
}

impl Locks {
    pub(super) fn of(&self, key: &str) -> MutexGuard<'_, ()> {
        // LOCKS is a power of two.
        let index = usize::try_from(self.hasher.hash_one(key) & (LOCKS as u64 - 1)).unwrap_or(0);
        self.locks[index].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Locks {
    fn default() -> Self {
        Self { locks: [const { Mutex::new(()) }; LOCKS], hasher: RandomState::default() }
    }
}

const LOCKS: usize = 64;
