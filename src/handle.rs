//! What the application calls.

mod switches;

use std::{fmt, future::Future, sync::Arc, time::Duration};

use bytes::Bytes;

use crate::{
    key::Tenant,
    observe::{Happened, Stats},
    purge::{Purge, PurgeError, Purged},
    service::{Computing, Settings},
};

/// A handle on one cache: from [`CacheLayer::handle`](crate::CacheLayer::handle), cheap to clone.
///
/// ```
/// use microcache::{CacheLayer, MemoryStore};
///
/// let cache = CacheLayer::new(MemoryStore::with_max_bytes(1 << 20));
/// let handle = cache.handle();
/// handle.pause();
/// assert!(handle.is_paused());
/// handle.resume();
/// assert!(!handle.is_paused());
/// ```
#[derive(Clone)]
pub struct CacheHandle {
    settings: Arc<Settings>,
    computing: Computing,
}

impl CacheHandle {
    pub(crate) fn new(settings: Arc<Settings>) -> Self {
        let computing = Computing::new(settings.routes.default_policy().collapse.clone());
        Self { settings, computing }
    }

    /// Purges: what is covered, and what of it is on its way, is not used any more, or is stale if the purge is soft.
    ///
    /// In this process that is so when this returns, whether or not the future is waited for. The future waits until the
    /// store knows, for the other processes that share it, and says when these are as far ([`Purged`]). A request that is
    /// answered when the purge comes may still get what was.
    ///
    /// URLs and requests are resolved with the policies of the layer that the handle is of: a layer made by
    /// [`with_policy`](crate::CacheLayer::with_policy) has a handle with other ones.
    ///
    /// ```
    /// use axum::{Router, body::Body, http::Request, routing::get};
    /// use microcache::{CacheLayer, MemoryStore, Purge};
    /// use tower::ServiceExt;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let cache = CacheLayer::new(MemoryStore::with_max_bytes(1 << 20));
    /// let handle = cache.handle();
    /// let lamp = async || ([("surrogate-key", "product:7 list")], "a lamp");
    /// let app: Router = Router::new().route("/products/7", get(lamp)).layer(cache);
    ///
    /// for (purge, expected) in [(Purge::tag("product:8"), "hit; ttl=1"), (Purge::tag("list"), "fwd=uri-miss; ..")] {
    ///     app.clone().oneshot(Request::get("/products/7").body(Body::empty())?).await?;
    ///     assert_eq!(handle.purge(purge).await?.to_string(), "this process now, there are no others");
    ///     let answer = app.clone().oneshot(Request::get("/products/7").body(Body::empty())?).await?;
    ///     let said = answer.headers()["cache-status"].to_str()?;
    ///     assert!(said.starts_with(&format!("microcache; {}", expected.trim_end_matches(".."))), "{said}");
    ///     assert!(!answer.headers().contains_key("surrogate-key"), "the tags are nobody else's concern");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// What can not be purged, and then nothing has changed; or a store that does not answer. Memcached servers are told
    /// until they know, while this process runs.
    ///
    /// # Panics
    ///
    /// A store that has to be waited for needs a tokio runtime with its timer, as requests do.
    #[doc(alias = "invalidate")]
    #[doc(alias = "clear")]
    pub fn purge<P: Into<Purge>>(&self, purge: P) -> impl Future<Output = Result<Purged, PurgeError>> + Send + use<P> {
        let (purge, core) = (purge.into(), &self.settings.core);
        let is_soft = purge.is_soft();
        let what = purge.in_words();
        let told = purge.covers(&self.settings.routes, &core.tenancy).map(|covers| {
            let told = core.fence(covers, is_soft);
            // Who is told of it finds it done.
            core.counters.purged(what, is_soft);
            told
        });
        let others = core.store.reach();
        async move {
            told?.await.map_err(PurgeError::of_store)?;
            Ok(Purged::new(others))
        }
    }

