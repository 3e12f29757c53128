//! The fences of one tenant, or of all, as processes that share a store tell each other.

use std::collections::BTreeMap;

/// The newest fences, as milliseconds since 1970; zero where there was none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Raised {
    /// For all that the tenant has, or for everything.
    pub(crate) hard: u64,
    pub(crate) soft: u64,
    /// For single targets and tags: by a part of the hash of what they cover, below [`PLACES`].
    pub(crate) places: BTreeMap<u16, RaisedPlace>,
}

/// The newest fences for what falls into one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RaisedPlace {
    /// The rest of the hash, or [`SHARED`].
    pub(crate) check: u32,
    pub(crate) hard: u64,
    pub(crate) soft: u64,
}

/// How many places there are.
pub(crate) const PLACES: u16 = 1_024;

/// In place of a check: they are for all that falls into the place.
pub(crate) const SHARED: u32 = 0;
