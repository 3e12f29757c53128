//! Fences: what began before the last one that covers it is not to be used any more.
//!
//! Kept in this process, in a table of moments by hash: bounded, never locked, and never forgotten. Where two fences
//! share a place, all that share it are covered by either, from then on; that costs forwards, it never serves what was
//! purged.

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

use super::fence::{Cover, Fence, Scope};
use crate::{
    clock::{monotonic, nanos},
    key::CacheKey,
};

/// The fences of one cache, by a secretly seeded hash of what they cover.
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

/// The last fences for what has this place; zeros while there is none.
#[derive(Default)]
struct Place {
    /// The hash of what they cover, or [`SHARED`].
    scope: AtomicU64,
    /// On the clock that stored responses are dated by: nanoseconds since 1970.
    hard: AtomicU64,
    soft: AtomicU64,
    /// On the clock that flights are dated by: nanoseconds since the table was made, and one more.
    monotonic: AtomicU64,
}

impl Fences {
    /// From now on, what the fence covers is gone or stale.
    pub(crate) fn raise(&self, fence: &Fence) {
        let table = self.table.get_or_init(|| Table {
            places: (0..PLACES).map(|_| Place::default()).collect(),
            newest: AtomicU64::new(0),
            since: monotonic(),
        });
        let at = nanos(fence.at());
        let hash = self.hash(fence.scope());
        let place = table.place(hash);
        if let Err(other) = place.scope.compare_exchange(0, hash, SeqCst, SeqCst)
            && other != hash
        {
            place.scope.store(SHARED, SeqCst);
        }
        let wall = if fence.is_soft() { &place.soft } else { &place.hard };
        wall.fetch_max(at, SeqCst);
        place.monotonic.fetch_max(whole_nanos(monotonic() - table.since).saturating_add(1), SeqCst);
        // Last: who sees it sees the place, too.
        table.newest.fetch_max(at, SeqCst);
    }

    /// What the fences do to what is stored or to be stored under `key` with these tags, whose forward began then.
    #[inline]
    pub(crate) fn cover(&self, key: &CacheKey, tags: &[Box<str>], began: SystemTime) -> Option<Cover> {
        let table = self.table.get()?;
        let began = nanos(began);
        // Not after is before: within one tick of the clock nobody knows the order.
        if began > table.newest.load(SeqCst) {
            return None;
        }
        Scope::all_of(key, tags).filter_map(|scope| self.place_of(table, scope)?.cover(began)).min()
    }

    /// When the last fence was raised for what is stored under `key` with these tags: a flight that began before takes
    /// no more followers.
    pub(crate) fn raised_at(&self, key: &CacheKey, tags: &[Box<str>]) -> Option<Instant> {
        let table = self.table.get()?;
        let places = Scope::all_of(key, tags).filter_map(|scope| self.place_of(table, scope));
        let newest = places.map(|place| place.monotonic.load(SeqCst)).max()?;
        table.since.checked_add(Duration::from_nanos(newest.checked_sub(1)?))
    }

    /// The place of what it covers, if there has been a fence for it.
    fn place_of<'a>(&self, table: &'a Table, scope: Scope<'_>) -> Option<&'a Place> {
        let hash = self.hash(scope);
        Some(table.place(hash)).filter(|place| place.is_of(hash))
    }

    fn hash(&self, scope: Scope<'_>) -> u64 {
        // Neither nothing nor [`SHARED`].
        self.hasher.hash_one(scope).clamp(1, SHARED - 1)
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
        let scope = self.scope.load(SeqCst);
        scope == hash || scope == SHARED
    }

    fn cover(&self, began: u64) -> Option<Cover> {
        if began <= self.hard.load(SeqCst) {
            return Some(Cover::Hard);
        }
        (began <= self.soft.load(SeqCst)).then_some(Cover::Soft)
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

/// Two megabytes.
const PLACES: usize = 65_536;

/// In the place of a hash: of all that share the place.
const SHARED: u64 = u64::MAX;

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use http::Request;
    use proptest::prelude::*;

    use super::*;
    use crate::{
        key::{KeySpec, RequestHead, Tenant},
        store::fence::Covers,
    };

    fn key_of(tenant: &Tenant, target: &str) -> CacheKey {
        let request = Request::get(target).header("accept", "text/plain").body(()).unwrap();
        KeySpec::new().header(http::header::ACCEPT).key(RequestHead::of(&request), tenant).unwrap()
    }

    fn key(target: &str) -> CacheKey {
        key_of(&Tenant::shared(), target)
    }

    fn at(millis: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_600_000_000) + Duration::from_millis(millis)
    }

    fn hard(covers: Covers, millis: u64) -> Fence {
        Fence::new(covers, at(millis), false)
    }

    fn target(path: &str) -> Covers {
        Covers::Target(key(path))
    }

    fn tag(tenant: &str, tag: &str) -> Covers {
        Covers::Tag { tenant: tenant.to_owned(), tag: tag.into() }
    }

    fn tags(tags: &[&str]) -> Vec<Box<str>> {
        tags.iter().map(|tag| (*tag).into()).collect()
    }

    fn covers(fences: &Fences, key: &CacheKey, millis: u64) -> bool {
        fences.cover(key, &[], at(millis)).is_some()
    }

