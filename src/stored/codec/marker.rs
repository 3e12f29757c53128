//! The head of a marker.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{from_bytes, to_bytes, units};
use crate::stored::Marker;

/// [`Marker`] as it is written: its time and its lifetime in milliseconds.
#[derive(Serialize, Deserialize)]
struct Head {
    began: u64,
    lifetime: u64,
}

pub(super) fn write(marker: &Marker) -> Vec<u8> {
    let Marker { began, lifetime } = *marker;
    to_bytes(&Head { began: units::millis(began), lifetime: units::at_most(lifetime) })
}

pub(super) fn read(bytes: &[u8]) -> Option<Marker> {
    let head: Head = from_bytes(bytes)?;
    Some(Marker { began: units::time(head.began)?, lifetime: Duration::from_millis(head.lifetime) })
}
