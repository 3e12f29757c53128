//! Where stored responses are kept.
//!
//! [`Store`] is the contract. Implementers write plain `async fn`; the cache erases the type inside, so that
//! no signature of an application names its store.

mod erased;
mod error;
mod fence;
mod fences;
mod known;
mod lease;
#[cfg(feature = "memcached")]
mod memcached;
#[cfg(feature = "memory")]
mod memory;
mod reach;
mod tiered;

#[cfg(any(test, feature = "test-util"))]
pub mod contract;

use std::{future::Future, sync::Arc, time::Duration};

#[cfg(feature = "memcached")]
pub use self::memcached::{MemcachedStore, MemcachedStoreBuilder, Placement};
#[cfg(feature = "memory")]
pub use self::memory::{MemoryStore, MemoryStoreBuilder};
pub(crate) use self::{
    erased::ErasedStore,
    fence::{Cover, Covers},
    fences::Fences,
};
pub use self::{
    error::{StoreError, StoreErrorKind},
    fence::Fence,
    known::{BreakerState, ServerState, ServerWatch, StoreSize},
    lease::{Lease, LeaseGuard},
    reach::Reach,
    tiered::Tiered,
};
use crate::{key::CacheKey, stored::Stored};

/// Keeps what the cache gives it, under the key it gives it with.
///
/// A store decides nothing: it knows no HTTP, no freshness and no tenants (they are in the key). What it owes:
///
/// * **The right one or none.** `get` answers with what was last `put` under *exactly* this key, or with
///   nothing. A store that hashes or shortens keys keeps the whole key and compares it.
/// * **Newer wins.** A `put` whose [`Stored::began`] lies before that of what is there changes nothing and
///   answers [`Put::Fenced`]: a forward that took too long does not undo a newer one.
/// * **Bounded.** It may drop anything at any time, and does so to stay within its bound.
/// * **Calm.** It answers in bounded time or with a [`StoreError`]. An error costs one forward, never a
///   response; the cache stops waiting at its own deadline in any case
///   ([`CacheLayerBuilder::store_deadline`](crate::CacheLayerBuilder::store_deadline)).
/// * **Cancel-safe.** Any future may be dropped at any await.
///
/// A store that several processes use says so ([`is_shared`](Self::is_shared)) and may have leases
/// ([`lease`](Self::lease)), so that one of them forwards for all. One that is not shared is not asked for any: a miss
/// costs it no more than `get` and `put`.
///
/// The suite `microcache::contract` (feature `test-util`) checks the first three.
///
/// ```
/// use std::{collections::HashMap, sync::Mutex};
/// use microcache::{CacheKey, CacheLayer, Put, Store, StoreError, Stored};
///
/// #[derive(Debug, Default)]
/// struct OneOfEach(Mutex<HashMap<CacheKey, Stored>>);
///
/// impl Store for OneOfEach {
///     async fn get(&self, key: &CacheKey) -> Result<Option<Stored>, StoreError> {
///         Ok(self.0.lock().unwrap().get(key).cloned())
///     }
///     async fn put(&self, key: &CacheKey, stored: Stored) -> Result<Put, StoreError> {
///         let mut map = self.0.lock().unwrap();
///         if map.get(key).is_some_and(|there| there.began() > stored.began()) {
///             return Ok(Put::Fenced);
///         }
///         map.insert(key.clone(), stored);
///         Ok(Put::Stored)
///     }
///     async fn remove(&self, key: &CacheKey) -> Result<(), StoreError> {
///         self.0.lock().unwrap().remove(key);
///         Ok(())
///     }
/// }
///
/// let cache = CacheLayer::new(OneOfEach::default());
/// # assert!(!cache.handle().is_paused());
/// ```
pub trait Store: Send + Sync + 'static {
    /// Answers at once if it can, without waiting for anything. Default: [`Peek::Wait`].
    ///
    /// A memory store answers here, and a hit costs no future at all.
    fn peek(&self, key: &CacheKey) -> Peek {
        let _ = key;
        Peek::Wait
    }

    /// What is stored under `key`. Asked after `peek` said [`Peek::Wait`], and where other processes use the store before a
    /// forward whatever it said.
    ///
    /// # Errors
    ///
    /// When the store can not tell. It counts as nothing stored.
    fn get(&self, key: &CacheKey) -> impl Future<Output = Result<Option<Stored>, StoreError>> + Send;

    /// Stores under `key`, in place of what is there unless that is newer.
    ///
    /// # Errors
    ///
    /// When it was not stored.
    fn put(&self, key: &CacheKey, stored: Stored) -> impl Future<Output = Result<Put, StoreError>> + Send;

    /// Removes what is stored under `key`.
    ///
    /// # Errors
    ///
    /// When it may still be there.
    fn remove(&self, key: &CacheKey) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Ends what the fence covers, for all processes that share the store: `get` does not find it any more, and what is
    /// on its way comes too late. What a soft fence covers is found, and known to be stale. Default:
    /// [`remove`](Self::remove) of the key of a hard fence, which is enough for a store of one process, since the cache
    /// keeps fences of its own. A store that is shared, and could not tell all that there are to tell, goes on trying.
    ///
    /// # Errors
    ///
    /// When what was there may still be found by other processes.
    fn fence(&self, fence: &Fence) -> impl Future<Output = Result<(), StoreError>> + Send {
        let ended = fence.key().filter(|_| !fence.is_soft());
        async move {
            match ended {
                Some(key) => self.remove(key).await,
                None => Ok(()),
            }
        }
    }

    /// Whether other processes use it, too. Default: no. Always the same: it is asked for each miss.
    ///
    /// Only then a [`lease`](Self::lease) is asked for before a forward, and after it [`get`](Self::get) once more: another
    /// process may have stored something since.
    fn is_shared(&self) -> bool {
        false
    }

    /// How long after [`fence`](Self::fence) has answered other processes may still find what the fence covers. Default:
    /// [`Reach::Alone`], for a store of one process. A store that says more answers [`is_fenced`](Self::is_fenced), too.
    fn reach(&self) -> Reach {
        Reach::Alone
    }

    /// Whether a [`Fence`] covers what was brought to be stored under `key`, hard or soft. As of now, or of a moment no longer
    /// ago than the [`reach`](Self::reach). Asked where a store has a reach, before a response is shared with a request that
    /// came later than that after its forward began. Default: yes, so that such a request is forwarded.
    ///
    /// # Errors
    ///
    /// When the store can not tell. It counts as covered.
    fn is_fenced(&self, key: &CacheKey, stored: &Stored) -> impl Future<Output = Result<bool, StoreError>> + Send {
        let _ = (key, stored);
        std::future::ready(Ok(true))
    }

    /// Asks for the lease of `key`: one process forwards, and the others wait for what it brings. Asked before a
    /// forward, when nothing reusable was found and the store [is shared](Self::is_shared). Default: granted at once.
    ///
    /// It ends when its guard is dropped, soon after its process has ended, and soon after `lifetime` in any case: a
    /// holder that hangs does not keep the others waiting.
    ///
    /// # Errors
    ///
    /// When the store can not tell. It counts as granted.
    fn lease(&self, key: &CacheKey, lifetime: Duration) -> impl Future<Output = Result<Lease, StoreError>> + Send {
        let _ = (key, lifetime);
        std::future::ready(Ok(Lease::Granted(LeaseGuard::free())))
    }

    /// What it holds, for [`Stats`](crate::Stats). Default: it does not know.
    fn size(&self) -> StoreSize {
        StoreSize::default()
    }

    /// Its servers, for [`Stats`](crate::Stats). Default: none.
    fn servers(&self) -> Vec<ServerState> {
        Vec::new()
    }

    /// Whom to tell when a server is left alone, and when it is asked again. Called once for each cache over this store.
    /// Default: nobody is told.
    fn watch_servers(&self, watch: ServerWatch) {
        let _ = watch;
    }
}

