//! Flights: one forward that many requests wait for.
//!
//! A flight is led, announced (what it brings is known, its body may still come), or landed. A leader that
//! fails leaves it vacant for exactly one follower, until the attempts are spent. Whoever holds a role can
//! be dropped at any moment: a dropped leader counts as a failure, a dropped follower passes its turn on.

mod announcer;
mod follower;

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

use tokio::{sync::Notify, time::Instant};

pub(crate) use self::{announcer::Announcer, follower::Follower};
use super::{
    Collapse, Collapser,
    collapser::Shard,
    quota::{Counted, Seat},
};

pub(super) struct Flight<T> {
    /// The board that it is on until it lands.
    collapser: Arc<Collapser<T>>,
    key: Arc<str>,
    /// That of the key, by which it is on the board.
    hash: u64,
    settings: Collapse,
    state: Mutex<State<T>>,
    /// Only who holds the state adds to them.
    followers: AtomicUsize,
    changed: Notify,
}

struct State<T> {
    phase: Phase<T>,
    attempt: u32,
    /// When its forward began.
    began: Instant,
    /// From here on it takes no more followers.
    closes: Option<Instant>,
    /// While it is vacant: that of its leader.
    seat: Option<Seat>,
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

/// What a request becomes of a flight that is there.
pub(super) enum Joined<T: Clone> {
    Leader(Leader<T>),
    Follower(Follower<T>),
    Full { by_quota: bool },
    TooOld,
}

impl<T> Flight<T> {
    pub(super) fn key(&self) -> Arc<str> {
        Arc::clone(&self.key)
    }

    pub(super) fn hash(&self) -> u64 {
        self.hash
    }

    /// Whether it takes no more followers.
    pub(super) fn is_closed(&self, now: Instant) -> bool {
        let state = self.state();
        matches!(state.phase, Phase::Vacant) || state.closes.is_some_and(|closes| closes <= now)
    }

    fn followers(&self) -> usize {
        self.followers.load(Ordering::Relaxed)
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Clone> Flight<T> {
    pub(super) fn begin(
        collapser: &Arc<Collapser<T>>,
        (key, hash): (Arc<str>, u64),
        settings: &Collapse,
        seat: Seat,
        now: Instant,
    ) -> (Arc<Self>, Leader<T>) {
        let closes = now.checked_add(settings.lock_age);
        let state = State { phase: Phase::Led, attempt: 1, began: now, closes, seat: None };
        let (state, changed) = (Mutex::new(state), Notify::new());
        let (collapser, settings, followers) = (Arc::clone(collapser), settings.clone(), AtomicUsize::new(0));
        let flight = Arc::new(Self { collapser, key, hash, settings, state, followers, changed });
        let leader = Leader::new(&flight, Some(seat));
        (flight, leader)
    }

    pub(super) fn join(
        self: &Arc<Self>,
        owner: &str,
        settings: &Collapse,
        fenced: Option<Instant>,
        now: Instant,
    ) -> Joined<T> {
        let mut state = self.state();
        match state.phase {
            // The followers it had have all left, or have not looked yet: the arrival is the successor.
            Phase::Vacant => Joined::Leader(self.succeed(&mut state, now)),
            // What it brings was invalidated before this request came.
            _ if fenced.is_some_and(|fenced| state.began <= fenced) => Joined::TooOld,
            _ if state.closes.is_some_and(|closes| closes <= now) => Joined::TooOld,
            _ if self.followers() >= settings.max_followers => Joined::Full { by_quota: false },
            _ => match self.collapser.seat(owner, Counted::Waiting) {
                None => Joined::Full { by_quota: true },
                Some(seat) => {
                    self.followers.fetch_add(1, Ordering::Relaxed);
                    let came_after = now.saturating_duration_since(state.began);
                    Joined::Follower(Follower { flight: Arc::clone(self), came_after, _seat: seat })
                }
            },
        }
    }

    /// The part of the board that it is on, locked. The board is locked before the state.
    fn shard(&self) -> MutexGuard<'_, Shard<T>> {
        self.collapser.shard(self.hash)
    }

    fn succeed(self: &Arc<Self>, state: &mut State<T>, now: Instant) -> Leader<T> {
        state.phase = Phase::Led;
        state.attempt += 1;
        state.began = now;
        state.closes = now.checked_add(self.settings.lock_age);
        Leader::new(self, state.seat.take())
    }
}

/// The duty to publish how a forward ended. Dropped without a word, it has failed.
#[must_use = "a leader that is dropped has failed"]
pub(crate) struct Leader<T: Clone> {
    flight: Arc<Flight<T>>,
    is_over: bool,
    /// Another took too long, and this one takes its place.
    pub(super) is_second: bool,
    /// Counts it as a flight of its owner's, until it is over.
    seat: Option<Seat>,
}

impl<T: Clone> Leader<T> {
    fn new(flight: &Arc<Flight<T>>, seat: Option<Seat>) -> Self {
        Self { flight: Arc::clone(flight), is_over: false, is_second: false, seat }
    }

    /// What the flight is for.
    pub(crate) fn key(&self) -> Arc<str> {
        self.flight.key()
    }

    pub(crate) fn is_second(&self) -> bool {
        self.is_second
    }

    /// Whether a failure now is the last one: it will be shared instead of tried again.
    pub(crate) fn is_last_attempt(&self) -> bool {
        self.flight.state().attempt >= self.flight.settings.attempts
    }

    /// Tells the followers what this flight brings. Until [`land`](Self::land) it stays open for more, but
    /// not past `until`: those that waited may have what is no longer fresh by then, those that come may not.
    pub(crate) fn announce(&self, brings: T, until: Instant) {
        self.announcer().announce(brings, until);
    }

    /// To announce with when the leader itself is part of what is announced.
    pub(crate) fn announcer(&self) -> Announcer<T> {
        Announcer { flight: Arc::clone(&self.flight) }
    }

    /// What this flight brings is all here: announced, and landed.
    pub(crate) fn bring(self, brings: T, now: Instant) {
        self.announce(brings, now);
        self.land();
    }

    /// What was announced is stored: later requests find it there.
    pub(crate) fn land(mut self) {
        self.is_over = true;
        self.flight.shard().remove(&self.flight);
    }

    /// What came may not be reused. The marker is written before anyone is released, so that nobody who
    /// comes now waits in vain; then all forward at once.
    pub(crate) fn not_reusable(mut self, now: Instant) {
        self.is_over = true;
        let mut shard = self.flight.shard();
        shard.mark(self.flight.hash, self.flight.settings.marker_lifetime, now);
        shard.remove(&self.flight);
        self.flight.state().phase = Phase::NotReusable;
        drop(shard);
        self.flight.changed.notify_waiters();
    }

    /// The last attempt failed: all that wait share `failure`, if it may be shared.
    pub(crate) fn spend(mut self, failure: Option<T>) {
        self.is_over = true;
        self.flight.shard().remove(&self.flight);
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
        if self.is_over {
            return;
        }
        let mut shard = self.flight.shard();
        let mut state = self.flight.state();
        if self.flight.followers() > 0 && state.attempt < self.flight.settings.attempts {
            state.phase = Phase::Vacant;
            state.seat = self.seat.take();
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

#[cfg(test)]
mod tests;
