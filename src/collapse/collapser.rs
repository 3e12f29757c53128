//! The board on which flights and markers are kept: who leads, who follows, who need not wait.

use std::{
    collections::{BTreeMap, hash_map::RandomState},
    fmt,
    hash::BuildHasher,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::{
    Collapse,
    flight::{Flight, Follower, Joined, Leader},
    marker::Markers,
    quota::{Counted, Quotas, Seat, TenantLimits},
};
use crate::clock::later;

/// All flights and markers of one cache. `T` is what a flight brings.
pub(crate) struct Collapser<T> {
    shards: Box<[Mutex<Shard<T>>]>,
    quotas: Arc<Quotas>,
    hasher: RandomState,
}

pub(super) struct Shard<T> {
    /// By the secretly seeded hash of their keys. Where two keys should share it, one flight is there at a time, and
    /// requests for the other key do without.
    flights: BTreeMap<u64, Arc<Flight<T>>>,
    markers: Markers,
}

/// What a request may do about a key.
pub(crate) enum Role<T: Clone> {
    /// Forward, and publish what comes.
    Leader(Leader<T>),
    /// Wait for a flight.
    Follower(Follower<T>),
    /// The key was not reusable lately: forward without waiting for anyone.
    Marked,
    /// The flight has all the followers it may have, or the owner all that it may have.
    Full { by_quota: bool },
}

impl<T: Clone> Collapser<T> {
    /// `limits`: for what one owner may have at a time.
    pub(crate) fn new(limits: TenantLimits) -> Self {
        let shard = || Mutex::new(Shard { flights: BTreeMap::new(), markers: Markers::new(MARKERS / SHARDS) });
        Self {
            shards: (0..SHARDS).map(|_| shard()).collect(),
            quotas: Arc::new(Quotas::new(limits)),
            hasher: RandomState::new(),
        }
    }

    /// Joins the flight for `key`, or begins one of this owner's. `fenced`: flights that began no later take no more followers.
    pub(crate) fn join(
        self: &Arc<Self>,
        key: impl AsRef<str> + Into<Arc<str>>,
        owner: &str,
        settings: &Collapse,
        fenced: Option<Instant>,
        now: Instant,
    ) -> Role<T> {
        let (hash, mut is_second) = (self.hash(key.as_ref()), false);
        let mut shard = self.shard(hash);
        if shard.markers.is_marked(hash, now) {
            return Role::Marked;
        }
        if let Some(flight) = shard.flights.get(&hash) {
            if *flight.key() != *key.as_ref() {
                return Role::Marked;
            }
            match flight.join(owner, settings, fenced, now) {
                Joined::Leader(leader) => return Role::Leader(leader),
                Joined::Follower(follower) => return Role::Follower(follower),
                Joined::Full { by_quota } => return Role::Full { by_quota },
                // A second flight takes its place.
                Joined::TooOld => is_second = true,
            }
        }
        let Some(seat) = self.seat(owner, Counted::Flight) else { return Role::Full { by_quota: true } };
        let (flight, mut leader) = Flight::begin(self, (key.into(), hash), settings, seat, now);
        leader.is_second = is_second;
        shard.flights.insert(hash, flight);
        Role::Leader(leader)
    }

    /// Begins a flight for `key` if there is none yet, and the owner may have one more: for what is refreshed while nobody waits.
    pub(crate) fn lead(
        self: &Arc<Self>,
        key: &str,
        owner: &str,
        settings: &Collapse,
        now: Instant,
    ) -> Option<Leader<T>> {
        let hash = self.hash(key);
        let mut shard = self.shard(hash);
        if shard.flights.get(&hash).is_some_and(|flight| *flight.key() != *key || !flight.is_closed(now)) {
            return None;
        }
        let seat = self.seat(owner, Counted::Flight)?;
        let (flight, leader) = Flight::begin(self, (key.into(), hash), settings, seat, now);
        shard.flights.insert(hash, flight);
        Some(leader)
    }

    /// Whether `key` was marked lately.
    pub(crate) fn is_marked(&self, key: &str, now: Instant) -> bool {
        let hash = self.hash(key);
        self.shard(hash).markers.is_marked(hash, now)
    }

    /// Forgets that `key` was not reusable: a response for it was stored.
    pub(crate) fn unmark(&self, key: &str) {
        let hash = self.hash(key);
        self.shard(hash).markers.unmark(hash);
    }

    /// Remembers that the response for `key` was not reusable.
    pub(crate) fn mark(&self, key: &str, lifetime: Duration, now: Instant) {
        let hash = self.hash(key);
        self.shard(hash).mark(hash, lifetime, now);
    }

    pub(super) fn seat(&self, owner: &str, counted: Counted) -> Option<Seat> {
        self.quotas.seat(owner, counted)
    }

    fn hash(&self, key: &str) -> u64 {
        self.hasher.hash_one(key)
    }

    /// That of the keys with this hash, locked.
    pub(super) fn shard(&self, hash: u64) -> MutexGuard<'_, Shard<T>> {
        // SHARDS is a power of two.
        let index = usize::try_from(hash & (SHARDS as u64 - 1)).unwrap_or(0);
        // A poisoned shard is whole: nothing that can panic runs under its lock.
        self.shards[index].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the owner has, and how many owners there are: flights, waiting, owners.
    #[cfg(test)]
    pub(super) fn counts(&self, owner: &str) -> (usize, usize, usize) {
        self.quotas.counts(owner)
    }

    /// How many flights there are, how many wait for them, and how many keys are marked, or were.
    pub(crate) fn sizes(&self) -> (usize, usize, usize) {
        let (mut flights, mut markers) = (0, 0);
        for shard in &self.shards {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            flights += shard.flights.len();
            markers += shard.markers.len();
        }
        (flights, self.quotas.waiting(), markers)
    }

    #[cfg(test)]
    pub(crate) fn flights(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().unwrap().flights.len()).sum()
    }
}

impl<T> Shard<T> {
    /// Takes `flight` off the board, unless a second one has taken its place.
    pub(super) fn remove(&mut self, flight: &Arc<Flight<T>>) {
        let hash = flight.hash();
        if self.flights.get(&hash).is_some_and(|current| Arc::ptr_eq(current, flight)) {
            self.flights.remove(&hash);
        }
    }

    /// Remembers that the response for the key with this hash was not reusable.
    pub(super) fn mark(&mut self, hash: u64, lifetime: Duration, now: Instant) {
        if !lifetime.is_zero() {
            self.markers.mark(hash, later(now, lifetime), now);
        }
    }
}

impl<T> fmt::Debug for Collapser<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collapser").finish_non_exhaustive()
    }
}

const SHARDS: usize = 16;
/// All markers together take about a megabyte at most.
const MARKERS: usize = 16_384;
