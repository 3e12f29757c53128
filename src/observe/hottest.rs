//! Which keys have the most of something lately: requests, or misses. In fixed memory, however many keys there are.
//!
//! The algorithm is Space-Saving (Metwally, Agrawal, El Abbadi 2005): a key without a place takes the place with the
//! least weight, and that weight with it, as the error that its own may have. Any key with more than its fair share of
//! the weight has a place.

use std::{
    cell::Cell,
    hash::{BuildHasher, RandomState},
    sync::{Mutex, MutexGuard, PoisonError, TryLockError},
    time::{Duration, SystemTime},
};

use crate::key::CacheKey;

/// The hottest keys of one cache.
///
/// Recording never waits: it looks at a few requests, picked by chance so that no rhythm hides a key, and passes over
/// those too if another thread is at it. A key is kept in its short form.
#[derive(Debug)]
pub(crate) struct Hottest {
    sketch: Mutex<Sketch>,
    hasher: RandomState,
    /// One of so many requests is looked at, and counts for all of them.
    one_in: u64,
}

/// One of the hottest keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hot {
    /// Its short form.
    pub(crate) key: String,
    /// Its weight, at most: what it has had in the last minute, half of the minute before, and so on.
    pub(crate) weight: u64,
    /// By how much that may be too much, apart from what chance makes of it.
    pub(crate) error: u64,
}

impl Hot {
    /// What is sure of its weight. Keys that came and went leave theirs to whoever has their place.
    pub(super) fn at_least(&self) -> u64 {
        self.weight.saturating_sub(self.error)
    }
}

impl Hottest {
    pub(crate) fn new() -> Self {
        Self::one_in(ONE_IN)
    }

    /// Looks at one in so many requests.
    pub(super) fn one_in(one_in: u64) -> Self {
        Self { sketch: Mutex::default(), hasher: RandomState::new(), one_in: one_in.max(1) }
    }

    /// Counts `weight` for a key.
    #[inline]
    pub(crate) fn record(&self, key: &CacheKey, weight: u64, now: SystemTime) {
        if chance().is_multiple_of(self.one_in) {
            self.look_at(key, weight, now);
        }
    }

    /// The hottest keys by what is sure of them, the hottest first, at most `n`.
    pub(crate) fn top(&self, n: usize, now: SystemTime) -> Vec<Hot> {
        let mut sketch = self.sketch.lock().unwrap_or_else(PoisonError::into_inner);
        sketch.decay(now);
        let places = sketch.places.iter();
        let mut hottest: Vec<_> =
            places.map(|place| Hot { key: place.key.clone(), weight: place.weight, error: place.error }).collect();
        drop(sketch);
        hottest
            .sort_unstable_by(|one, other| other.at_least().cmp(&one.at_least()).then_with(|| one.key.cmp(&other.key)));
        hottest.truncate(n);
        hottest
    }

    /// Counts for all that are not looked at. Out of line, so that those pay for little more than chance.
    #[cold]
    pub(super) fn look_at(&self, key: &CacheKey, weight: u64, now: SystemTime) {
        let Some(mut sketch) = self.at_once() else { return };
        let key = key.short();
        sketch.decay(now);
        sketch.add(self.hasher.hash_one(&key), &key, weight.saturating_mul(self.one_in));
    }

