#![doc = include_str!("docs/crate.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![deny(clippy::disallowed_methods)]

mod body;
mod clock;
mod collapse;
mod field;
mod handle;
mod key;
mod layers;
mod observe;
mod policy;
mod rfc9111;
mod service;
mod status;
mod store;
mod stored;

#[cfg(any(test, feature = "test-util"))]
pub use self::clock::ManualClock;
#[cfg(feature = "memory")]
pub use self::store::MemoryStore;
#[cfg(any(test, feature = "test-util"))]
pub use self::store::contract;
#[cfg(feature = "memcached")]
pub use self::store::{MemcachedStore, MemcachedStoreBuilder, Placement};
pub use self::{
    body::{BodyError, CacheBody, RequestContent},
    clock::Clock,
    collapse::{Collapse, Overflow},
    handle::CacheHandle,
    key::{CacheKey, Content, KeySpec, QueryRule, RequestHead, Tenancy, Tenant},
    layers::{CacheLayer, CacheLayerBuilder, CollapseLayer, ConfigError},
    observe::Stats,
    policy::{Freshness, Policy, Scope},
    service::{Cache, ResponseFuture},
    status::{CacheStatus, ForwardReason},
    store::{Fence, Lease, LeaseGuard, Peek, Put, Store, StoreError, StoreErrorKind, Tiered},
    stored::{Stored, StoredResponse},
};

#[cfg(doc)]
#[doc = include_str!("docs/deviations.md")]
pub mod deviations {}

#[cfg(doc)]
#[doc = include_str!("docs/fleet.md")]
pub mod fleet {}

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
