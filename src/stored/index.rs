//! The index of the variants under a key (RFC 9111 §4.1).

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use http::HeaderName;

use crate::key::CacheKey;

/// Which request fields choose among the variants under a key, and which variants there are.
#[derive(Clone, Debug)]
pub(crate) struct VariantIndex {
    /// Sorted, each once.
    pub(crate) names: Arc<[HeaderName]>,
    pub(crate) variants: Arc<[KnownVariant]>,
    pub(crate) began: SystemTime,
    pub(crate) useful_for: Duration,
}

/// A variant that was stored: it may have been dropped since.
#[derive(Clone, Debug)]
pub(crate) struct KnownVariant {
    pub(crate) key: CacheKey,
    /// Until then it may be served without asking.
    pub(crate) until: SystemTime,
}

impl VariantIndex {
    /// The variants that may still be served.
    pub(crate) fn alive(&self, now: SystemTime) -> impl Iterator<Item = &KnownVariant> {
        self.variants.iter().filter(move |variant| now < variant.until)
    }

    pub(super) fn size_bytes(&self) -> usize {
        let variant = |variant: &KnownVariant| size_of::<KnownVariant>() + variant.key.as_str().len();
        size_of::<Self>() + 64 * self.names.len() + self.variants.iter().map(variant).sum::<usize>()
    }
}
