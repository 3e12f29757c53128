//! What stands under one key.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::{Marker, StoredResponse, VariantIndex};

/// What a store keeps under one key: a [`StoredResponse`], the index that says which request fields choose among the
/// variants that are stored under keys of their own (RFC 9111 §4.1), or a marker that there is nothing to reuse.
///
/// A store keeps it and gives it back; it needs to know nothing of HTTP.
///
/// ```
/// use microcache::{CacheKey, Stored};
///
/// // What a bounded store counts for one of its places.
/// fn weight(key: &CacheKey, stored: &Stored) -> usize {
///     key.as_str().len() + stored.size_bytes()
/// }
/// # let _ = weight;
/// ```
#[derive(Clone, Debug)]
pub struct Stored {
    pub(crate) kind: Kind,
    /// The moment as of which it is known that no purge has ended it, where another store may know of one since.
    known: Option<Instant>,
}

#[derive(Clone, Debug)]
pub(crate) enum Kind {
    Response(StoredResponse),
    Variants(VariantIndex),
    Marker(Marker),
}

impl Stored {
    pub(crate) fn new(kind: Kind) -> Self {
        Self { kind, known: None }
    }

    /// The same, as it is known as of this moment, or of an earlier one if that was said before.
    pub(crate) fn known_at(self, at: Instant) -> Self {
        Self { known: Some(self.known.map_or(at, |known| known.min(at))), ..self }
    }

    /// The same, as it is known as of this moment whatever was said before; none if nothing is known.
    pub(crate) fn known_anew(self, at: Option<Instant>) -> Self {
        Self { known: at, ..self }
    }

    /// Whether it is known as of a moment no longer ago than this.
    pub(crate) fn is_known_within(&self, lifetime: Duration) -> bool {
        self.known.is_some_and(|known| known.elapsed() < lifetime)
    }

    /// The same under a soft fence: a response in it is stale from now on.
    pub(crate) fn softened(mut self) -> Self {
        if let Kind::Response(stored) = &mut self.kind {
            stored.is_softened = true;
        }
        self
    }

    /// The tags of a response, sorted, each once.
    pub(crate) fn tags(&self) -> &[Box<str>] {
        self.response().map(|stored| &*stored.head.tags).unwrap_or_default()
    }

    /// The marker, if it is one.
    pub(crate) fn marker(&self) -> Option<Marker> {
        match &self.kind {
            Kind::Marker(marker) => Some(*marker),
            Kind::Response(_) | Kind::Variants(_) => None,
        }
    }

    /// How many bytes of memory it takes, its place in a store apart.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        match &self.kind {
            Kind::Response(stored) => stored.size_bytes(),
            Kind::Variants(index) => index.size_bytes(),
            Kind::Marker(_) => size_of::<Marker>(),
        }
    }

    /// When its forward began. What began earlier never replaces what began later.
    #[must_use]
    pub fn began(&self) -> SystemTime {
        match &self.kind {
            Kind::Response(stored) => stored.head.began,
            Kind::Variants(index) => index.began,
            Kind::Marker(marker) => marker.began,
        }
    }

    /// The same, of the forward that brought the content of a response, whatever has confirmed it since.
    pub(crate) fn brought(&self) -> SystemTime {
        self.response().map_or(self.began(), |stored| stored.head.brought)
    }

    /// For how long, counted from the moment it is put, it can be of use. A store may drop it after that.
    #[must_use]
    pub fn useful_for(&self) -> Duration {
        match &self.kind {
            Kind::Response(stored) => stored.head.useful_for(),
            Kind::Variants(index) => index.useful_for,
            Kind::Marker(marker) => marker.lifetime,
        }
    }

    /// The stored response, unless this is the index of variants or a marker.
    #[must_use]
    pub fn response(&self) -> Option<&StoredResponse> {
        match &self.kind {
            Kind::Response(stored) => Some(stored),
            Kind::Variants(_) | Kind::Marker(_) => None,
        }
    }
}
