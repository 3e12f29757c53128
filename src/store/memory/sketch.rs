//! The frequency sketch, by which moka knows what is asked for often: made while the store is empty, as large as it has
//! to be.
//!
//! By itself moka makes it when half of the bytes are taken, for the responses that are there times the part of the bytes
//! that is taken: a quarter of those that there will be room for. It never grows. So small, it takes one key for another
//! and forgets both too soon, and what is asked for often leaves early: three to ten of a hundred requests do not hit that
//! could (`benches/stores.rs`). moka has no setting for it, and the unit of the weights makes no difference, since it
//! cancels out.
//!
//! So the moment comes early: fillers without weight go in, then a few of them weigh more than there is room for, and all
//! leave before anything is stored. They hold nothing, and nobody can ask for them.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use super::{Hashes, Held, HeldCache};
use crate::stored::{Kind, Marker, Stored};

/// The number of what was never charged.
pub(super) const FILLER: u64 = 0;

/// Has the sketch made for as many responses as there may be room for.
pub(super) fn prepare(held: &HeldCache, hashes: &Hashes, max_bytes: u64) {
    let Some(fillers) = Fillers::of(max_bytes) else { return };
    let key = |number: u64| {
        let text = Arc::from(format!("\0{number}"));
        hashes.of(&text).kept(&text)
    };
    (0..fillers.count).for_each(|number| held.insert(key(number), filler(0)));
    held.run_pending_tasks();
    // So few that moka does not look before all of them weigh what they should. Where it does, because this thread had to
    // stop for long, the sketch is smaller.
    (0..HEAVY).for_each(|number| held.insert(key(number), filler(fillers.weight)));
    held.run_pending_tasks();
    (0..fillers.count).for_each(|number| held.invalidate(&key(number)));
    held.run_pending_tasks();
}

fn filler(bytes: u32) -> Held {
    let nothing = Marker { began: SystemTime::UNIX_EPOCH, lifetime: Duration::ZERO };
    Held { stored: Stored::new(Kind::Marker(nothing)), number: FILLER, bytes }
}

/// How many there are, and what the heavy ones weigh.
#[derive(Debug, PartialEq, Eq)]
struct Fillers {
    count: u64,
    weight: u32,
}

impl Fillers {
    /// None where moka's own estimate is as good: in a small store, since there is a least size, and in a huge one.
    fn of(max_bytes: u64) -> Option<Self> {
        let responses = max_bytes / TYPICAL_BYTES;
        if responses <= LEAST {
            return None;
        }
        // moka: responses = count * (HEAVY * weight / max_bytes).
        let product = u128::from(responses) * u128::from(max_bytes) / u128::from(HEAVY);
        let count = u64::try_from(product.div_ceil(u128::from(u32::MAX))).ok()?.max(HEAVY);
        let weight = u32::try_from(product / u128::from(count)).ok()?;
        (count <= MOST).then_some(Self { count, weight })
    }
}

/// The sketch has room for one response in so many bytes. Twice that is what most pages take: the cache asks the store
/// several times before it forwards, and each time counts. Much larger a sketch would notice too late that other keys
/// are popular now.
const TYPICAL_BYTES: u64 = 8 << 10;

/// How many fillers weigh something: less than the 64 writes after which moka looks by itself.
const HEAVY: u64 = 32;

/// No sketch is made for less.
const LEAST: u64 = 128;

/// What takes a tenth of a second at most: enough for 4 GiB.
const MOST: u64 = 1 << 15;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fillers_make_moka_count_one_response_in_8_kib() {
        for max_bytes in [2 << 20, 64 << 20, 100_000_000, 1 << 30, 4 << 30] {
            let Fillers { count, weight } = Fillers::of(max_bytes).unwrap();
            // As moka 0.12.16 has it.
            let weighted = (HEAVY * u64::from(weight)) as f64;
            let capacity = count as f64 * (weighted / max_bytes as f64);

            let responses = (max_bytes / TYPICAL_BYTES) as f64;
            assert!((capacity - responses).abs() <= responses / 1_000.0, "{capacity} for {max_bytes}");
            assert!(weighted >= max_bytes as f64 / 2.0 && (HEAVY..=MOST).contains(&count));
        }
    }

    #[test]
    fn small_and_huge_stores_are_left_to_moka() {
        for max_bytes in [0, 1, 1 << 20, 8 << 30, u64::MAX] {
            assert_eq!(Fillers::of(max_bytes), None);
        }
    }
}
