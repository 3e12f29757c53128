//! The head of a marker.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{from_bytes, to_bytes, units};
use crate::stored::{Marker, Why};

/// [`Marker`] as it is written: its time and its lifetime in milliseconds.
#[derive(Serialize, Deserialize)]
struct Head {
    began: u64,
    lifetime: u64,
    why: u8,
}

pub(super) fn write(marker: &Marker) -> Vec<u8> {
    let Marker { began, lifetime, why } = *marker;
    to_bytes(&match why {
        Why::NotReusable => Head { began: units::millis(began), lifetime: units::at_most(lifetime), why: NOT_REUSABLE },
        // RFC 9111 §4.4: it covers no less than it did, for no less time.
        Why::Invalidated => {
            Head { began: units::millis_rounded_up(began), lifetime: units::at_least(lifetime), why: INVALIDATED }
        }
    })
}

pub(super) fn read(bytes: &[u8]) -> Option<Marker> {
    let head: Head = from_bytes(bytes)?;
    let why = match head.why {
        NOT_REUSABLE => Why::NotReusable,
        INVALIDATED => Why::Invalidated,
        _ => return None,
    };
    Some(Marker { began: units::time(head.began)?, lifetime: Duration::from_millis(head.lifetime), why })
}

const NOT_REUSABLE: u8 = 0;
const INVALIDATED: u8 = 1;
