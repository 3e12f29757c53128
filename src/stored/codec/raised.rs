//! Fences.

use serde::{Deserialize, Serialize};

use super::{from_bytes, to_bytes};
use crate::stored::raised::{PLACES, Raised, RaisedPlace};

/// [`Raised`] as it is written.
#[derive(Serialize, Deserialize)]
struct Head {
    hard: u64,
    soft: u64,
    /// In ascending order.
    places: Vec<Place>,
}

#[derive(Serialize, Deserialize)]
struct Place {
    place: u16,
    check: u32,
    hard: u64,
    soft: u64,
}

pub(super) fn write(raised: &Raised) -> Vec<u8> {
    let place = |(&place, &RaisedPlace { check, hard, soft }): (&u16, &RaisedPlace)| Place { place, check, hard, soft };
    to_bytes(&Head { hard: raised.hard, soft: raised.soft, places: raised.places.iter().map(place).collect() })
}

pub(super) fn read(bytes: &[u8]) -> Option<Raised> {
    let Head { hard, soft, places } = from_bytes(bytes)?;
    let is_written_so = places.is_sorted_by(|one, other| one.place < other.place)
        && places.last().is_none_or(|last| last.place < PLACES);
    let place = |Place { place, check, hard, soft }| (place, RaisedPlace { check, hard, soft });
    is_written_so.then(|| Raised { hard, soft, places: places.into_iter().map(place).collect() })
}
