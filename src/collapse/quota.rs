//! Quotas: how much of the board one owner may have at a time.
//!
//! Counted by guards, so that whatever becomes of who holds one, it is given back. Who holds nothing is forgotten.

use std::{
    collections::{BTreeMap, hash_map::RandomState},
    fmt,
    hash::BuildHasher,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
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
type Shard = BTreeMap<Box<str>, Arc<Owner>>;

/// What one owner has. Only who holds the shard takes more.
struct Owner {
    quotas: Arc<Quotas>,
    name: Box<str>,
    flights: AtomicUsize,
    waiting: AtomicUsize,
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
    owner: Arc<Owner>,
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
        if limit == 0 {
            return None;
        }
        let mut shard = self.shard(owner);
        let owner = match shard.get(owner) {
            Some(there) => Arc::clone(there),
            None => {
                let new = Arc::new(Owner::new(self, owner));
                shard.insert(owner.into(), Arc::clone(&new));
                new
            }
        };
        let count = owner.count(counted);
        if count.load(Ordering::Relaxed) >= limit {
            return None;
        }
        count.fetch_add(1, Ordering::Relaxed);
        Some(Seat { owner, counted })
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
        shards.map(|shard| shard.values().map(|owner| owner.waiting.load(Ordering::Relaxed)).sum::<usize>()).sum()
    }

    /// What one owner has, and how many owners there are: flights, waiting, owners.
    #[cfg(test)]
    pub(super) fn counts(&self, owner: &str) -> (usize, usize, usize) {
        let there = self.shard(owner).get(owner).map(Arc::clone);
        let count = |counted| there.as_ref().map_or(0, |owner| owner.count(counted).load(Ordering::Relaxed));
        let owners = self.shards.iter().map(|shard| shard.lock().unwrap().len()).sum();
        (count(Counted::Flight), count(Counted::Waiting), owners)
    }
}

impl Owner {
    fn new(quotas: &Arc<Quotas>, name: &str) -> Self {
        Self {
            quotas: Arc::clone(quotas),
            name: name.into(),
            flights: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
        }
    }

    fn count(&self, counted: Counted) -> &AtomicUsize {
        match counted {
            Counted::Flight => &self.flights,
            Counted::Waiting => &self.waiting,
        }
    }

    fn has_nothing(&self) -> bool {
        self.flights.load(Ordering::Relaxed) == 0 && self.waiting.load(Ordering::Relaxed) == 0
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        // Without the lock: those that waited for one flight all leave at the same moment.
        if self.owner.count(self.counted).fetch_sub(1, Ordering::Relaxed) > 1 {
            return;
        }
        let mut shard = self.owner.quotas.shard(&self.owner.name);
        // Of two that leave with the last of each kind, the second to be here sees that.
        if shard.get(&self.owner.name).is_some_and(|owner| owner.has_nothing()) {
            shard.remove(&self.owner.name);
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

    #[test]
    fn whoever_leaves_while_others_come_the_limits_hold_and_in_the_end_nobody_is_remembered() {
        let quotas = Arc::new(Quotas::new(TenantLimits::new().max_flights(2).max_waiting(3)));
        let (here, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for round in 0..2_000 {
                        let counted = if round % 3 == 0 { Counted::Flight } else { Counted::Waiting };
                        let Some(seat) = quotas.seat("a", counted) else { continue };
                        most.fetch_max(here.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        here.fetch_sub(1, Ordering::SeqCst);
                        drop(seat);
                    }
                });
            }
        });

        assert!(most.into_inner() <= 5);
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
                    let of = |counted| {
                        let is_of = |seat: &&Seat| &*seat.owner.name == owner && seat.counted == counted;
                        seats.iter().filter(is_of).count()
                    };
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
