//! Fences: what began before the last one for its target is not to be used any more.
//!
//! Kept in this process, bounded, and never forgotten towards the wrong side: what has no room any more raises the
//! floor, below which everything counts as fenced. That costs forwards; it never serves what was invalidated.

use std::{
    collections::{HashMap, VecDeque, hash_map::RandomState},
    fmt,
    hash::BuildHasher,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::time::Instant;

use crate::{clock::monotonic, key::CacheKey};

/// The fences of one cache, by a secretly seeded hash of the target URI. Two of one hash cost a forward.
#[derive(Default)]
pub(crate) struct Fences {
    /// The newest of all, so that what is newer needs no look: nanoseconds since 1970, zero while there is none.
    newest: AtomicU64,
    raised: Mutex<Raised>,
    hasher: RandomState,
}

#[derive(Default)]
struct Raised {
    by_target: HashMap<u64, Fence>,
    oldest_first: VecDeque<(u64, Fence)>,
    floor: Option<Fence>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Fence {
    /// On the clock that stored responses are dated by.
    nanos: u64,
    /// On the clock that flights are dated by.
    instant: Instant,
}

impl Fences {
    /// Invalidates everything for the target URI of `key` whose forward began before now, whatever the method, the
    /// fields and the content in it (RFC 9111 §4.4).
    pub(crate) fn raise(&self, key: &CacheKey, now: SystemTime) {
        let (hash, fence) = (self.hash(key), Fence { nanos: nanos(now), instant: monotonic() });
        let mut raised = self.lock();
        if raised.oldest_first.len() >= MOST
            && let Some((oldest, gone)) = raised.oldest_first.pop_front()
            // A target that was invalidated again since has a newer one.
            && raised.by_target.get(&oldest) == Some(&gone)
        {
            raised.by_target.remove(&oldest);
            raised.floor = Some(raised.floor.map_or(gone, |floor| floor.later(gone)));
        }
        raised.by_target.insert(hash, fence);
        raised.oldest_first.push_back((hash, fence));
        drop(raised);
        self.newest.fetch_max(fence.nanos, SeqCst);
    }

    /// Whether what is stored or to be stored under `key` began before the last fence for it.
    pub(crate) fn cover(&self, key: &CacheKey, began: SystemTime) -> bool {
        let newest = self.newest.load(SeqCst);
        // Not after is before: within one tick of the clock nobody knows the order.
        newest > 0 && nanos(began) <= newest && self.last(key).is_some_and(|fence| nanos(began) <= fence.nanos)
    }

    /// When the last fence for `key` was raised: a flight that began before takes no more followers.
    pub(crate) fn raised_at(&self, key: &CacheKey) -> Option<Instant> {
        if self.newest.load(SeqCst) == 0 {
            return None;
        }
        self.last(key).map(|fence| fence.instant)
    }

    fn last(&self, key: &CacheKey) -> Option<Fence> {
        let hash = self.hash(key);
        let raised = self.lock();
        match (raised.by_target.get(&hash), raised.floor) {
            (Some(fence), Some(floor)) => Some(fence.later(floor)),
            (Some(fence), None) => Some(*fence),
            (None, floor) => floor,
        }
    }

    fn hash(&self, key: &CacheKey) -> u64 {
        self.hasher.hash_one(key.target())
    }

    fn lock(&self) -> MutexGuard<'_, Raised> {
        // A poisoned lock is whole: nothing that can panic runs under it.
        self.raised.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Fence {
    fn later(self, other: Self) -> Self {
        Self { nanos: self.nanos.max(other.nanos), instant: self.instant.max(other.instant) }
    }
}

impl fmt::Debug for Fences {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fences").finish_non_exhaustive()
    }
}

/// Times before 1970 and after 2554 are the nearest that there is.
fn nanos(time: SystemTime) -> u64 {
    let since_epoch = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since_epoch.as_nanos()).unwrap_or(u64::MAX)
}

/// About four megabytes.
const MOST: usize = 65_536;

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;
    use crate::key::{KeySpec, RequestHead, Tenant};

    fn key(target: &str) -> CacheKey {
        let request = Request::get(target).header("accept", "text/plain").body(()).unwrap();
        KeySpec::new().header(http::header::ACCEPT).key(RequestHead::of(&request), &Tenant::shared()).unwrap()
    }

    fn at(millis: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_600_000_000) + Duration::from_millis(millis)
    }

    #[test]
    fn a_fence_covers_what_began_before_it_for_its_target_alone() {
        let fences = Fences::default();
        assert!(!fences.cover(&key("/a"), at(0)));
        assert_eq!(fences.raised_at(&key("/a")), None);

        fences.raise(&key("/a"), at(10));

        for (target, began, expected) in
            [("/a", 9, true), ("/a", 10, true), ("/a", 11, false), ("/b", 9, false), ("/a?b", 9, false)]
        {
            assert_eq!(fences.cover(&key(target), at(began)), expected, "{target} at {began}");
        }
        assert!(fences.raised_at(&key("/a")).is_some());
        assert_eq!(fences.raised_at(&key("/b")), None);
    }

    #[test]
    fn a_fence_does_not_ask_for_the_method_the_scheme_or_the_fields() {
        let fences = Fences::default();
        let post = Request::post("https://shop.example/a?b=1").body(()).unwrap();
        let spec = KeySpec::new();
        fences.raise(&spec.key(RequestHead::of(&post), &Tenant::shared()).unwrap(), at(10));

        let get = Request::get("/a?b=1").header("host", "shop.example").header("accept", "x").body(()).unwrap();
        let spec = spec.header(http::header::ACCEPT);
        assert!(fences.cover(&spec.key(RequestHead::of(&get), &Tenant::shared()).unwrap(), at(9)));
        assert!(!fences.cover(&spec.key(RequestHead::of(&get), &Tenant::named("acme")).unwrap(), at(9)));
    }

    #[test]
    fn a_fence_that_has_no_room_any_more_covers_everything_older() {
        let fences = Fences::default();
        fences.raise(&key("/first"), at(10));
        for number in 0..MOST {
            fences.raise(&key(&format!("/{number}")), at(20));
        }

        for (target, began, expected) in
            [("/first", 10, true), ("/never", 10, true), ("/never", 11, false), ("/7", 20, true), ("/7", 21, false)]
        {
            assert_eq!(fences.cover(&key(target), at(began)), expected, "{target} at {began}");
        }
        assert_eq!(fences.lock().by_target.len(), MOST);
    }

    #[test]
    fn a_target_that_is_invalidated_often_costs_the_others_nothing() {
        let fences = Fences::default();
        for number in 0..2 * MOST as u64 {
            fences.raise(&key("/often"), at(number));
        }

        assert!(!fences.cover(&key("/never"), at(0)));
        assert!(fences.cover(&key("/often"), at(2 * MOST as u64 - 1)));
        assert_eq!(fences.lock().oldest_first.len(), MOST);
    }
}
