//! Whose turn it is, where several processes share a store: one forwards, the others wait for what it brings.

use std::{
    hash::{BuildHasher, RandomState},
    pin::pin,
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
        let asked_for = pin!(within(self.store_deadline, self.store.lease(&board, collapse.lock_age)));
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
        if asked.ask.credentials.any()
            && patience.wait(pin!(self.is_marked(&board, patience.has_client()))).await == Some(true)
        {
            return Turn::Marked(found);
        }
        if lease.is_none() { Turn::Held(found) } else { Turn::Forward(found, lease) }
    }

    async fn is_marked(&self, board: &CacheKey, is_bounded: bool) -> bool {
        let marker = self.find(board, true, is_bounded).await.ok().flatten().and_then(|found| found.marker());
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

#[cfg(test)]
mod tests {
    use std::{
        convert::Infallible,
        sync::{
            Arc, Mutex,
            atomic::{AtomicUsize, Ordering::SeqCst},
        },
    };

    use bytes::Bytes;
    use futures_util::FutureExt;
    use http::Request;
    use http_body_util::Full;
    use tower::{Layer, Service, service_fn};

    use crate::{CacheKey, CacheLayer, CacheStatus, MemoryStore, Peek, Put, Store, StoreError, stored::Stored};

    type Meddling = Box<dyn FnOnce() + Send>;

    /// Keeps in memory, and lets something happen right after one of the looks.
    #[derive(Clone)]
    struct Meddled {
        memory: MemoryStore,
        looks: Arc<AtomicUsize>,
        after: Arc<Mutex<Option<(usize, Meddling)>>>,
    }

    impl Store for Meddled {
        fn peek(&self, key: &CacheKey) -> Peek {
            let found = self.memory.peek(key);
            let look = self.looks.fetch_add(1, SeqCst) + 1;
            let due = self.after.lock().unwrap().take_if(|(at, _)| *at == look);
            if let Some((_, meddle)) = due {
                meddle();
            }
            found
        }

        async fn get(&self, key: &CacheKey) -> Result<Option<Stored>, StoreError> {
            self.memory.get(key).await
        }

        async fn put(&self, key: &CacheKey, stored: Stored) -> Result<Put, StoreError> {
            self.memory.put(key, stored).await
        }

        async fn remove(&self, key: &CacheKey) -> Result<(), StoreError> {
            self.memory.remove(key).await
        }
    }

    /// The looks it took, the forwards, and whether the request was a hit.
    fn asked_while(meddled_after: Option<usize>) -> (usize, usize, bool) {
        let memory = MemoryStore::with_max_bytes(1 << 20);
        let store = Meddled { memory, looks: Default::default(), after: Default::default() };
        let forwards = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&forwards);
        let origin = service_fn(move |_: Request<Full<Bytes>>| {
            counted.fetch_add(1, SeqCst);
            let response = http::Response::builder().header("cache-control", "max-age=60");
            std::future::ready(Ok::<_, Infallible>(response.body(Full::from("page")).unwrap()))
        });
        let mut cache = CacheLayer::new(store.clone()).layer(origin);
        let mut other = cache.clone();
        let ask = || Request::get("/a").header("host", "shop.example").body(Full::default()).unwrap();
        let meddle: Meddling = Box::new(move || drop(other.call(ask()).now_or_never().unwrap().unwrap()));
        *store.after.lock().unwrap() = meddled_after.map(|look| (look, meddle));

        let response = cache.call(ask()).now_or_never().unwrap().unwrap();

        let is_hit = CacheStatus::of(&response).unwrap().is_hit();
        (store.looks.load(SeqCst), forwards.load(SeqCst), is_hit)
    }

    #[test]
    fn what_was_stored_after_the_look_of_the_call_or_of_the_flow_is_found_by_the_next() {
        assert_eq!(asked_while(None), (3, 1, false));
        for look in [1, 2] {
            let (looks, forwards, is_hit) = asked_while(Some(look));
            assert_eq!((forwards, is_hit), (1, true), "after look {look}");
            assert!(looks > 3, "after look {look}");
        }
    }
}
