//! A fence: the moment of a purge, and what it covers.

use std::{fmt, sync::Arc, time::SystemTime};

use crate::key::{CacheKey, Tenant};

/// The moment of a purge or an invalidation: what it covers and began then, or before, is not to be used any more.
///
/// It covers the target URI of one key, what has a tag, what a tenant has, or everything. What a *hard* fence covers is
/// as good as gone. What a *soft* one covers is stale from then on. The cache makes fences; a store is told of them by
/// [`Store::fence`](crate::Store::fence).
///
/// ```
/// use microcache::{CacheKey, Fence, Put, Store, StoreError, Stored};
///
/// struct Mine;
///
/// impl Store for Mine {
///     // What the default does.
///     async fn fence(&self, fence: &Fence) -> Result<(), StoreError> {
///         match fence.key() {
///             Some(key) if !fence.is_soft() => self.remove(key).await,
///             _ => Ok(()),
///         }
///     }
/// #   async fn get(&self, _: &CacheKey) -> Result<Option<Stored>, StoreError> { Ok(None) }
/// #   async fn put(&self, _: &CacheKey, _: Stored) -> Result<Put, StoreError> { Ok(Put::Declined) }
/// #   async fn remove(&self, _: &CacheKey) -> Result<(), StoreError> { Ok(()) }
/// }
/// ```
#[derive(Clone)]
pub struct Fence {
    covers: Covers,
    at: SystemTime,
    is_soft: bool,
}

/// What a fence covers. Tenants are named as in keys.
#[derive(Clone, Debug)]
pub(crate) enum Covers {
    /// The target URI of this key, whatever the method, the fields and the content in it (RFC 9111 §4.4).
    Target(CacheKey),
    /// What this tenant has that has this tag.
    Tag {
        tenant: String,
        tag: Arc<str>,
    },
    /// What this tenant has.
    Tenant(String),
    All,
}

/// The same, as it is compared.
#[derive(Clone, Copy, Hash)]
pub(super) enum Scope<'a> {
    /// As [`CacheKey::target`] has it.
    Target(&'a str, &'a str, &'a str),
    /// A tenant and a tag.
    Tag(&'a str, &'a str),
    Tenant(&'a str),
    All,
}

/// What a fence does to what it covers. Of two, the lesser counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Cover {
    /// It is as good as gone.
    Hard,
    /// It is stale.
    Soft,
}

impl Cover {
    /// What the fences do to content that was asked for at `brought`, and confirmed by what was asked for at `began`.
    /// `by` says it of one moment. What is confirmed after a soft fence is fresh again. What a hard one covers is not to
    /// be confirmed: somebody has done so who did not know of it yet.
    pub(crate) fn of_confirmed(
        brought: SystemTime,
        began: SystemTime,
        by: impl Fn(SystemTime) -> Option<Self>,
    ) -> Option<Self> {
        match by(brought) {
            Some(Self::Soft) => by(began),
            other => other,
        }
    }
}

impl Fence {
    pub(crate) fn new(covers: Covers, at: SystemTime, is_soft: bool) -> Self {
        Self { covers, at, is_soft }
    }

    /// Covers the target URI of a key from this moment on. As those below, for tests of a store: the cache makes its own.
    #[must_use]
    pub fn target(key: &CacheKey, at: SystemTime) -> Self {
        Self::new(Covers::Target(key.clone()), at, false)
    }

    /// Covers what a tenant has that has this tag.
    #[must_use]
    pub fn tag(tenant: &Tenant, tag: &str, at: SystemTime) -> Self {
        Self::new(Covers::Tag { tenant: tenant.in_key(), tag: tag.into() }, at, false)
    }

    /// Covers what a tenant has.
    #[must_use]
    pub fn tenant(tenant: &Tenant, at: SystemTime) -> Self {
        Self::new(Covers::Tenant(tenant.in_key()), at, false)
    }

    /// Covers everything.
    #[must_use]
    pub fn all(at: SystemTime) -> Self {
        Self::new(Covers::All, at, false)
    }

    /// The same, softly.
    #[must_use]
    pub fn soft(self) -> Self {
        Self { is_soft: true, ..self }
    }

    /// What began then, or before, is covered.
    #[must_use]
    pub fn at(&self) -> SystemTime {
        self.at
    }

    /// Whether what it covers is stale, and not gone.
    #[must_use]
    pub fn is_soft(&self) -> bool {
        self.is_soft
    }

    /// The key whose target URI it covers; none if it covers a tag, a tenant or everything. What is stored under other
    /// keys of the same target is covered, too.
    #[must_use]
    pub fn key(&self) -> Option<&CacheKey> {
        match &self.covers {
            Covers::Target(key) => Some(key),
            Covers::Tag { .. } | Covers::Tenant(_) | Covers::All => None,
        }
    }

    pub(super) fn scope(&self) -> Scope<'_> {
        match &self.covers {
            Covers::Target(key) => Scope::of_target(key),
            Covers::Tag { tenant, tag } => Scope::Tag(tenant, tag),
            Covers::Tenant(tenant) => Scope::Tenant(tenant),
            Covers::All => Scope::All,
        }
    }
}

impl<'a> Scope<'a> {
    pub(super) fn of_target(key: &'a CacheKey) -> Self {
        let (tenant, authority, path) = key.target();
        Self::Target(tenant, authority, path)
    }

    /// None for all tenants.
    #[cfg(feature = "memcached")]
    pub(super) fn tenant(&self) -> Option<&'a str> {
        match *self {
            Self::Target(tenant, ..) | Self::Tag(tenant, _) | Self::Tenant(tenant) => Some(tenant),
            Self::All => None,
        }
    }

    /// All that cover what is stored under `key` with these tags.
    pub(super) fn all_of(key: &'a CacheKey, tags: &'a [Box<str>]) -> impl Iterator<Item = Self> {
        let (tenant, ..) = key.target();
        let of_tags = tags.iter().map(move |tag| Self::Tag(tenant, tag));
        [Self::of_target(key), Self::Tenant(tenant), Self::All].into_iter().chain(of_tags)
    }
}

/// Nobody's data.
impl fmt::Debug for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fence").field("at", &self.at).field("is_soft", &self.is_soft).finish_non_exhaustive()
    }
}
