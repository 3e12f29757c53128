//! Sightings: how often a key was asked for lately, about.
//!
//! A count-min sketch of 4-bit counters, halved word by word as it is used: bounded, never locked, and never far off. Keys
//! that share counters are taken for one another now and then; that stores a response too many, it never serves one.

use std::{
    collections::hash_map::RandomState,
    fmt,
    hash::BuildHasher,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use crate::key::CacheKey;

/// The sightings of one cache, by a secretly seeded hash of the key.
#[derive(Default)]
pub(crate) struct Sightings {
    /// Made for the first sighting.
    sketch: OnceLock<Sketch>,
    hasher: RandomState,
}

struct Sketch {
    /// Sixteen counters each.
    words: Box<[AtomicU64]>,
    /// How many words were halved so far.
    halved: AtomicU64,
}

impl Sightings {
    /// The key was asked for.
    pub(crate) fn add(&self, key: &CacheKey) {
        let sketch = self.sketch.get_or_init(|| Sketch {
            words: (0..WORDS).map(|_| AtomicU64::new(0)).collect(),
            halved: AtomicU64::new(0),
        });
        sketch.age();
        let hash = self.hasher.hash_one(key);
        // Without the word it is as it was: all counters at their most.
        let _ = sketch.word(hash).fetch_update(Relaxed, Relaxed, |word| added(word, counters(hash)));
    }

    /// How often the key was asked for lately, at most [`MOST_SIGHTINGS`].
    pub(crate) fn of(&self, key: &CacheKey) -> u8 {
        let Some(sketch) = self.sketch.get() else { return 0 };
        let hash = self.hasher.hash_one(key);
        least(sketch.word(hash).load(Relaxed), counters(hash))
    }
}

impl Sketch {
    /// Halves the next words: each one, once in [`WINDOW`] sightings.
    fn age(&self) {
        let first = self.halved.fetch_add(HALVED_AT_ONCE, Relaxed);
        for number in first..first.wrapping_add(HALVED_AT_ONCE) {
            let _ = self.word(number).fetch_update(Relaxed, Relaxed, |word| Some((word >> 1) & LOWER_BITS));
        }
    }

    fn word(&self, hash: u64) -> &AtomicU64 {
        // WORDS is a power of two.
        &self.words[usize::try_from(hash & (WORDS - 1)).unwrap_or(0)]
    }
}

/// Where in its word the four counters of a key are: one in each quarter.
fn counters(hash: u64) -> [u32; 4] {
    // Bits that did not choose the word.
    [0, 1, 2, 3].map(|quarter| quarter * 16 + ((hash >> (40 + 2 * quarter)) & 3) as u32 * 4)
}

fn least(word: u64, counters: [u32; 4]) -> u8 {
    counters.into_iter().map(|at| ((word >> at) & 15) as u8).min().unwrap_or_default()
}

/// One more, in those counters only that say the least; none if that is the most there is.
fn added(word: u64, counters: [u32; 4]) -> Option<u64> {
    let least = least(word, counters);
    let lagging = counters.into_iter().filter(|at| ((word >> at) & 15) as u8 == least);
    (least < MOST_SIGHTINGS).then(|| lagging.fold(word, |word, at| word + (1 << at)))
}

impl fmt::Debug for Sightings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sightings").finish_non_exhaustive()
    }
}

/// What four bits can count.
pub(super) const MOST_SIGHTINGS: u8 = 15;

/// Two mebibytes: at most one key in two words, so that one in some hundreds is taken for another.
const WORDS: u64 = 1 << 18;
const HALVED_AT_ONCE: u64 = WORDS / WINDOW;
/// Lately: among so many requests that were not answered from the store.
const WINDOW: u64 = 1 << 17;
/// All bits of each counter but its highest.
const LOWER_BITS: u64 = 0x7777_7777_7777_7777;

#[cfg(test)]
mod tests {
    use http::Request;
    use proptest::prelude::*;

    use super::*;
    use crate::key::{KeySpec, RequestHead, Tenant};

    fn key(number: u64) -> CacheKey {
        let request = Request::get(format!("/{number}")).header("host", "shop.example").body(()).unwrap();
        KeySpec::new().key(RequestHead::of(&request), &Tenant::shared()).unwrap()
    }

    #[test]
    fn a_key_was_seen_as_often_as_it_was_asked_for() {
        let sightings = Sightings::default();
        assert_eq!(sightings.of(&key(1)), 0);
        for times in 1..=20 {
            sightings.add(&key(1));
            // Halved once at most, if its word was among the first.
            assert!((times / 2..=times).contains(&sightings.of(&key(1))) || sightings.of(&key(1)) == MOST_SIGHTINGS);
        }
    }

    #[test]
    fn of_a_flood_of_one_offs_hardly_any_is_taken_for_known_and_what_is_asked_for_often_is() {
        let sightings = Sightings::default();
        let (mut known, mut hot) = (0, 0);
        for number in 0..200_000 {
            let one_off = key(1_000 + number);
            sightings.add(&one_off);
            known += u32::from(sightings.of(&one_off) >= 2);
            if number % 1_000 == 0 {
                sightings.add(&key(1));
                hot += u32::from(sightings.of(&key(1)) >= 2);
            }
        }

        assert!(known < 2_000, "{known} of 200,000");
        assert!(hot >= 190, "{hot} of 200");
    }

    #[test]
    fn what_was_asked_for_long_ago_is_forgotten() {
        let sightings = Sightings::default();
        (0..15).for_each(|_| sightings.add(&key(1)));
        for _ in 0..4 * WINDOW {
            sightings.add(&key(2));
        }

        assert!(sightings.of(&key(1)) <= 1);
    }

    proptest! {
        #[test]
        fn one_more_is_one_more_and_touches_no_other_counter(word in any::<u64>(), hash in any::<u64>()) {
            let at = counters(hash);
            match added(word, at) {
                None => prop_assert_eq!(least(word, at), MOST_SIGHTINGS),
                Some(after) => {
                    prop_assert_eq!(least(after, at), least(word, at) + 1);
                    let others = at.iter().fold(u64::MAX, |mask, at| mask & !(15 << at));
                    prop_assert_eq!(after & others, word & others);
                }
            }
        }
    }
}
