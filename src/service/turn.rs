//! Whose turn it is, where several processes share a store: one forwards, the others wait for what it brings.

use std::{
    hash::{BuildHasher, RandomState},
    sync::Arc,
    time::{Duration, SystemTime},
};

use http::{HeaderMap, Response};
use tokio::time::Instant;

use super::{
    Asked, Core, Lookup,
    job::Job,
    patience::{BACKGROUND_LIMIT, Patience, out_of_patience},
    store::within,
};
use crate::{
    body::CacheBody,
    clock::monotonic,
    collapse::in_background,
    key::CacheKey,
    rfc9111::age::since,
    store::{Lease, LeaseGuard},
    stored::{Kind, Marker, Stored},
};

/// What a leader finds out about the other processes.
pub(super) enum Turn<B> {
    /// It forwards, and what it brings is waited for elsewhere.
    Forward(Lookup, Option<TurnLease>),
    /// Another process was faster.
    Landed { found: Lookup, response: Response<CacheBody<B>>, is_fresh: bool },
    /// Another process has found out that there is nothing to wait for.
    Marked(Lookup),
    /// Another process forwards yet.
    Held(Lookup),
}

impl Core {
    /// What is stored by now. Who takes no leases asks the store past what it had at hand (`is_near`): another process may
    /// have brought something newer, and nobody waits for a turn to see that.
    pub(super) async fn look_before_forward(
        &self,
        asked: &Asked,
        request: &HeaderMap,
        lookup: Lookup,
        is_near: bool,
        patience: &mut Patience,
    ) -> Lookup {
        let lookup = self.look_now(&asked.key, request).unwrap_or(lookup);
        let is_alone = !is_near || asked.policy.collapse.leases || !self.store.is_shared();
        if is_alone || self.reuse(&lookup, &asked.ask, request).is_ok_and(|hit| hit.is_fresh) {
            return lookup;
        }
        // Apart, so that a miss in memory does not carry it.
        match Box::pin(self.look_far(&asked.key, request, patience)).await {
            Lookup::Failed | Lookup::Marked => lookup,
            found => found,
        }
    }

    /// Waits until it is our turn to forward, or until there is no need to, but not past `deadline`.
    pub(super) async fn turn<B>(
        &self,
        asked: &Asked,
        request: &HeaderMap,
        mut lookup: Lookup,
        deadline: Instant,
        patience: &mut Patience,
    ) -> Turn<B> {
        let mut pause = FIRST_PAUSE;
        loop {
            lookup = match self.look_for_turn(asked, request, lookup, patience).await {
                Turn::Held(lookup) if monotonic() < deadline => lookup,
                turn => return turn,
            };
            tokio::time::sleep(jittered(pause)).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
            // That time was another origin's, not the store's.
            *patience = Patience::new(self.store_deadline);
        }
    }

    /// The same, without waiting for another process.
    pub(super) async fn look_for_turn<B>(
        &self,
        asked: &Asked,
        request: &HeaderMap,
        lookup: Lookup,
        patience: &mut Patience,
    ) -> Turn<B> {
        // A store that does not answer elects nobody: each process forwards once.
        if matches!(lookup, Lookup::Failed) {
            return Turn::Forward(lookup, None);
        }
        let collapse = &asked.policy.collapse;
        let board = asked.board(lookup.variant_key().unwrap_or(&asked.key));
        let asked_for = self.store.lease(&board, collapse.lock_age);
        let lease = match patience.wait(asked_for).await.unwrap_or_else(|| Err(out_of_patience())) {
            Ok(lease) => lease,
            Err(error) => {
                self.counters.store_failed(&error);
                return Turn::Forward(lookup, None);
            }
        };
        let lease = match lease {
            // There is nobody else to agree with.
            Lease::Granted(guard) if guard.is_free() => return Turn::Forward(lookup, None),
            Lease::Granted(guard) => {
                Some(TurnLease { guard, board: board.clone(), marker_lifetime: collapse.marker_lifetime })
            }
            Lease::Held => None,
        };
        // Whoever had it may have stored something since we looked.
        let found = self.look_far(&asked.key, request, patience).await;
        match self.reuse(&found, &asked.ask, request) {
            // What is served stale while it is refreshed need not be waited for.
            Ok(hit) if hit.is_fresh || hit.refresh && lease.is_none() => {
                let (response, is_fresh) = (hit.answer(&asked.ask), hit.is_fresh);
                return Turn::Landed { found, response, is_fresh };
            }
            _ if matches!(found, Lookup::Marked) => return Turn::Marked(found),
            _ if matches!(found, Lookup::Failed) => return Turn::Forward(lookup, lease),
            _ => {}
        }
        if asked.ask.credentials.any() && patience.wait(self.is_marked(&board)).await == Some(true) {
            return Turn::Marked(found);
        }
        if lease.is_none() { Turn::Held(found) } else { Turn::Forward(found, lease) }
    }

    async fn is_marked(&self, board: &CacheKey) -> bool {
        let marker = self.find(board, true).await.ok().flatten().and_then(|found| found.marker());
        marker.is_some_and(|marker| matches!(self.marked(marker), Lookup::Marked))
    }
}

impl Asked {
    /// Where the processes agree on who forwards: those with credentials among themselves, since what is not reusable
    /// for one of them says nothing about strangers.
    fn board(&self, stored_key: &CacheKey) -> CacheKey {
        if self.ask.credentials.any() { stored_key.with_credentials() } else { stored_key.clone() }
    }
}

/// The lease of a forward. Dropped, it is handed back.
pub(super) struct TurnLease {
    guard: LeaseGuard,
    /// Where the others see what became of it.
    board: CacheKey,
    marker_lifetime: Duration,
}

impl TurnLease {
    /// Tells the other processes that there is nothing to wait for, then hands the lease back.
    pub(super) fn mark(self, core: &Arc<Core>, began: SystemTime) {
        let Self { guard, board, marker_lifetime } = self;
        // From now on, however long the forward took.
        let lifetime = since(core.clock.now(), began).saturating_add(marker_lifetime);
        let marker = Stored::new(Kind::Marker(Marker { began, lifetime }));
        let core = Arc::clone(core);
        in_background(
            async move {
                if let Err(error) = within(core.store_deadline, core.store.put(&board, marker)).await {
                    core.counters.store_failed(&error);
                }
                drop(guard);
            },
            BACKGROUND_LIMIT,
        );
    }
}

impl Job {
    /// What came is not there for others, and no process needs to wait for the next one.
    pub(super) fn release_others(&mut self) {
        if let Some(lease) = self.lease.take() {
            lease.mark(&self.core, self.began);
        }
    }
}

/// Half to all of it, so that processes do not ask in step.
fn jittered(pause: Duration) -> Duration {
    let half = pause / 2;
    let share = u32::try_from(RandomState::new().hash_one(0) & 0xff).unwrap_or(0);
    half + half * share / 0xff
}

const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(40);