    #[test]
    fn a_fence_covers_what_began_before_it_for_its_target_alone() {
        let fences = Fences::default();
        assert!(!covers(&fences, &key("/a"), 0));
        assert_eq!(fences.raised_at(&key("/a"), &[]), None);

        fences.raise(&hard(target("/a"), 10));

        for (target, began, expected) in
            [("/a", 9, true), ("/a", 10, true), ("/a", 11, false), ("/b", 9, false), ("/a?b", 9, false)]
        {
            assert_eq!(covers(&fences, &key(target), began), expected, "{target} at {began}");
        }
        assert!(fences.raised_at(&key("/a"), &[]).is_some());
        assert_eq!(fences.raised_at(&key("/b"), &[]), None);
    }

    #[test]
    fn each_kind_of_fence_covers_what_it_says_and_nothing_else() {
        let [acme, other] = ["acme", "other"].map(Tenant::named);
        let stored = [
            (key_of(&acme, "/a"), tags(&["x", "y"])),
            (key_of(&acme, "/b"), tags(&["y"])),
            (key_of(&acme, "/c"), tags(&[])),
            (key_of(&other, "/a"), tags(&["x"])),
            (key_of(&Tenant::shared(), "/acme"), tags(&["x"])),
        ];
        for (covered, expected) in [
            (Covers::Target(key_of(&acme, "/a")), [true, false, false, false, false]),
            (tag("acme", "x"), [true, false, false, false, false]),
            (tag("acme", "y"), [true, true, false, false, false]),
            (tag("", "x"), [false, false, false, false, true]),
            (Covers::Tenant("acme".to_owned()), [true, true, true, false, false]),
            (Covers::Tenant(String::new()), [false, false, false, false, true]),
            (Covers::All, [true; 5]),
        ] {
            let fences = Fences::default();
            fences.raise(&hard(covered, 10));
            let found = [0, 1, 2, 3, 4].map(|index| {
                let (key, tags) = &stored[index];
                let cover = fences.cover(key, tags, at(10));
                assert_eq!(fences.raised_at(key, tags).is_some(), cover.is_some());
                assert_eq!(fences.cover(key, tags, at(11)), None);
                cover == Some(Cover::Hard)
            });
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn of_a_hard_and_a_soft_fence_the_hard_one_counts() {
        let fences = Fences::default();
        fences.raise(&Fence::new(target("/a"), at(20), true));
        fences.raise(&hard(Covers::All, 10));

        for (began, expected) in [(10, Some(Cover::Hard)), (11, Some(Cover::Soft)), (20, Some(Cover::Soft)), (21, None)]
        {
            assert_eq!(fences.cover(&key("/a"), &[], at(began)), expected, "{began}");
        }
        assert_eq!(fences.cover(&key("/b"), &[], at(11)), None);
    }

    #[test]
    fn a_fence_does_not_ask_for_the_method_the_scheme_or_the_fields() {
        let fences = Fences::default();
        let post = Request::post("https://shop.example/a?b=1").body(()).unwrap();
        let spec = KeySpec::new();
        let posted = spec.key(RequestHead::of(&post), &Tenant::shared()).unwrap();
        fences.raise(&hard(Covers::Target(posted), 10));

        let get = Request::get("/a?b=1").header("host", "shop.example").header("accept", "x").body(()).unwrap();
        let spec = spec.header(http::header::ACCEPT);
        assert!(covers(&fences, &spec.key(RequestHead::of(&get), &Tenant::shared()).unwrap(), 9));
        assert!(!covers(&fences, &spec.key(RequestHead::of(&get), &Tenant::named("acme")).unwrap(), 9));
    }

    #[test]
    fn where_two_targets_share_a_place_both_are_covered_by_either_fence() {
        let fences = Fences::default();
        fences.raise(&hard(target("/first"), 0));
        let table = fences.table.get().unwrap();
        let place = |key: &CacheKey| std::ptr::from_ref(table.place(fences.hash(Scope::of_target(key))));
        let of_first = place(&key("/first"));
        let shares_it = |target: &CacheKey| std::ptr::eq(of_first, place(target));
        let second = (0..).map(|number| key(&format!("/{number}"))).find(shares_it).unwrap();
        assert!(!covers(&fences, &second, 0), "a stranger in the place of one is not covered");

        fences.raise(&hard(Covers::Target(second.clone()), 10));

        assert!(covers(&fences, &key("/first"), 10) && covers(&fences, &second, 10));
    }

    proptest! {
        #[test]
        fn no_fence_takes_back_another(raised in prop::collection::vec((0..4_u8, 0..50_u64, any::<bool>()), 1..12)) {
            let fences = Fences::default();
            let tags = tags(&["x"]);
            let covers = |kind| match kind {
                0 => target("/a"),
                1 => tag("", "x"),
                2 => Covers::Tenant(String::new()),
                _ => Covers::All,
            };
            for (kind, millis, is_soft) in &raised {
                fences.raise(&Fence::new(covers(*kind), at(*millis), *is_soft));
            }
            let newest = |soft| raised.iter().filter(|(.., is)| *is == soft).map(|(_, millis, _)| *millis).max();
            for began in 0..51 {
                let expected = match began {
                    _ if newest(false).is_some_and(|hard| began <= hard) => Some(Cover::Hard),
                    _ if newest(true).is_some_and(|soft| began <= soft) => Some(Cover::Soft),
                    _ => None,
                };
                prop_assert_eq!(fences.cover(&key("/a"), &tags, at(began)), expected);
            }
        }
    }
}
