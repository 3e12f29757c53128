//! Leaks that are planted on purpose, around the cache and not in it: the checker has to find each.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use http::{HeaderMap, HeaderValue, header};
use microcache::{CacheKey, Clock, Fence, Lease, MemoryStore, Peek, Put, Store, StoreError, Stored};

use crate::checker::Rule;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leak {
    /// The store answers with what it has for another tenant.
    OtherTenants,
    /// The store overlooks the query.
    OtherQueries,
    /// The store overlooks the path.
    OtherPaths,
    /// The store gives another variant than the one that it was asked for.
    OtherVariants,
    /// The store answers with what it has for another user.
    OtherPrincipals,
    /// The cache does not see what a response varies on.
    NoVary,
    /// The cache does not see that a response is private, or sets a cookie.
    NotPrivate,
    /// The cache does not see who asks, and the origin does.
    HiddenCredentials,
    /// Unsafe requests do not come through the cache.
    UnseenChanges,
    /// Purges do not come through.
    IgnoredPurges,
    /// Time stands still for the cache.
    FrozenClock,
    /// The origin takes every entity tag for the current one.
    AnyTagHolds,
    /// A forward brings the content of the one before.
    SwappedBodies,
    /// Bodies end too early, and nothing tells.
    TruncatedBodies,
}

impl Leak {
    pub(crate) const ALL: [Self; 14] = [
        Self::OtherTenants,
        Self::OtherQueries,
        Self::OtherPaths,
        Self::OtherVariants,
        Self::OtherPrincipals,
        Self::NoVary,
        Self::NotPrivate,
        Self::HiddenCredentials,
        Self::UnseenChanges,
        Self::IgnoredPurges,
        Self::FrozenClock,
        Self::AnyTagHolds,
        Self::SwappedBodies,
        Self::TruncatedBodies,
    ];

    /// The rule that is broken. None: the cache does not believe its store in this.
    pub(crate) fn breaks(self) -> Option<Rule> {
        Some(match self {
            Self::OtherTenants | Self::OtherQueries | Self::OtherPaths => Rule::Key,
            Self::OtherVariants => return None,
            Self::OtherPrincipals => Rule::Principal,
            Self::NoVary => Rule::Variant,
            Self::NotPrivate => Rule::Private,
            Self::HiddenCredentials => Rule::Credentials,
            Self::UnseenChanges => Rule::Invalidated,
            Self::IgnoredPurges => Rule::Purged,
            Self::FrozenClock => Rule::Stale,
            Self::AnyTagHolds => Rule::Confirmed,
            Self::SwappedBodies | Self::TruncatedBodies => Rule::Content,
        })
    }

    /// Changes what the cache sees of a response.
    pub(crate) fn at_origin(self, headers: &mut HeaderMap) {
        match self {
            Self::NoVary => _ = headers.remove(header::VARY),
            Self::NotPrivate => {
                headers.remove(header::SET_COOKIE);
                headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=2"));
            }
            _ => {}
        }
    }

    /// What a store overlooks in the text of a key: all that has the same rest is one.
    fn overlooks(self, key: &str) -> Option<String> {
        let (tenant, rest) = key.split_once('|').unwrap();
        match self {
            Self::OtherTenants => Some(rest.to_owned()),
            Self::OtherQueries => {
                let (before, query) = key.split_once('?')?;
                Some(format!("{before}{}", query.find('|').map_or("", |at| &query[at..])))
            }
            Self::OtherPaths => {
                let authority = rest.split('|').nth(1).unwrap();
                let fields = rest.splitn(4, '|').nth(3).unwrap_or_default();
                Some(format!("{tenant}|{authority}|{fields}"))
            }
            Self::OtherVariants => {
                let at = [key.find("|n:"), key.find("|v:")].into_iter().flatten().min()?;
                Some(format!("{}|variant", &key[..at]))
            }
            Self::OtherPrincipals => {
                let (before, principal) = key.split_once("|p:")?;
                Some(format!("{before}{}", principal.find('|').map_or("", |at| &principal[at..])))
            }
            _ => None,
        }
    }
}

/// What a request had in the fields that the cache must not see.
#[derive(Clone, Debug)]
pub(crate) struct Hidden(pub(crate) HeaderMap);

impl Hidden {
    pub(crate) fn take_from(headers: &mut HeaderMap) -> Self {
        let mut hidden = HeaderMap::new();
        for name in [header::AUTHORIZATION, header::COOKIE] {
            hidden.extend(headers.remove(&name).map(|value| (name, value)));
        }
        Self(hidden)
    }
}

/// A clock that stands still.
#[derive(Debug)]
pub(crate) struct Frozen(pub(crate) SystemTime);

impl Clock for Frozen {
    fn now(&self) -> SystemTime {
        self.0
    }
}

/// A store that answers with what it has under a key that only looks like the right one.
#[derive(Clone)]
pub(crate) struct Mixed {
    store: MemoryStore,
    leak: Leak,
    alike: Arc<Mutex<HashMap<String, Stored>>>,
}

impl Mixed {
    pub(crate) fn new(store: MemoryStore, leak: Leak) -> Self {
        Self { store, leak, alike: Arc::default() }
    }

    fn alike(&self, key: &CacheKey) -> Option<Stored> {
        self.alike.lock().unwrap().get(&self.leak.overlooks(key.as_str())?).cloned()
    }
}

impl Store for Mixed {
    fn peek(&self, key: &CacheKey) -> Peek {
        self.alike(key).map_or_else(|| self.store.peek(key), Peek::Found)
    }

    async fn get(&self, key: &CacheKey) -> Result<Option<Stored>, StoreError> {
        match self.alike(key) {
            Some(stored) => Ok(Some(stored)),
            None => self.store.get(key).await,
        }
    }

    async fn put(&self, key: &CacheKey, stored: Stored) -> Result<Put, StoreError> {
        if let Some(alike) = self.leak.overlooks(key.as_str()) {
            self.alike.lock().unwrap().insert(alike, stored.clone());
        }
        self.store.put(key, stored).await
    }

    async fn remove(&self, key: &CacheKey) -> Result<(), StoreError> {
        if let Some(alike) = self.leak.overlooks(key.as_str()) {
            self.alike.lock().unwrap().remove(&alike);
        }
        self.store.remove(key).await
    }

    async fn fence(&self, fence: &Fence) -> Result<(), StoreError> {
        self.store.fence(fence).await
    }

    fn is_shared(&self) -> bool {
        self.store.is_shared()
    }

    async fn lease(&self, key: &CacheKey, lifetime: Duration) -> Result<Lease, StoreError> {
        self.store.lease(key, lifetime).await
    }
}
