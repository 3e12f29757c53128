//! Fences: what began before the last one for its target is not to be used any more.
//!
//! Kept in this process, in a table of moments by hash: bounded, never locked, and never forgotten. Where two targets
//! were invalidated that share a place, all that share it are, from then on; that costs forwards, it never serves what
//! was invalidated.

use std::{
    collections::hash_map::RandomState,
    fmt,
    hash::BuildHasher,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::{Duration, SystemTime},
};

use tokio::time::Instant;

use crate::{
    clock::{monotonic, nanos},
    key::CacheKey,
};

/// The fences of one cache, by a secretly seeded hash of the target URI.
#[derive(Default)]
pub(crate) struct Fences {
    /// Made when the first fence is raised.
    table: OnceLock<Table>,
    hasher: RandomState,
}

struct Table {
    places: Box<[Place]>,
    /// The newest of all, so that what is newer needs no look.
    newest: AtomicU64,
    since: Instant,
}

/// The last fence for the target of this place; zeros while there is none.
#[derive(Default)]
struct Place {
    /// The hash of the target, or [`SHARED`].
    target: AtomicU64,
    /// On the clock that stored responses are dated by: nanoseconds since 1970.
    wall: AtomicU64,
    /// On the clock that flights are dated by: nanoseconds since the table was made, and one more.
    monotonic: AtomicU64,
}

impl Fences {
    /// Invalidates everything for the target URI of `key` whose forward began before `now`, whatever the method, the
    /// fields and the content in it (RFC 9111 §4.4).
    pub(crate) fn raise(&self, key: &CacheKey, now: SystemTime) {
        let table = self.table.get_or_init(|| Table {
            places: (0..PLACES).map(|_| Place::default()).collect(),
            newest: AtomicU64::new(0),
            since: monotonic(),
        });
        let hash = self.hash(key);
        let place = table.place(hash);
        if let Err(other) = place.target.compare_exchange(0, hash, SeqCst, SeqCst)
            && other != hash
        {
            place.target.store(SHARED, SeqCst);
        }
        place.wall.fetch_max(nanos(now), SeqCst);
        place.monotonic.fetch_max(whole_nanos(monotonic() - table.since).saturating_add(1), SeqCst);
        // Last: who sees it sees the place, too.
        table.newest.fetch_max(nanos(now), SeqCst);
    }

    /// Whether what is stored or to be stored under `key` began before the last fence for it.
    #[inline]
    pub(crate) fn cover(&self, key: &CacheKey, began: SystemTime) -> bool {
        let Some(table) = self.table.get() else { return false };
        let began = nanos(began);
        // Not after is before: within one tick of the clock nobody knows the order.
        if began > table.newest.load(SeqCst) {
            return false;
        }
        let hash = self.hash(key);
        let place = table.place(hash);
        began <= place.wall.load(SeqCst) && place.is_of(hash)
    }

    /// When the last fence for `key` was raised: a flight that began before takes no more followers.
    pub(crate) fn raised_at(&self, key: &CacheKey) -> Option<Instant> {
        let table = self.table.get()?;
        let hash = self.hash(key);
        let place = table.place(hash);
        let nanos = place.monotonic.load(SeqCst).checked_sub(1).filter(|_| place.is_of(hash))?;
        table.since.checked_add(Duration::from_nanos(nanos))
    }

    fn hash(&self, key: &CacheKey) -> u64 {
        // Neither nothing nor [`SHARED`].
        self.hasher.hash_one(key.target()).clamp(1, SHARED - 1)
    }
}

impl Table {
    fn place(&self, hash: u64) -> &Place {
        // PLACES is a power of two.
        &self.places[usize::try_from(hash & (PLACES as u64 - 1)).unwrap_or(0)]
    }
}

impl Place {
    fn is_of(&self, hash: u64) -> bool {
        let target = self.target.load(SeqCst);
        target == hash || target == SHARED
    }
}

impl fmt::Debug for Fences {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fences").finish_non_exhaustive()
    }
}

fn whole_nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// A megabyte and a half.
const PLACES: usize = 65_536;

/// In the place of a hash: of all that share the place.
const SHARED: u64 = u64::MAX;

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

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
    fn where_two_targets_share_a_place_both_are_covered_by_either_fence() {
        let fences = Fences::default();
        fences.raise(&key("/first"), at(0));
        let table = fences.table.get().unwrap();
        let of_first = std::ptr::from_ref(table.place(fences.hash(&key("/first"))));
        let shares_it = |target: &CacheKey| std::ptr::eq(of_first, table.place(fences.hash(target)));
        let second = (0..).map(|number| key(&format!("/{number}"))).find(shares_it).unwrap();
        assert!(!fences.cover(&second, at(0)), "a stranger in the place of one is not covered");

        fences.raise(&second, at(10));

        assert!(fences.cover(&key("/first"), at(10)) && fences.cover(&second, at(10)));
    }

    #[test]
    fn an_older_fence_does_not_take_back_a_newer_one() {
        let fences = Fences::default();
        fences.raise(&key("/a"), at(20));
        fences.raise(&key("/a"), at(10));

        assert!(fences.cover(&key("/a"), at(20)));
    }
}
