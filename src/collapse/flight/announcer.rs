//! Tells those that wait what a flight brings.

use std::sync::Arc;

use tokio::time::Instant;

use super::{Flight, Phase};

/// Announces what a flight brings, once.
pub(crate) struct Announcer<T> {
    pub(super) flight: Arc<Flight<T>>,
}

impl<T> Announcer<T> {
    pub(crate) fn announce(self, brings: T, until: Instant) {
        let mut state = self.flight.state();
        state.phase = Phase::Announced(brings);
        state.closes = Some(state.closes.map_or(until, |closes| closes.min(until)));
        drop(state);
        self.flight.changed.notify_waiters();
    }

    /// The failure that was shared is all here now.
    pub(crate) fn replace(self, failure: T) {
        let mut state = self.flight.state();
        if matches!(state.phase, Phase::Spent(_)) {
            state.phase = Phase::Spent(Some(failure));
        }
    }
}
