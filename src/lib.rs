#![doc = include_str!("docs/crate.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![deny(clippy::disallowed_methods)]

#[cfg(feature = "admin")]
mod admin;
mod body;
mod clock;
mod collapse;
mod field;
mod handle;
mod key;
mod layers;
mod observe;
mod policy;
mod purge;
mod rfc9111;
mod service;
mod status;
mod store;
mod stored;

#[cfg(feature = "admin")]
pub use self::admin::{AdminBody, AdminService, AdminServiceBuilder};
#[cfg(any(test, feature = "test-util"))]
pub use self::clock::ManualClock;
#[cfg(any(test, feature = "test-util"))]
pub use self::store::contract;
#[cfg(feature = "memcached")]
pub use self::store::{MemcachedStore, MemcachedStoreBuilder, Placement};
#[cfg(feature = "memory")]
pub use self::store::{MemoryStore, MemoryStoreBuilder};
pub use self::{
    body::{BodyError, CacheBody, RequestContent},
    clock::Clock,
    collapse::{Collapse, Overflow, TenantLimits},
    handle::CacheHandle,
    key::{CacheKey, Content, KeySpec, OverrideRule, Principal, QueryRule, RequestHead, Tenancy, Tenant},
    layers::{
        CacheLayer, CacheLayerBuilder, CollapseLayer, ConfigError, TenantFuture, TenantLayer, TenantLayerBuilder,
        TenantService,
    },
    observe::{Event, Gauges, Happened, HotKey, Latencies, Latency, Requests, RouteStats, Stats, TenantStats},
    policy::{CacheStatusMode, Freshness, Policy, Scope, TagField, Tags},
    purge::{Purge, PurgeError, PurgeErrorKind, PurgeOf, Purged},
    service::{Cache, ResponseFuture},
    status::{CacheStatus, ForwardReason},
    store::{
        BreakerState, Fence, Lease, LeaseGuard, Peek, Put, Reach, ServerState, ServerWatch, Store, StoreError,
        StoreErrorKind, StoreSize, Tiered,
    },
    stored::{Stored, StoredResponse},
};

#[cfg(doc)]
#[doc = include_str!("docs/deviations.md")]
pub mod deviations {}

#[cfg(doc)]
#[doc = include_str!("docs/fleet.md")]
pub mod fleet {}

#[cfg(doc)]
#[doc = include_str!("docs/performance.md")]
#[doc = include_str!("../docs/requests.svg")]
pub mod performance {}

#[cfg(doc)]
#[doc = include_str!("docs/threats.md")]
pub mod threats {}

#[cfg(doc)]
#[doc = include_str!("docs/metrics.md")]
pub mod metrics {}

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
