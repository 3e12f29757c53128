//! How long what is read through memcached is fresh, and how long a near copy may be out of date.

use std::time::Duration;

use microcache::{Cache, CacheLayer, Collapse, Policy};
use tokio::time::{Instant, sleep};
use tower::{Layer, Service};

use crate::{
    cancellation::Echo,
    common::{MILLI, Origin, ask, get, reply, request, status, text},
    fault::landed,
    memcached::Memcached,
    shared::{PATIENCE, clock_of_today, far, process, settle_io, tiered},
};

const SECONDS: Duration = Duration::from_secs(1);
const SECOND: &[(&str, &str)] = &[("cache-control", "max-age=1")];
const HOUR: &[(&str, &str)] = &[("cache-control", "max-age=3600")];

#[tokio::test]
async fn a_second_is_a_thousand_milliseconds_by_the_clock_of_the_cache() {
    let memcached = Memcached::start(&[]);
    let clock = clock_of_today();
    let layer = CacheLayer::builder(far(&memcached)).clock(clock.clone()).store_deadline(PATIENCE).build().unwrap();
    let origin = Origin::default();
    let mut cache = layer.layer(origin.clone());
    let paths: Vec<_> = (0..300).map(|number| format!("/{number}")).collect();
    // With a validator it is kept for longer than it is fresh, so that the server's clock has no say.
    origin.queue(paths.iter().map(|_| reply(200, &[SECOND[0], ("etag", "\"old\"")], "old")));
    for path in &paths {
        ask(&mut cache, get(path)).await;
        landed(&mut cache, path).await;
    }
    clock.advance(999 * MILLI);
    for path in &paths {
        let said = status(&ask(&mut cache, get(path)).await);
        assert!(said.starts_with("hit"), "{path}: {said}");
    }
    assert_eq!(origin.forwards(), 300);

    clock.advance(MILLI);
    for path in &paths {
        origin.queue([reply(200, SECOND, "new")]);
        assert_eq!(text(ask(&mut cache, get(path)).await).await.unwrap(), "new", "{path}");
    }
    assert_eq!(origin.forwards(), 600);
}

/// What this process has near is stale, and what another one has brought meanwhile is not.
#[tokio::test]
async fn without_leases_memcached_is_asked_before_what_is_stale_near_is_forwarded_or_refreshed() {
    let memcached = Memcached::start(&[]);
    let clock = clock_of_today();
    for (path, stale) in [("/forwarded", Duration::ZERO), ("/refreshed", 60 * SECONDS)] {
        let node = || {
            let policy = Policy::new().collapse(Collapse::new().without_leases()).stale_while_revalidate(stale);
            let builder = CacheLayer::builder(tiered(&memcached, 60 * SECONDS)).policy(policy);
            let layer = builder.clock(clock.clone()).store_deadline(PATIENCE).build().unwrap();
            let origin = Origin::default();
            (layer.layer(origin.clone()), origin)
        };
        let ((mut one, origin), (mut other, elsewhere)) = (node(), node());
        origin.queue([reply(200, SECOND, "old"), reply(200, SECOND, "new")]);
        for cache in [&mut one, &mut other] {
            assert_eq!(text(ask(cache, get(path)).await).await.unwrap(), "old");
            settle_io().await;
        }
        clock.advance(1_000 * MILLI);
        elsewhere.queue([reply(200, SECOND, "once more")]);
        ask(&mut one, get(path)).await;
        settle_io().await;

        ask(&mut other, get(path)).await;
        settle_io().await;
        assert_eq!(text(ask(&mut other, get(path)).await).await.unwrap(), "new", "{path}");
        assert_eq!((origin.forwards(), elsewhere.forwards()), (2, 0), "{path}");
    }
}

/// Measures for how long a response of one second is found, by the clock on the wall, read through memcached alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "it takes 26 s; MICROCACHE_LIFETIMES says how many are measured, or 1,000"]
async fn a_second_is_a_second_by_the_clock_on_the_wall_at_any_moment_of_the_clock_of_the_server() {
    let count = std::env::var("MICROCACHE_LIFETIMES").map_or(1_000, |count| count.parse().expect("a number"));
    let memcached = Memcached::start(&[]);
    let store = tiered(&memcached, Duration::ZERO);
    let cache = CacheLayer::builder(store).store_deadline(PATIENCE).build().unwrap().layer(Echo);
    // Forty a second, so that all parts of the server's second have their turn.
    let begins = |number: u32| Duration::from_micros(24_900) * number;
    let measured: Vec<_> =
        (0..count).map(|number| tokio::spawn(lifetime(cache.clone(), number, begins(number)))).collect();
    let mut lifetimes = Vec::new();
    for measured in measured {
        let (least, most) = measured.await.unwrap();
        assert!(least <= 1_050 * MILLI && most >= 950 * MILLI, "{least:?} to {most:?}");
        // On a busy machine some are measured too late to say.
        if most - least <= 20 * MILLI {
            lifetimes.push(least + (most - least) / 2);
        }
    }
    lifetimes.sort_unstable();
    let (min, p50, max) = (lifetimes[0], lifetimes[lifetimes.len() / 2], lifetimes[lifetimes.len() - 1]);
    println!("{} of {count} lifetimes: min {min:?}, p50 {p50:?}, max {max:?}", lifetimes.len());
    assert!(min >= 950 * MILLI && max <= 1_050 * MILLI);
}

/// The least and the most that it can have been.
async fn lifetime(mut cache: Cache<Echo>, number: u32, begins: Duration) -> (Duration, Duration) {
    sleep(begins).await;
    let path = format!("/{number}");
    let before = Instant::now();
    cache.call(get(&path)).await.unwrap();
    let after = Instant::now();
    sleep(900 * MILLI).await;
    let mut found = after;
    loop {
        let asked = Instant::now();
        if !status(&cache.call(get(&path)).await.unwrap()).starts_with("hit") {
            return (found - after, before.elapsed());
        }
        found = asked;
        sleep(MILLI).await;
    }
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