    /// What the cache has done so far, and what there is. Cheap enough for once a second, and not for each request.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.settings.core.stats()
    }

    /// What has happened after the event with this number, oldest first. With zero, all that is remembered: the last 256,
    /// of which those of one kind take no room that rarer ones need.
    ///
    /// ```
    /// use microcache::{CacheLayer, Event, MemoryStore};
    ///
    /// let handle = CacheLayer::new(MemoryStore::with_max_bytes(1 << 20)).handle();
    /// handle.pause();
    /// let events = handle.events(0);
    /// assert_eq!(events[0].event, Event::Switched { route: None, is_paused: true });
    /// assert!(handle.events(events[0].number).is_empty());
    /// ```
    #[must_use]
    pub fn events(&self, after: u64) -> Vec<Happened> {
        self.settings.core.counters.events.since(after)
    }

    /// The same, as soon as there is something.
    pub fn next_events(&self, after: u64) -> impl Future<Output = Vec<Happened>> + Send + use<> {
        self.settings.core.counters.events.next(after)
    }

    /// The value that is stored under this key for this tenant, or that of `compute`, which is then stored for as long as
    /// `freshness` says: what the cache does for responses, for anything else.
    ///
    /// Of the callers that ask for a key together one computes, here and in other processes that share the store; the
    /// others get its value. With a freshness of zero they still do, and it is not stored. A caller that waits for
    /// longer than the [`Collapse`](crate::Collapse) of the layer's policy says computes for itself; `compute` is cloned
    /// for that.
    ///
    /// * An error is for the caller whose `compute` it comes from. The next of those that wait then computes, one at a
    ///   time, and so after a panic. A store that fails costs one computation.
    /// * If the caller that computes leaves, the computation goes on in the background, for as long as
    ///   [`Collapse::finish_within`](crate::Collapse::finish_within) says.
    /// * An unidentified tenant, a key over 8 KiB, or a paused cache: it is computed for this caller alone.
    /// * Computations and requests never have a key in common. The parts of a key count as they are: `["a", "b"]` is not
    ///   `["a/b"]`. What the value depends on has to be in there, the tenant apart. One key, one `freshness`: that of
    ///   whoever computed counts. A stale value is computed again.
    /// * [`stats`](Self::stats) counts it as a request. `Policy::max_body_bytes` does not apply: the store's own bound
    ///   does.
    ///
    /// Values are bytes, so that any store can hold them: serialize inside of `compute`, and deserialize what comes.
    ///
    /// ```
    /// use std::time::Duration;
    /// use bytes::Bytes;
    /// use microcache::{CacheLayer, MemoryStore, Tenant};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), serde_json::Error> {
    /// let cache = CacheLayer::new(MemoryStore::with_max_bytes(1 << 20)).handle();
    /// let (acme, year) = (Tenant::named("acme"), 2024);
    /// for _ in 0..2 {
    ///     let key = ["report", &year.to_string()];
    ///     let bytes = cache.get_or_compute(&acme, &key, Duration::from_secs(30), move || async move {
    ///         let totals = vec![year, 7]; // from a database, say
    ///         serde_json::to_vec(&totals).map(Bytes::from)
    ///     });
    ///     let totals: Vec<u32> = serde_json::from_slice(&bytes.await?)?;
    ///     assert_eq!(totals, [2024, 7]);
    /// }
    /// assert_eq!((cache.stats().forwards, cache.stats().hits), (1, 1));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// That of `compute`.
    ///
    /// # Panics
    ///
    /// As `compute` does. Callers that have to wait need a tokio runtime with its timer, as requests do.
    #[doc(alias = "memoize")]
    #[doc(alias = "single-flight")]
    pub async fn get_or_compute<F, R, E>(
        &self,
        tenant: &Tenant,
        key: &[&str],
        freshness: Duration,
        compute: F,
    ) -> Result<Bytes, E>
    where
        F: FnOnce() -> R + Clone + Send + 'static,
        R: Future<Output = Result<Bytes, E>> + Send + 'static,
        E: Send + 'static,
    {
        self.computing.get(&self.settings.core, tenant, key, freshness, compute).await
    }
}

impl fmt::Debug for CacheHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheHandle").field("is_paused", &self.is_paused()).finish_non_exhaustive()
    }
}

#[cfg(all(test, feature = "memory"))]
mod tests {
    use tokio_test::{assert_pending, assert_ready_ok, task::spawn};

    use super::*;
    use crate::{CacheLayer, Fence, ManualClock, MemoryStore, key::CacheKey};

    #[tokio::test]
    async fn what_was_computed_before_a_fence_is_neither_found_nor_stored_after_it() {
        let clock = ManualClock::new();
        let store = MemoryStore::with_max_bytes(1 << 20);
        let handle = CacheLayer::builder(store).clock(clock.clone()).build().unwrap().handle();
        let (acme, minute) = (Tenant::named("acme"), Duration::from_secs(60));
        let fence = || {
            let key = CacheKey::of_computation(&acme, &["a"]).unwrap();
            handle.settings.core.fences.raise(&Fence::target(&key, handle.settings.core.clock.now()));
            clock.advance(Duration::from_millis(1));
        };
        let get = |value: &'static [u8]| {
            handle.get_or_compute(&acme, &["a"], minute, move || async move { Ok::<_, ()>(Bytes::from_static(value)) })
        };
        assert_eq!(get(b"one").await.unwrap(), "one");
        fence();
        assert_eq!(get(b"two").await.unwrap(), "two", "it is not found");

        let (go, gone) = tokio::sync::oneshot::channel::<()>();
        let gone = Arc::new(tokio::sync::Mutex::new(gone));
        fence();
        let mut late = spawn(handle.get_or_compute(&acme, &["a"], minute, move || async move {
            (&mut *gone.lock().await).await.unwrap();
            Ok::<_, ()>(Bytes::from_static(b"three"))
        }));
        assert_pending!(late.poll());
        fence();
        go.send(()).unwrap();
        assert_eq!(assert_ready_ok!(late.poll()), "three");
        assert_eq!(get(b"four").await.unwrap(), "four", "it was not stored");
        assert_eq!(get(b"five").await.unwrap(), "four");
    }
}