/// What a store knows without waiting.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Peek {
    /// This is stored under the key.
    Found(Stored),
    /// Nothing is stored under the key.
    Absent,
    /// Only [`Store::get`] can tell.
    Wait,
}

/// What became of a [`Store::put`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Put {
    /// It was stored.
    Stored,
    /// What is there began later, and stays; or a [`Fence`] covers it.
    Fenced,
    /// The store keeps nothing like it.
    Declined,
}

/// What was forwarded for longer is not stored: who asked for it has long left.
pub(crate) const LONGEST_FORWARD: Duration = Duration::from_secs(60 * 60);

/// Keep a handle on your own store.
impl<T: Store> Store for Arc<T> {
    fn peek(&self, key: &CacheKey) -> Peek {
        (**self).peek(key)
    }

    async fn get(&self, key: &CacheKey) -> Result<Option<Stored>, StoreError> {
        (**self).get(key).await
    }

    async fn put(&self, key: &CacheKey, stored: Stored) -> Result<Put, StoreError> {
        (**self).put(key, stored).await
    }

    async fn remove(&self, key: &CacheKey) -> Result<(), StoreError> {
        (**self).remove(key).await
    }

    async fn fence(&self, fence: &Fence) -> Result<(), StoreError> {
        (**self).fence(fence).await
    }

    fn is_shared(&self) -> bool {
        (**self).is_shared()
    }

    fn reach(&self) -> Reach {
        (**self).reach()
    }

    async fn is_fenced(&self, key: &CacheKey, stored: &Stored) -> Result<bool, StoreError> {
        (**self).is_fenced(key, stored).await
    }

    async fn lease(&self, key: &CacheKey, lifetime: Duration) -> Result<Lease, StoreError> {
        (**self).lease(key, lifetime).await
    }

    fn size(&self) -> StoreSize {
        (**self).size()
    }

    fn servers(&self) -> Vec<ServerState> {
        (**self).servers()
    }

    fn watch_servers(&self, watch: ServerWatch) {
        (**self).watch_servers(watch);
    }
}
