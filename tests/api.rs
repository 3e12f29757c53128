//! What the public types promise to the code around them.

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use microcache::{
    BodyError, Cache, CacheBody, CacheHandle, CacheKey, CacheLayer, CacheLayerBuilder, CacheStatus, Collapse,
    CollapseLayer, ConfigError, KeySpec, MemoryStore, MemoryStoreBuilder, OverrideRule, Policy, Principal, Purge,
    PurgeError, PurgeOf, Purged, QueryRule, ResponseFuture, Scope, Stats, StoreError, Stored, StoredResponse, Tenancy,
    Tenant, TenantFuture, TenantLayer, TenantLayerBuilder, TenantLimits, TenantService,
};

type Origin = tower::util::BoxCloneSyncService<Request<Full<Bytes>>, Response<Full<Bytes>>, std::io::Error>;

#[test]
fn everything_can_be_sent_and_shared() {
    fn is_shareable<T: Send + Sync + Unpin + 'static>() {}
    fn is_sendable<T: Send + 'static>() {}
    is_shareable::<BodyError>();
    is_shareable::<Cache<Origin>>();
    is_shareable::<CacheHandle>();
    is_shareable::<CacheKey>();
    is_shareable::<CacheLayer>();
    is_shareable::<CacheLayerBuilder>();
    is_shareable::<CacheStatus>();
    is_shareable::<Collapse>();
    is_shareable::<CollapseLayer>();
    is_shareable::<ConfigError>();
    is_shareable::<KeySpec>();
    is_shareable::<MemoryStore>();
    is_shareable::<MemoryStoreBuilder>();
    is_shareable::<OverrideRule>();
    is_shareable::<Policy>();
    is_shareable::<Principal>();
    is_shareable::<Purge>();
    is_shareable::<PurgeError>();
    is_shareable::<PurgeOf>();
    is_shareable::<Purged>();
    is_shareable::<QueryRule>();
    is_shareable::<Scope>();
    is_shareable::<Stats>();
    is_shareable::<StoreError>();
    is_shareable::<Stored>();
    is_shareable::<StoredResponse>();
    is_shareable::<Tenancy>();
    is_shareable::<Tenant>();
    is_shareable::<TenantLimits>();
    is_shareable::<TenantFuture<std::future::Ready<()>>>();
    is_shareable::<TenantLayer>();
    is_shareable::<TenantLayerBuilder>();
    is_shareable::<TenantService<Origin>>();
    is_sendable::<CacheBody<Full<Bytes>>>();
    is_sendable::<ResponseFuture<Origin, Full<Bytes>, Full<Bytes>>>();
}

#[test]
fn a_layer_can_be_named_kept_and_returned() {
    struct Application {
        cache: CacheLayer,
    }
    fn cache() -> CacheLayer {
        CacheLayer::new(MemoryStore::with_max_bytes(1 << 20))
    }
    let application = Application { cache: cache() };
    assert!(!application.cache.handle().is_paused());
}

#[test]
fn debug_says_what_it_is_and_shows_nobodys_data() {
    let layer = CacheLayer::new(MemoryStore::with_max_bytes(1 << 20));
    let texts = [
        format!("{layer:?}"),
        format!("{:?}", layer.handle()),
        format!("{:?}", CollapseLayer::new()),
        format!("{:?}", CacheLayer::builder(MemoryStore::with_max_bytes(1))),
        format!("{:?}", CacheBody::<Full<Bytes>>::from(Bytes::from_static(b"secret"))),
        format!("{:?}", Policy::new().bypass_when(|_| true)),
        format!("{:?}", Tenancy::from_fn(|_| Tenant::shared())),
        format!("{:?}", TenantLayer::new(Tenancy::host())),
        format!("{:?}", TenantLayer::builder(Tenancy::host())),
        format!("{:?}", Purge::tag("secret").tenant(Tenant::named("secret"))),
        format!("{:?}", Purge::url("https://shop.example/secret").soft()),
        format!("{:?}", Principal::from_fn(|_| Some("secret".into()))),
    ];
    for text in texts {
        assert!(text.len() > 8 && !text.contains("secret"), "{text}");
    }
}

#[test]
fn a_setting_that_can_not_work_is_an_error_that_names_it() {
    let builder = || CacheLayer::builder(MemoryStore::with_max_bytes(1 << 20));
    let table = [
        (builder().route("no/slash/{", Policy::new()), "route"),
        (builder().route("/a/{b}", Policy::new()).route("/a/{c}", Policy::new()), "route"),
        (builder().store_deadline(std::time::Duration::ZERO), "store_deadline"),
    ];
    for (builder, setting) in table {
        let error = builder.build().unwrap_err();
        assert_eq!(error.setting(), setting);
        assert!(error.to_string().starts_with(&format!("setting `{setting}`: ")), "{error}");
    }
}
