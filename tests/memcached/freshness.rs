//! How long what is read through memcached is fresh, and how long a near copy may be out of date.

use std::time::Duration;

use microcache::{CacheLayer, Policy};
use tokio::time::{Instant, sleep};
use tower::Layer;

use crate::{
    common::{MILLI, Origin, ask, get, reply, request, status, text},
    memcached::Memcached,
    shared::{PATIENCE, clock_of_today, far, process, settle_io, tiered},
};

const SECOND: &[(&str, &str)] = &[("cache-control", "max-age=1")];
const HOUR: &[(&str, &str)] = &[("cache-control", "max-age=3600")];

#[tokio::test]
async fn a_second_is_a_thousand_milliseconds_by_the_clock_however_coarse_that_of_the_server_is() {
    let memcached = Memcached::start(&[]);
    let clock = clock_of_today();
    let layer = CacheLayer::builder(far(&memcached)).clock(clock.clone()).store_deadline(PATIENCE).build().unwrap();
    let origin = Origin::default();
    let mut cache = layer.layer(origin.clone());
    let paths: Vec<_> = (0..1_000).map(|number| format!("/{number}")).collect();
    // What is put just after the server's clock has moved lives for nearly two seconds, just before it for one.
    let second = memcached.stat("time");
    while memcached.stat("time") == second {
        sleep(5 * MILLI).await;
    }
    let began = Instant::now();
    origin.queue(paths.iter().map(|_| reply(200, SECOND, "old")));
    let puts = paths.iter().map(|path| {
        let mut cache = cache.clone();
        async move { ask(&mut cache, get(path)).await }
    });
    futures_util::future::join_all(puts).await;
    clock.advance(999 * MILLI);
    tokio::time::sleep_until(began + Duration::from_millis(1_100)).await;
    for path in &paths {
        let answer = ask(&mut cache, get(path)).await;
        assert!(status(&answer).starts_with("hit"), "{path}: {}", status(&answer));
    }
    assert_eq!(origin.forwards(), 1_000);

    clock.advance(MILLI);
    for path in &paths {
        origin.queue([reply(200, SECOND, "new")]);
        assert_eq!(text(ask(&mut cache, get(path)).await).await.unwrap(), "new", "{path}");
    }
    assert_eq!(origin.forwards(), 2_000);
}

#[tokio::test]
async fn what_was_invalidated_elsewhere_is_served_near_for_no_longer_than_the_near_freshness() {
    const NEAR: Duration = Duration::from_millis(200);
    let memcached = Memcached::start(&[]);
    let (mut one, origin) = process(tiered(&memcached, NEAR), Policy::new());
    let (mut other, elsewhere) = process(tiered(&memcached, NEAR), Policy::new());
    origin.queue([reply(200, HOUR, "old"), reply(200, &[], "done")]);
    ask(&mut one, get("/")).await;
    assert_eq!(text(ask(&mut other, get("/")).await).await.unwrap(), "old");
    ask(&mut one, request("POST", "/", &[])).await;
    settle_io().await;

    // It is asked all the time, which does not make its copy any younger.
    let until = Instant::now() + NEAR;
    elsewhere.queue([reply(200, HOUR, "new")]);
    while Instant::now() < until {
        ask(&mut other, get("/")).await;
        sleep(5 * MILLI).await;
    }
    assert_eq!(text(ask(&mut other, get("/")).await).await.unwrap(), "new");
    assert_eq!(elsewhere.forwards(), 1);
}
