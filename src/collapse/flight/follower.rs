//! Those that wait for a flight.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::time::Instant;

use super::{Flight, Landing, Phase, Seat};
use crate::clock::monotonic;

/// A place in the queue for a flight.
pub(crate) struct Follower<T: Clone> {
    pub(super) flight: Arc<Flight<T>>,
    /// How long after the forward had begun that was under way.
    pub(super) came_after: Duration,
    /// Counts it as one that waits, for its owner.
    pub(super) _seat: Seat,
}

impl<T: Clone> Follower<T> {
    /// Waits until there is something to know, or until `deadline`. May be asked again, when what was
    /// announced failed before any of it was used.
    pub(crate) async fn landing(&self, deadline: Instant) -> Landing<T> {
        let changed = self.flight.changed.notified();
        tokio::pin!(changed);
        loop {
            // In the queue before the look, so that no change falls between the two.
            changed.as_mut().enable();
            if let Some(landing) = self.look() {
                return landing;
            }
            if tokio::time::timeout_at(deadline, changed.as_mut()).await.is_err() {
                return Landing::TimedOut;
            }
            // Mostly there is something to see by now, and no need to queue again, which all others do at this moment.
            if let Some(landing) = self.look() {
                return landing;
            }
            changed.set(self.flight.changed.notified());
        }
    }

    /// How long after the forward had begun it joined. Should another forward have taken its place since, less.
    pub(crate) fn came_after(&self) -> Duration {
        self.came_after
    }

    /// When the forward of the flight began: who must not have what it brings passes this on when it joins again.
    pub(crate) fn flight_began(&self) -> Instant {
        self.flight.state().began
    }

    /// Remembers that waiting for this key was in vain.
    pub(crate) fn mark(&self) {
        let flight = &self.flight;
        flight.shard().mark(flight.hash, flight.settings.marker_lifetime, monotonic());
    }

    fn look(&self) -> Option<Landing<T>> {
        let mut state = self.flight.state();
        match &state.phase {
            Phase::Led => None,
            Phase::Vacant => {
                let now = monotonic();
                Some(Landing::Lead(self.flight.succeed(&mut state, now)))
            }
            Phase::Announced(brings) => Some(Landing::Reusable(brings.clone())),
            Phase::NotReusable => Some(Landing::NotReusable),
            Phase::Spent(failure) => Some(Landing::Spent(failure.clone())),
        }
    }
}

impl<T: Clone> Drop for Follower<T> {
    fn drop(&mut self) {
        // Without a lock: all leave at the same moment. Who locks after the last has left sees that it has.
        if self.flight.followers.fetch_sub(1, Ordering::Relaxed) > 1 {
            return;
        }
        let mut shard = self.flight.shard();
        let mut state = self.flight.state();
        if matches!(state.phase, Phase::Vacant) && self.flight.followers() == 0 {
            // Nobody is left to take over.
            shard.remove(&self.flight);
            state.seat = None;
        }
    }
}
