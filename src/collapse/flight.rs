//! Flights: one forward that many requests wait for.
//!
//! A flight is led, announced (what it brings is known, its body may still come), or landed. A leader that
//! fails leaves it vacant for exactly one follower, until the attempts are spent. Whoever holds a role can
//! be dropped at any moment: a dropped leader counts as a failure, a dropped follower passes its turn on.

use std::{
    collections::{HashMap, hash_map::RandomState},
    fmt,
    hash::BuildHasher,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{sync::Notify, time::Instant};

use super::{Collapse, marker::Markers};

/// All flights and markers of one cache. `T` is what a flight brings.
pub(crate) struct Collapser<T> {
    shards: Box<[Mutex<Shard<T>>]>,
    hasher: RandomState,
}

struct Shard<T> {
    flights: HashMap<Arc<str>, Arc<Flight<T>>>,
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
    /// The flight has all the followers it may have.
    Full,
}

struct Flight<T> {
    key: Arc<str>,
    settings: Collapse,
    state: Mutex<State<T>>,
    changed: Notify,
}

struct State<T> {
    phase: Phase<T>,
    attempt: u32,
    began: Instant,
    followers: usize,
}

enum Phase<T> {
    /// Somebody forwards.
    Led,
    /// The leader failed; the next follower that looks leads.
    Vacant,
    /// What it brings is known.
    Announced(T),
    /// What it brought may not be reused by others.
    NotReusable,
    /// The last attempt failed, with what may be shared of it.
    Spent(Option<T>),
}

/// What became of a flight, as a follower sees it.
pub(crate) enum Landing<T: Clone> {
    /// Look whether this would have been a hit for you.
    Reusable(T),
    /// Forward on your own.
    NotReusable,
    /// The leader failed and you are its successor.
    Lead(Leader<T>),
    /// All attempts failed; share the last failure, or say so.
    Spent(Option<T>),
    /// The deadline passed.
    TimedOut,
}

impl<T: Clone> Collapser<T> {
    pub(crate) fn new() -> Self {
        let shard = || Mutex::new(Shard { flights: HashMap::new(), markers: Markers::new(MARKERS / SHARDS) });
        Self { shards: (0..SHARDS).map(|_| shard()).collect(), hasher: RandomState::new() }
    }

    /// Joins the flight for `key`, or begins one.
    pub(crate) fn join(self: &Arc<Self>, key: &str, settings: &Collapse, now: Instant) -> Role<T> {
        let mut shard = self.shard(key);
        if shard.markers.is_marked(key, now) {
            return Role::Marked;
        }
        if let Some(flight) = shard.flights.get(key) {
            let mut state = flight.state();
            match state.phase {
                // The followers it had have all left, or have not looked yet: the arrival is the successor.
                Phase::Vacant => return Role::Leader(self.claim(flight, &mut state, now)),
                // Too old to take followers; a second flight takes its place below.
                _ if now.saturating_duration_since(state.began) >= settings.lock_age => {}
                _ if state.followers >= settings.max_followers => return Role::Full,
                _ => {
                    state.followers += 1;
                    return Role::Follower(Follower { collapser: Arc::clone(self), flight: Arc::clone(flight) });
                }
            }
        }
        let flight = Arc::new(Flight::new(key, settings, now));
        shard.flights.insert(Arc::clone(&flight.key), Arc::clone(&flight));
        Role::Leader(Leader { collapser: Arc::clone(self), flight, over: false })
    }

    /// Forgets that `key` was not reusable: a response for it was stored.
    pub(crate) fn unmark(&self, key: &str) {
        self.shard(key).markers.unmark(key);
    }

    /// Remembers that the response for `key` was not reusable.
    pub(crate) fn mark(&self, key: &str, settings: &Collapse, now: Instant) {
        if let Some(until) = marked_until(settings, now) {
            self.shard(key).markers.mark(key.into(), until, now);
        }
    }

    fn claim(self: &Arc<Self>, flight: &Arc<Flight<T>>, state: &mut State<T>, now: Instant) -> Leader<T> {
        state.phase = Phase::Led;
        state.attempt += 1;
        state.began = now;
        Leader { collapser: Arc::clone(self), flight: Arc::clone(flight), over: false }
    }

    fn shard(&self, key: &str) -> MutexGuard<'_, Shard<T>> {
        let hash = self.hasher.hash_one(key);
        // SHARDS is a power of two.
        let index = usize::try_from(hash & (SHARDS as u64 - 1)).unwrap_or(0);
        // A poisoned shard is whole: nothing that can panic runs under its lock.
        self.shards[index].lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(crate) fn flights(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().unwrap().flights.len()).sum()
    }
}

impl<T> Shard<T> {
    /// Takes `flight` off the board, unless a second one has taken its place.
    fn remove(&mut self, flight: &Arc<Flight<T>>) {
        if self.flights.get(&flight.key).is_some_and(|current| Arc::ptr_eq(current, flight)) {
            self.flights.remove(&flight.key);
        }
    }
}

