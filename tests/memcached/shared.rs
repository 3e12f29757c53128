//! Several processes, one store: each cache here stands for a process.

use std::time::{Duration, SystemTime};

use microcache::{CacheLayer, Clock, ManualClock, MemcachedStore, MemoryStore, Policy, Store, Tiered, contract};
use tower::Layer;

use crate::{
    common::{Origin, TestCache, ask, get, get_with, ok, reply, request, settle, status, text},
    memcached::Memcached,
};

pub(crate) fn far(memcached: &Memcached) -> MemcachedStore {
    // More patience than a busy machine needs, so that no test depends on its speed.
    MemcachedStore::builder([memcached.address()]).deadline(PATIENCE).build().unwrap()
}

pub(crate) fn process(store: impl Store, policy: Policy) -> (TestCache, Origin) {
    let layer = CacheLayer::builder(store).policy(policy).store_deadline(PATIENCE).build().unwrap();
    let origin = Origin::default();
    (layer.layer(origin.clone()), origin)
}

pub(crate) fn tiered(memcached: &Memcached, near_freshness: Duration) -> Tiered<MemoryStore, MemcachedStore> {
    Tiered::new(MemoryStore::with_max_bytes(8 << 20), far(memcached)).near_freshness(near_freshness)
}

pub(crate) const PATIENCE: Duration = Duration::from_secs(5);
const HOUR: &[(&str, &str)] = &[("cache-control", "max-age=3600")];

#[tokio::test]
async fn memcached_and_the_tiers_keep_the_contract() {
    contract::check(far(&Memcached::start(&[]))).await;
    contract::check(tiered(&Memcached::start(&[]), Duration::from_secs(1))).await;
    contract::check(tiered(&Memcached::start(&[]), Duration::ZERO)).await;
}

#[tokio::test]
async fn what_one_process_stores_is_a_hit_for_the_other() {
    let memcached = Memcached::start(&[]);
    for near_freshness in [Duration::ZERO, Duration::from_secs(60)] {
        let path = format!("/{}", near_freshness.as_secs());
        let (mut one, origin) = process(tiered(&memcached, near_freshness), Policy::new());
        let (mut other, silent) = process(tiered(&memcached, near_freshness), Policy::new());
        let fields = [HOUR[0], ("vary", "x-lang"), ("x-many", "1"), ("x-many", "2")];
        origin.queue([reply(200, &fields, "Birnen"), reply(200, &fields, "pears")]);
        for lang in ["de", "en"] {
            ask(&mut one, get_with(&path, &[("x-lang", lang)])).await;
        }

        for (lang, expected) in [("de", "Birnen"), ("en", "pears"), ("de", "Birnen")] {
            let answer = ask(&mut other, get_with(&path, &[("x-lang", lang)])).await;
            assert!(status(&answer).starts_with("hit"), "{}", status(&answer));
            assert_eq!(answer.headers().get_all("x-many").iter().collect::<Vec<_>>(), ["1", "2"]);
            assert_eq!(text(answer).await.unwrap(), expected);
        }
        assert_eq!((origin.forwards(), silent.forwards()), (2, 0));
    }
}

#[tokio::test]
async fn an_invalidation_in_one_process_is_seen_in_the_other() {
    let memcached = Memcached::start(&[]);
    let (mut one, origin) = process(tiered(&memcached, Duration::from_secs(60)), Policy::new());
    // This one asks memcached each time.
    let (mut other, elsewhere) = process(tiered(&memcached, Duration::ZERO), Policy::new());
    origin.queue([reply(200, HOUR, "old"), reply(200, &[], "done")]);
    ask(&mut one, get("/")).await;
    assert_eq!(text(ask(&mut other, get("/")).await).await.unwrap(), "old");

    ask(&mut one, request("POST", "/", &[])).await;
    settle_io().await;

    elsewhere.queue([reply(200, HOUR, "new")]);
    assert_eq!(text(ask(&mut other, get("/")).await).await.unwrap(), "new");
    assert_eq!(text(ask(&mut one, get("/")).await).await.unwrap(), "new");
}

