//! Servers that are gone, hang, lie or come back: users get the origin's answer.

use std::time::Duration;

use microcache::{CacheLayer, MemcachedStore, MemoryStore, Policy, Tiered};
use tokio::time::Instant;
use tower::Layer;

use crate::{
    common::{Origin, TestCache, ask, get, reply, status, text},
    memcached::Memcached,
    shared::{PATIENCE, far, process, settle_io},
};

pub(crate) const HOUR: &[(&str, &str)] = &[("cache-control", "max-age=3600")];

pub(crate) async fn answers(cache: &mut TestCache, origin: &Origin, path: &str) {
    origin.queue([reply(200, HOUR, "page")]);
    assert_eq!(text(ask(cache, get(path)).await).await.unwrap(), "page", "{path}");
}

/// Asks until the answer comes from the store again.
pub(crate) async fn recovers(cache: &mut TestCache, origin: &Origin) {
    for number in 0..2_000 {
        let path = format!("/recovers/{number}");
        answers(cache, origin, &path).await;
        let again = ask_with_spare(cache, origin, &path).await;
        if again.starts_with("hit") {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the cache did not come back");
}

/// What is said to who asks again, once what came before has landed: an answer does not wait for the store.
pub(crate) async fn landed(cache: &mut TestCache, path: &str) -> String {
    loop {
        let said = status(&ask(cache, get(path)).await);
        if !said.ends_with("collapsed") {
            return said;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

pub(crate) async fn ask_with_spare(cache: &mut TestCache, origin: &Origin, path: &str) -> String {
    origin.queue([reply(200, HOUR, "page")]);
    let said = landed(cache, path).await;
    // The reply that was not needed is taken by another path.
    if said.starts_with("hit") {
        ask(cache, get(&format!("{path}/spare"))).await;
    }
    said
}

#[tokio::test]
async fn a_server_that_is_not_there_costs_a_forward_each_and_comes_into_use_by_itself() {
    let mut memcached = Memcached::start(&[]);
    memcached.kill();
    let (mut cache, origin) = process(far(&memcached), Policy::new());
    for number in 0..50 {
        answers(&mut cache, &origin, &format!("/{number}")).await;
    }
    assert_eq!(origin.forwards(), 50);

    memcached.restart();
    recovers(&mut cache, &origin).await;
}

#[tokio::test]
async fn a_server_that_is_killed_under_way_and_restarted_empty_is_used_again() {
    let mut memcached = Memcached::start(&[]);
    let (mut cache, origin) = process(far(&memcached), Policy::new());
    answers(&mut cache, &origin, "/a").await;
    assert!(ask_with_spare(&mut cache, &origin, "/a").await.starts_with("hit"));

    memcached.kill();
    for number in 0..20 {
        answers(&mut cache, &origin, &format!("/gone/{number}")).await;
    }
    memcached.restart();
    recovers(&mut cache, &origin).await;
}

#[tokio::test]
async fn a_server_that_hangs_is_left_alone_until_it_goes_on() {
    let memcached = Memcached::start(&[]);
    let store = MemcachedStore::builder([memcached.address()]).deadline(Duration::from_millis(20)).build().unwrap();
    let (mut cache, origin) = process(store, Policy::new());
    answers(&mut cache, &origin, "/a").await;

    memcached.pause();
    for number in 0..50 {
        answers(&mut cache, &origin, &format!("/hangs/{number}")).await;
    }
    memcached.resume();
    recovers(&mut cache, &origin).await;
}

#[tokio::test]
async fn a_request_waits_once_for_a_server_that_hangs_and_few_wait_for_one_that_is_left_alone() {
    const DEADLINE: Duration = Duration::from_secs(1);
    let memcached = Memcached::start(&[]);
    let store = MemcachedStore::builder([memcached.address()]).deadline(DEADLINE).build().unwrap();
    let layer = CacheLayer::builder(store).store_deadline(DEADLINE).build().unwrap();
    let origin = Origin::default();
    let mut cache = layer.layer(origin.clone());
    answers(&mut cache, &origin, "/a").await;
    settle_io().await;

    memcached.pause();
    // As long as one operation may take, and less than two do.
    let began = Instant::now();
    answers(&mut cache, &origin, "/b").await;
    assert!(began.elapsed() < DEADLINE * 2, "{:?}", began.elapsed());
    // All of it at once, so that the breaker knows.
    let many = (0..20).map(|number| {
        let (mut cache, origin) = (cache.clone(), origin.clone());
        async move { answers(&mut cache, &origin, &format!("/many/{number}")).await }
    });
    futures_util::future::join_all(many).await;
    settle_io().await;
    // But for one now and then, which finds out whether it still hangs.
    let began = Instant::now();
    for number in 0..50 {
        answers(&mut cache, &origin, &format!("/alone/{number}")).await;
    }
    assert!(began.elapsed() < DEADLINE * 10, "{:?}", began.elapsed());
}

#[tokio::test]
async fn what_is_too_large_for_the_server_is_passed_on_and_nothing_else_is_lost() {
    let memcached = Memcached::start(&[]);
    let store = MemcachedStore::builder([memcached.address()]).max_value_bytes(4096).build().unwrap();
    let (mut cache, origin) = process(store, Policy::new());
    let large = bytes::Bytes::from(vec![b'x'; 8_192]);
    origin.queue((0..2).map(|_| reply(200, HOUR, large.clone())));
    for _ in 0..2 {
        let answer = ask(&mut cache, get("/large")).await;
        assert_eq!(text(answer).await.unwrap().len(), 8_192);
        settle_io().await;
    }
    assert_eq!(origin.forwards(), 2);
    answers(&mut cache, &origin, "/small").await;
    assert!(ask_with_spare(&mut cache, &origin, "/small").await.starts_with("hit"));
}

#[tokio::test]
async fn what_the_server_does_not_take_is_kept_near() {
    let mut memcached = Memcached::start(&[]);
    for is_gone in [false, true] {
        if is_gone {
            memcached.kill();
        }
        let builder = MemcachedStore::builder([memcached.address()]).deadline(PATIENCE);
        let store = builder.max_value_bytes(4096).build().unwrap();
        let near = MemoryStore::with_max_bytes(1 << 20);
        let (mut cache, origin) = process(Tiered::new(near, store).near_freshness(PATIENCE * 12), Policy::new());
        origin.queue([reply(200, HOUR, bytes::Bytes::from(vec![b'x'; 8_192]))]);
        ask(&mut cache, get("/large")).await;
        settle_io().await;
        assert!(status(&ask(&mut cache, get("/large")).await).starts_with("hit"), "is_gone: {is_gone}");
        assert_eq!(origin.forwards(), 1);
    }
}

#[tokio::test]
async fn of_three_servers_one_is_gone_and_the_keys_of_the_others_stay() {
    let mut servers: Vec<_> = (0..3).map(|_| Memcached::start(&[])).collect();
    let store = MemcachedStore::builder(servers.iter().map(Memcached::address)).build().unwrap();
    let (mut cache, origin) = process(store, Policy::new());
    for number in 0..60 {
        answers(&mut cache, &origin, &format!("/{number}")).await;
    }
    servers[1].kill();

    let mut hits = 0;
    for number in 0..60 {
        hits += usize::from(ask_with_spare(&mut cache, &origin, &format!("/{number}")).await.starts_with("hit"));
    }
    assert!((20..60).contains(&hits), "{hits} of 60");
}
