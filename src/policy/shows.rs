//! What is said of the cache: to clients in `Cache-Status`, to the operator in what is counted.

use std::sync::Arc;

use super::Policy;

/// Where a response says what the cache did with its request (RFC 9211).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum CacheStatusMode {
    /// In its `Cache-Status` field, where [`CacheStatus::of`](crate::CacheStatus::of) finds it, too. The default.
    #[default]
    On,
    /// In its extensions alone, for layers outside of the cache: clients do not see it.
    ExtensionOnly,
    /// Nowhere.
    Off,
}

/// What a policy lets be seen.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shows {
    label: Option<Arc<str>>,
    pub(crate) mode: CacheStatusMode,
    pub(crate) key: bool,
}

impl Shows {
    /// What most policies show.
    #[inline]
    pub(crate) fn is_plain(&self) -> bool {
        self.mode == CacheStatusMode::On && !self.key
    }
}

impl Policy {
    /// Names the route that this policy is for, in what is counted of it and where it is paused. Default: the path
    /// given to [`CacheLayerBuilder::route`](crate::CacheLayerBuilder::route), or `default`.
    ///
    /// Policies of one name are counted, and paused, together.
    pub fn label(mut self, name: impl Into<Arc<str>>) -> Self {
        self.shows.label = Some(name.into());
        self
    }

    /// Sets where a response says what the cache did. Default: [`CacheStatusMode::On`]. What caches nearer to the origin
    /// have said stays.
    pub fn cache_status(mut self, mode: CacheStatusMode) -> Self {
        self.shows.mode = mode;
        self
    }

    /// Adds the key of the request to its `Cache-Status` field, in its [short form](crate::CacheKey::short) (RFC 9211
    /// §2.7). Default: never shown, since it tells clients of tenants, principals and whatever else is part of it.
    pub fn cache_status_with_key(mut self) -> Self {
        self.shows.key = true;
        self
    }

    /// The name of the route.
    pub(super) fn label_or<'a>(&'a self, name: &'a str) -> &'a str {
        self.shows.label.as_deref().unwrap_or(name)
    }
}