#[tokio::test]
async fn what_was_asked_for_before_an_invalidation_elsewhere_is_not_stored_after_it() {
    let memcached = Memcached::start(&[]);
    let (mut one, origin) = process(far(&memcached), Policy::new());
    let (mut other, elsewhere) = process(far(&memcached), Policy::new());
    let early = tokio::spawn({
        let mut one = one.clone();
        async move { ask(&mut one, get("/")).await }
    });
    while origin.waiting() == 0 {
        tokio::task::yield_now().await;
    }
    // The clocks of two processes agree to the millisecond at best.
    tokio::time::sleep(Duration::from_millis(2)).await;
    elsewhere.queue([reply(200, &[], "done")]);
    ask(&mut other, request("DELETE", "/", &[])).await;
    settle_io().await;

    origin.reply(reply(200, HOUR, "old"));
    assert_eq!(text(early.await.unwrap()).await.unwrap(), "old");
    elsewhere.queue([reply(200, HOUR, "new")]);
    assert_eq!(text(ask(&mut other, get("/")).await).await.unwrap(), "new");
    assert_eq!(text(ask(&mut one, get("/")).await).await.unwrap(), "new");
}

#[tokio::test]
async fn who_can_write_to_memcached_can_not_make_a_sealed_store_serve_anything() {
    let memcached = Memcached::start(&[]);
    let sealed = |key| MemcachedStore::builder([memcached.address()]).deadline(PATIENCE).sealed_with([key; 32]).build();
    let (mut plain, origin) = process(far(&memcached), Policy::new());
    origin.queue([reply(200, HOUR, "forged")]);
    ask(&mut plain, get("/")).await;

    for (store, expected) in [(sealed(1), "ours"), (sealed(2), "theirs"), (sealed(1), "ours again")] {
        let (mut cache, origin) = process(store.unwrap(), Policy::new());
        origin.queue([reply(200, HOUR, expected)]);
        for _ in 0..2 {
            assert_eq!(text(ask(&mut cache, get("/")).await).await.unwrap(), expected);
            settle_io().await;
        }
    }
}

#[tokio::test]
async fn deployments_with_other_namespaces_share_nothing() {
    let memcached = Memcached::start(&[]);
    for name in ["a", "b"] {
        let store = MemcachedStore::builder([memcached.address()]).deadline(PATIENCE).namespace(name).build();
        let (mut cache, origin) = process(store.unwrap(), Policy::new());
        origin.queue([reply(200, HOUR, "own")]);
        for said in ["fwd=uri-miss", "hit"] {
            assert!(status(&ask(&mut cache, get("/")).await).starts_with(said), "{name}");
            settle_io().await;
        }
        assert_eq!(origin.forwards(), 1);
    }
}

#[tokio::test]
async fn any_request_has_a_key_that_memcached_takes() {
    let memcached = Memcached::start(&[]);
    let (mut cache, origin) = process(far(&memcached), Policy::new());
    for path in ["/a%20b", "/%0d%0a", "/\u{e9}", "/?a=1|2~3", &format!("/{}", "x".repeat(2_000))] {
        origin.queue([ok("page"), ok("again")]);
        let before = origin.forwards();
        for _ in 0..2 {
            assert_eq!(ask(&mut cache, get(path)).await.status(), 200, "{path}");
        }
        assert_eq!(origin.forwards() - before, 1, "{path}");
        origin.queue_does([]);
    }
}

#[test]
fn a_setting_that_can_not_work_is_an_error_that_names_it() {
    let none: [&str; 0] = [];
    let local = || MemcachedStore::builder(["127.0.0.1:11211"]);
    for (built, setting) in [
        (MemcachedStore::new(none), "servers"),
        (MemcachedStore::new(["localhost"]), "servers"),
        (MemcachedStore::new(["redis://localhost:6379"]), "servers"),
        (MemcachedStore::new(["a:1", "a:1"]), "servers"),
        (local().pin(4096, "127.0.0.1:11211").build(), "pin"),
        (local().pin(1, "127.0.0.1:2").build(), "pin"),
        (local().namespace("").build(), "namespace"),
        (local().namespace("a b").build(), "namespace"),
        (local().deadline(Duration::ZERO).build(), "deadline"),
        (local().connections(3).build(), "connections"),
        (local().max_value_bytes(0).build(), "max_value_bytes"),
    ] {
        let error = built.unwrap_err();
        assert_eq!(error.setting(), setting, "{error}");
    }
}

/// A clock that moves only when it is told to, and begins a little after that of the system: by that one the servers
/// remember since when it is known what was purged.
pub(crate) fn clock_of_today() -> ManualClock {
    let clock = ManualClock::new();
    clock.advance(SystemTime::now().duration_since(clock.now()).unwrap() + Duration::from_secs(60));
    clock
}

/// Until what the cache does in the background has been done: it goes out of its own tasks.
pub(crate) async fn settle_io() {
    for _ in 0..20 {
        settle().await;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
