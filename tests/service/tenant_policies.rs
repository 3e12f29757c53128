//! Policies that tenants have of their own.

use std::sync::{Arc, Mutex};

use microcache::{CacheLayer, CacheLayerBuilder, KeySpec, MemoryStore, Policy, QueryRule, Tenancy, Tenant};
use tower::Layer;

use crate::common::*;

fn tenants() -> CacheLayerBuilder {
    CacheLayer::builder(MemoryStore::with_max_bytes(1 << 20)).clock(microcache::ManualClock::new()).tenant(
        Tenancy::from_fn(|head| match head.headers().get("x-tenant") {
            Some(name) => Tenant::named(name.to_str().unwrap()),
            None => Tenant::unidentified(),
        }),
    )
}

fn lasting(seconds: u32) -> Policy {
    Policy::new().default_freshness(seconds * SECOND)
}

fn of(tenant: &str, path: &str) -> Ask {
    get_with(path, &[("x-tenant", tenant)])
}

#[tokio::test]
async fn a_tenants_policy_goes_before_the_default_and_a_routes_before_the_tenants() {
    let own = Arc::new(lasting(5));
    let layer = tenants()
        .policy(lasting(1))
        .route("/reports/{id}", lasting(30))
        .policy_for(move |tenant| (tenant.name() == Some("acme")).then(|| Arc::clone(&own)))
        .build()
        .unwrap();
    let origin = Origin::default();
    let (mut cache, mut routed) = (layer.layer(origin.clone()), layer.with_policy(lasting(60)).layer(origin.clone()));

    let table = [("acme", "/", 5), ("acme", "/reports/7", 30), ("other", "/", 1), ("other", "/reports/7", 30)];
    for (tenant, path, seconds) in table {
        origin.queue([ok("page")]);
        let said = status(&ask(&mut cache, of(tenant, path)).await);
        assert_eq!(said, format!("fwd=uri-miss; fwd-status=200; ttl={seconds}; stored"), "{tenant} {path}");
    }
    origin.queue([ok("page")]);
    assert!(status(&ask(&mut routed, of("acme", "/routed")).await).contains("ttl=60"));
}

#[tokio::test]
async fn a_policy_that_is_swapped_holds_from_the_next_request_on() {
    let snapshot = Arc::new(Mutex::new(Arc::new(lasting(5))));
    let swapped = Arc::clone(&snapshot);
    let layer = tenants().policy_for(move |_| Some(Arc::clone(&snapshot.lock().unwrap()))).build().unwrap();
    let origin = Origin::default();
    let mut cache = layer.layer(origin.clone());
    origin.queue([ok("page"), ok("page")]);

    assert!(status(&ask(&mut cache, of("acme", "/1")).await).contains("ttl=5"));
    *swapped.lock().unwrap() = Arc::new(lasting(7));
    assert!(status(&ask(&mut cache, of("acme", "/2")).await).contains("ttl=7"));
}

#[tokio::test]
async fn who_is_not_identified_has_no_policy_and_is_not_answered_from_the_store() {
    let layer = tenants().policy_for(|_| panic!("nobody has a policy")).build().unwrap();
    let origin = Origin::default();
    let mut cache = layer.layer(origin.clone());
    for _ in 0..2 {
        origin.queue([ok("page")]);
        assert_eq!(status(&ask(&mut cache, get("/")).await), "fwd=bypass; detail=tenant");
    }
}

#[tokio::test]
async fn an_unsafe_method_invalidates_under_the_key_of_the_tenants_own_policy() {
    let own = Arc::new(lasting(60).key(KeySpec::new().query(QueryRule::ignore())));
    let layer = tenants().policy_for(move |_| Some(Arc::clone(&own))).build().unwrap();
    let origin = Origin::default();
    let mut cache = layer.layer(origin.clone());
    origin.queue([ok("old"), ok("changed"), ok("new")]);
    ask(&mut cache, of("acme", "/?a=1")).await;
    assert_eq!(status(&ask(&mut cache, of("acme", "/?a=2")).await), "hit; ttl=60");

    ask(&mut cache, request("POST", "/?a=3", &[("x-tenant", "acme")])).await;

    assert_eq!(text(ask(&mut cache, of("acme", "/?a=1")).await).await.unwrap(), "new");
}
