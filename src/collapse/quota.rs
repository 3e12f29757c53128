//! Quotas: how much of the board one owner may have at a time.
//!
//! Counted by guards, so that whatever becomes of who holds one, it is given back. Who holds nothing is forgotten.

use std::{
    collections::{BTreeMap, hash_map::RandomState},
    fmt,
    hash::BuildHasher,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// How many flights one tenant may have at a time, and how many of its requests may wait for them.
///
/// What comes over it goes the way of [`Overflow`](crate::Overflow) that its policy says; other tenants see nothing of it.
///
/// # Default
///
/// 10,000 flights and 100,000 requests that wait.
///
/// ```
/// use microcache::{CacheLayer, MemoryStore, TenantLimits};
///
/// let cache = CacheLayer::builder(MemoryStore::with_max_bytes(64 << 20))
///     .tenant_limits(TenantLimits::new().max_flights(100).max_waiting(1_000))
///     .build()?;
/// # let _ = cache;
/// # Ok::<(), microcache::ConfigError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct TenantLimits {
    max_flights: usize,
    max_waiting: usize,
}

impl TenantLimits {
    /// The defaults listed above.
    pub const fn new() -> Self {
        Self { max_flights: 10_000, max_waiting: 100_000 }
    }

    /// Sets how many forwards that others may wait for, refreshes among them, a tenant may have at a time. Default:
    /// 10,000. With zero its requests do not wait for each other.
    pub const fn max_flights(mut self, flights: usize) -> Self {
        self.max_flights = flights;
        self
    }

    /// Sets how many requests of a tenant may wait for a flight at a time. Default: 100,000.
    pub const fn max_waiting(mut self, requests: usize) -> Self {
        self.max_waiting = requests;
        self
    }
}

impl Default for TenantLimits {
    fn default() -> Self {
        Self::new()
    }
}

/// What all owners have.
pub(super) struct Quotas {
    limits: TenantLimits,
    shards: Box<[Mutex<Shard>]>,
    hasher: RandomState,
}

/// Those that have something.
type Shard = BTreeMap<Arc<str>, Counts>;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    flights: usize,
    waiting: usize,
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counted {
    Flight,
    Waiting,
}

/// One that is counted, until it is dropped.
#[must_use = "what is dropped is not counted"]
pub(super) struct Seat {
    quotas: Arc<Quotas>,
    owner: Arc<str>,
    counted: Counted,
}

impl Quotas {
    pub(super) fn new(limits: TenantLimits) -> Self {
        Self { limits, shards: (0..SHARDS).map(|_| Mutex::default()).collect(), hasher: RandomState::new() }
    }

    /// One more for the owner, unless it has all that it may have.
    pub(super) fn seat(self: &Arc<Self>, owner: &str, counted: Counted) -> Option<Seat> {
        let limit = match counted {
            Counted::Flight => self.limits.max_flights,
            Counted::Waiting => self.limits.max_waiting,
        };
        let mut shard = self.shard(owner);
        let there = shard.get_key_value(owner).map(|(name, counts)| (Arc::clone(name), *counts));
        let (owner, mut counts) = there.unwrap_or_else(|| (owner.into(), Counts::default()));
        let count = counts.of(counted);
        if *count >= limit {
            return None;
        }
        *count += 1;
        shard.insert(Arc::clone(&owner), counts);
        Some(Seat { quotas: Arc::clone(self), owner, counted })
    }

    fn shard(&self, owner: &str) -> MutexGuard<'_, Shard> {
        // SHARDS is a power of two.
        let index = usize::try_from(self.hasher.hash_one(owner) & (SHARDS as u64 - 1)).unwrap_or(0);
        // A poisoned shard is whole: nothing that can panic runs under its lock.
        self.shards[index].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many wait, of all owners.
    pub(super) fn waiting(&self) -> usize {
        let shards = self.shards.iter().map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner));
        shards.map(|shard| shard.values().map(|counts| counts.waiting).sum::<usize>()).sum()
    }

    /// What one owner has, and how many owners there are: flights, waiting, owners.
    #[cfg(test)]
    pub(super) fn counts(&self, owner: &str) -> (usize, usize, usize) {
        let counts = self.shard(owner).get(owner).copied().unwrap_or_default();
        (counts.flights, counts.waiting, self.shards.iter().map(|shard| shard.lock().unwrap().len()).sum())
    }
}

impl Counts {
    fn of(&mut self, counted: Counted) -> &mut usize {
        match counted {
            Counted::Flight => &mut self.flights,
            Counted::Waiting => &mut self.waiting,
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut shard = self.quotas.shard(&self.owner);
        let Some(counts) = shard.get_mut(&self.owner) else { return };
        let count = counts.of(self.counted);
        *count = count.saturating_sub(1);
        if *counts == Counts::default() {
            shard.remove(&self.owner);
        }
    }
}

impl fmt::Debug for Quotas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Quotas").field("limits", &self.limits).finish_non_exhaustive()
    }
}

const SHARDS: usize = 16;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_owner_has_so_many_and_no_more_and_others_have_theirs() {
        let quotas = Arc::new(Quotas::new(TenantLimits::new().max_flights(2).max_waiting(1)));
        let held = [quotas.seat("a", Counted::Flight), quotas.seat("a", Counted::Flight)];
        assert!(held.iter().all(Option::is_some) && quotas.seat("a", Counted::Flight).is_none());
        let waiting = quotas.seat("a", Counted::Waiting);
        assert!(waiting.is_some() && quotas.seat("a", Counted::Waiting).is_none());

        let other = quotas.seat("b", Counted::Flight);
        assert!(other.is_some());
        assert_eq!(quotas.counts("a"), (2, 1, 2));
        drop((held, waiting, other));
        assert_eq!(quotas.counts("a"), (0, 0, 0));
    }

    #[test]
    fn an_owner_that_may_have_none_is_not_remembered() {
        let quotas = Arc::new(Quotas::new(TenantLimits::new().max_flights(0)));

        assert!(quotas.seat("a", Counted::Flight).is_none());
        assert_eq!(quotas.counts("a"), (0, 0, 0));
    }

    proptest! {
        #[test]
        fn the_counts_are_those_of_the_seats_that_are_there(
            steps in prop::collection::vec(("[ab]", any::<bool>(), any::<bool>(), any::<prop::sample::Index>()), 0..200)
        ) {
            let quotas = Arc::new(Quotas::new(TenantLimits::new().max_flights(5).max_waiting(7)));
            let mut seats = Vec::new();
            for (owner, is_flight, takes, index) in steps {
                let counted = if is_flight { Counted::Flight } else { Counted::Waiting };
                if takes {
                    seats.extend(quotas.seat(&owner, counted));
                } else if !seats.is_empty() {
                    drop(seats.swap_remove(index.index(seats.len())));
                }
                for owner in ["a", "b"] {
                    let of = |counted| seats.iter().filter(|seat| &*seat.owner == owner && seat.counted == counted).count();
                    let (flights, waiting, _) = quotas.counts(owner);
                    prop_assert_eq!((flights, waiting), (of(Counted::Flight), of(Counted::Waiting)));
                    prop_assert!(flights <= 5 && waiting <= 7);
                }
            }
            drop(seats);
            prop_assert_eq!(quotas.counts("a"), (0, 0, 0));
        }
    }
}