impl<T> Flight<T> {
    fn new(key: &str, settings: &Collapse, began: Instant) -> Self {
        let state = State { phase: Phase::Led, attempt: 1, began, followers: 0 };
        Self { key: key.into(), settings: settings.clone(), state: Mutex::new(state), changed: Notify::new() }
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The duty to publish how a forward ended. Dropped without a word, it has failed.
#[must_use = "a leader that is dropped has failed"]
pub(crate) struct Leader<T: Clone> {
    collapser: Arc<Collapser<T>>,
    flight: Arc<Flight<T>>,
    over: bool,
}

impl<T: Clone> Leader<T> {
    /// Whether a failure now is the last one: it will be shared instead of tried again.
    pub(crate) fn is_last_attempt(&self) -> bool {
        self.flight.state().attempt >= self.flight.settings.attempts
    }

    /// Tells the followers what this flight brings. It stays open for more until [`land`](Self::land).
    pub(crate) fn announce(&self, brings: T) {
        self.announcer().announce(brings);
    }

    /// To announce with when the leader itself is part of what is announced.
    pub(crate) fn announcer(&self) -> Announcer<T> {
        Announcer { flight: Arc::clone(&self.flight) }
    }

    /// What was announced is stored: later requests find it there.
    pub(crate) fn land(mut self) {
        self.over = true;
        self.collapser.shard(&self.flight.key).remove(&self.flight);
    }

    /// What came may not be reused. The marker is written before anyone is released, so that nobody who
    /// comes now waits in vain; then all forward at once.
    pub(crate) fn not_reusable(mut self, now: Instant) {
        self.over = true;
        let mut shard = self.collapser.shard(&self.flight.key);
        if let Some(until) = marked_until(&self.flight.settings, now) {
            shard.markers.mark(Arc::clone(&self.flight.key), until, now);
        }
        shard.remove(&self.flight);
        self.flight.state().phase = Phase::NotReusable;
        drop(shard);
        self.flight.changed.notify_waiters();
    }

    /// The last attempt failed: all that wait share `failure`, if it may be shared.
    pub(crate) fn spend(mut self, failure: Option<T>) {
        self.over = true;
        self.collapser.shard(&self.flight.key).remove(&self.flight);
        self.flight.state().phase = Phase::Spent(failure);
        self.flight.changed.notify_waiters();
    }

    /// This attempt failed: exactly one follower takes over, unless it was the last attempt.
    pub(crate) fn fail(self) {
        drop(self);
    }
}

impl<T: Clone> Drop for Leader<T> {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        let mut shard = self.collapser.shard(&self.flight.key);
        let mut state = self.flight.state();
        if state.followers > 0 && state.attempt < self.flight.settings.attempts {
            state.phase = Phase::Vacant;
            drop(state);
            self.flight.changed.notify_one();
        } else {
            state.phase = Phase::Spent(None);
            shard.remove(&self.flight);
            drop(state);
            self.flight.changed.notify_waiters();
        }
    }
}

/// Announces what a flight brings, once.
pub(crate) struct Announcer<T> {
    flight: Arc<Flight<T>>,
}

impl<T> Announcer<T> {
    pub(crate) fn announce(self, brings: T) {
        self.flight.state().phase = Phase::Announced(brings);
        self.flight.changed.notify_waiters();
    }
}

/// A place in the queue for a flight.
pub(crate) struct Follower<T: Clone> {
    collapser: Arc<Collapser<T>>,
    flight: Arc<Flight<T>>,
}

impl<T: Clone> Follower<T> {
    /// Waits until there is something to know, or until `deadline`. May be asked again, when what was
    /// announced failed before any of it was used.
    pub(crate) async fn landing(&self, deadline: Instant) -> Landing<T> {
        loop {
            let changed = self.flight.changed.notified();
            tokio::pin!(changed);
            // In the queue before the look, so that no change falls between the two.
            changed.as_mut().enable();
            if let Some(landing) = self.look() {
                return landing;
            }
            if tokio::time::timeout_at(deadline, changed).await.is_err() {
                return Landing::TimedOut;
            }
        }
    }

    fn look(&self) -> Option<Landing<T>> {
        let mut state = self.flight.state();
        match &state.phase {
            Phase::Led => None,
            Phase::Vacant => {
                let now = crate::clock::monotonic();
                Some(Landing::Lead(self.collapser.claim(&self.flight, &mut state, now)))
            }
            Phase::Announced(brings) => Some(Landing::Reusable(brings.clone())),
            Phase::NotReusable => Some(Landing::NotReusable),
            Phase::Spent(failure) => Some(Landing::Spent(failure.clone())),
        }
    }
}

impl<T: Clone> Drop for Follower<T> {
    fn drop(&mut self) {
        let mut shard = self.collapser.shard(&self.flight.key);
        let mut state = self.flight.state();
        state.followers = state.followers.saturating_sub(1);
        if state.followers == 0 && matches!(state.phase, Phase::Vacant) {
            // Nobody is left to take over.
            shard.remove(&self.flight);
        }
    }
}

fn marked_until(settings: &Collapse, now: Instant) -> Option<Instant> {
    if settings.marker_lifetime.is_zero() { None } else { now.checked_add(settings.marker_lifetime) }
}

impl<T> fmt::Debug for Collapser<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collapser").finish_non_exhaustive()
    }
}

const SHARDS: usize = 16;
/// All markers together take a few megabytes at most.
const MARKERS: usize = 16_384;

#[cfg(test)]
mod tests;