    /// None if another thread has it.
    fn at_once(&self) -> Option<MutexGuard<'_, Sketch>> {
        match self.sketch.try_lock() {
            Ok(sketch) => Some(sketch),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

#[derive(Debug, Default)]
struct Sketch {
    places: Vec<Place>,
    /// When the weights were last halved.
    halved: Option<SystemTime>,
}

#[derive(Debug)]
struct Place {
    hash: u64,
    key: String,
    weight: u64,
    error: u64,
}

impl Sketch {
    fn add(&mut self, hash: u64, key: &str, weight: u64) {
        if let Some(place) = self.places.iter_mut().find(|place| place.hash == hash && place.key == key) {
            place.weight = place.weight.saturating_add(weight);
            return;
        }
        if self.places.len() < PLACES {
            self.places.push(Place { hash, key: key.to_owned(), weight, error: 0 });
            return;
        }
        // Whoever has no place has no more weight than the least that has one.
        if let Some(least) = self.places.iter_mut().min_by_key(|place| place.weight) {
            least.hash = hash;
            least.key.clear();
            least.key.push_str(key);
            least.error = least.weight;
            least.weight = least.weight.saturating_add(weight);
        }
    }

    /// Halves the weights for each minute that has passed, so that what was hot is not hot for ever.
    fn decay(&mut self, now: SystemTime) {
        let since = *self.halved.get_or_insert(now);
        let Ok(passed) = now.duration_since(since) else {
            // The clock was set back: a minute passes from there.
            self.halved = Some(now);
            return;
        };
        let halvings = passed.as_secs() / HALF_LIFE.as_secs();
        if halvings == 0 {
            return;
        }
        // What is over the last minute counts for the next.
        let rest = passed.saturating_sub(HALF_LIFE.saturating_mul(u32::try_from(halvings).unwrap_or(u32::MAX)));
        self.halved = Some(now.checked_sub(rest).unwrap_or(now));
        let halvings = u32::try_from(halvings).unwrap_or(u32::MAX);
        let halved = |weight: u64| weight.checked_shr(halvings).unwrap_or_default();
        for place in &mut self.places {
            (place.weight, place.error) = (halved(place.weight), halved(place.error));
        }
        self.places.retain(|place| place.weight > 0);
    }
}

/// Whether to look at a request, by the chance of [`Hottest::new`].
#[inline]
pub(super) fn is_picked() -> bool {
    chance().is_multiple_of(ONE_IN)
}

/// The next number of this thread's sequence, each as likely as any other (xorshift64, Marsaglia 2003).
fn chance() -> u64 {
    thread_local! {
        // Never zero, which would stay zero.
        static STATE: Cell<u64> = Cell::new(RandomState::new().hash_one(0_u8) | 1);
    }
    STATE.with(|state| {
        let mut next = state.get();
        next ^= next << 13;
        next ^= next >> 7;
        next ^= next << 17;
        state.set(next);
        next
    })
}

/// How many keys are kept. A key with more than this part of all weight is among them.
const PLACES: usize = 128;

const ONE_IN: u64 = 64;

const HALF_LIFE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;
    use crate::{
        field::testing::at,
        key::{KeySpec, RequestHead, Tenant},
    };

    fn key(name: &str) -> CacheKey {
        let request = http::Request::get(format!("/{name}")).body(()).unwrap();
        KeySpec::new().key(RequestHead::of(&request), &Tenant::shared()).unwrap()
    }

    fn hot(name: &str, weight: u64, error: u64) -> Hot {
        Hot { key: key(name).as_str().to_owned(), weight, error }
    }

    #[test]
    fn the_hottest_come_first_and_no_more_than_asked_for() {
        let hottest = Hottest::one_in(1);
        for (name, weight) in [("a", 1), ("b", 5), ("c", 2), ("a", 2), ("d", 3)] {
            hottest.record(&key(name), weight, at(0));
        }

        assert_eq!(hottest.top(3, at(0)), [hot("b", 5, 0), hot("a", 3, 0), hot("d", 3, 0)]);
        assert_eq!(hottest.top(0, at(0)), []);
        assert_eq!(hottest.top(usize::MAX, at(0)).len(), 4);
    }

    #[test]
    fn a_key_that_only_has_the_weight_of_others_is_not_among_the_first() {
        let hottest = Hottest::one_in(1);
        for turn in 0..10_000 {
            hottest.record(&key(&turn.to_string()), 1, at(0));
            if turn % 200 == 0 {
                hottest.record(&key("again"), 1, at(0));
                hottest.record(&key("again"), 1, at(0));
            }
        }
        let found = hottest.top(2, at(0));

        assert!(found[0].key == key("again").as_str() && found[0].at_least() >= 2, "{found:?}");
        assert!(found[1].at_least() <= 1 && found[1].weight > 50, "{found:?}");
    }

    #[test]
    fn a_key_without_a_place_takes_the_least_and_its_weight_as_error() {
        let hottest = Hottest::one_in(1);
        for place in 0..PLACES {
            hottest.record(&key(&place.to_string()), 2 + place as u64, at(0));
        }
        hottest.record(&key("new"), 1_000, at(0));
        let found = hottest.top(PLACES + 1, at(0));

        assert_eq!(found.len(), PLACES);
        assert_eq!(found[0], hot("new", 1_002, 2));
        assert!(!found.contains(&hot("0", 2, 0)));
    }

    #[test]
    fn weights_are_halved_each_minute() {
        let minutes = |minutes: u64| at(minutes * 60_000);
        // When it was recorded, when it is asked for, and what is left of 100.
        let cases = [
            (minutes(0), at(59_999), 100),
            (minutes(0), minutes(1), 50),
            (minutes(0), at(119_999), 50),
            (minutes(0), minutes(2), 25),
            (minutes(0), minutes(6), 1),
            (minutes(0), minutes(7), 0),
            (minutes(0), minutes(64), 0),
            (minutes(0), minutes(1 << 30), 0),
            (minutes(9), minutes(0), 100),
        ];
        for (recorded, asked, expected) in cases {
            let hottest = Hottest::one_in(1);
            hottest.record(&key("a"), 100, recorded);
            let found: u64 = hottest.top(1, asked).iter().map(|hot| hot.weight).sum();

            assert_eq!(found, expected, "{recorded:?} {asked:?}");
        }
    }

    #[test]
    fn a_key_that_is_hot_lately_goes_before_one_that_was() {
        let hottest = Hottest::one_in(1);
        hottest.record(&key("before"), 100, at(0));
        hottest.record(&key("lately"), 60, at(90_000));
        assert_eq!(hottest.top(9, at(100_000)), [hot("lately", 60, 0), hot("before", 50, 0)]);

        // What was over the first minute counts for the second.
        assert_eq!(hottest.top(9, at(120_000)), [hot("lately", 30, 0), hot("before", 25, 0)]);
    }

    #[test]
    fn a_clock_that_is_set_back_stops_the_decay_for_a_minute_at_most() {
        let hottest = Hottest::one_in(1);
        hottest.record(&key("a"), 100, at(3_600_000));
        assert_eq!(hottest.top(1, at(0)), [hot("a", 100, 0)]);
        assert_eq!(hottest.top(1, at(60_000)), [hot("a", 50, 0)]);
    }

    #[test]
    fn a_long_key_is_kept_in_its_short_form() {
        let hottest = Hottest::one_in(1);
        let long = key(&"x".repeat(4_000));
        hottest.record(&long, 1, at(0));

        assert_eq!(hottest.top(1, at(0)), [Hot { key: long.short().into_owned(), weight: 1, error: 0 }]);
    }

    #[test]
    fn recording_does_not_wait_for_another_thread() {
        let hottest = Hottest::one_in(1);
        let held = hottest.sketch.lock().unwrap();
        hottest.record(&key("a"), 1, at(0));
        drop(held);

        assert_eq!(hottest.top(1, at(0)), []);
    }

    #[test]
    fn a_weight_that_would_overflow_stays_at_the_most() {
        let hottest = Hottest::one_in(1);
        hottest.record(&key("a"), u64::MAX, at(0));
        hottest.record(&key("a"), u64::MAX, at(0));

        assert_eq!(hottest.top(1, at(0)), [hot("a", u64::MAX, 0)]);
    }

    #[test]
    fn a_sample_counts_for_all_whatever_the_rhythm_of_requests() {
        let hottest = Hottest::new();
        let keys: Vec<_> = (0..8).map(|name| key(&name.to_string())).collect();
        for turn in 0..(1 << 20) {
            hottest.record(&keys[turn % keys.len()], 1, at(0));
        }
        let found = hottest.top(PLACES, at(0));

        assert_eq!(found.len(), keys.len());
        for hot in &found {
            // 2,048 samples are expected of each, and these are six standard deviations around that.
            assert!((112_000..=150_000).contains(&hot.weight), "{hot:?}");
        }
    }

    proptest! {
        #[test]
        fn a_key_with_more_than_its_share_is_found_and_weights_are_within_their_error(
            records in prop::collection::vec((0..400_u32, 1..50_u64), 0..1_500), favourite in 0..400_u32,
        ) {
            let hottest = Hottest::one_in(1);
            let mut exact: HashMap<String, u64> = HashMap::new();
            let mut total = 0;
            for (turn, (name, weight)) in records.iter().enumerate() {
                let name = if turn % 7 == 0 { favourite } else { *name };
                let key = key(&name.to_string());
                hottest.record(&key, *weight, at(0));
                *exact.entry(key.as_str().to_owned()).or_default() += weight;
                total += weight;
            }
            let found = hottest.top(PLACES, at(0));

            prop_assert!(found.is_sorted_by(|one, next| one.at_least() >= next.at_least()));
            for hot in &found {
                let exact = exact[&hot.key];
                prop_assert!(hot.weight >= exact && hot.weight - hot.error <= exact, "{:?} {}", hot, exact);
                prop_assert!(hot.error <= total / PLACES as u64);
            }
            for (key, weight) in &exact {
                let is_found = found.iter().any(|hot| hot.key == *key);
                prop_assert!(is_found || *weight <= total / PLACES as u64, "{} {}", key, weight);
            }
        }
    }
}
