//! The origin's readiness is awaited inside a forward, and only there.

use std::{convert::Infallible, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{Empty, Full};
use microcache::{CacheLayer, MemoryStore, Policy};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};

use crate::common::*;

#[tokio::test]
async fn a_hit_is_answered_while_the_origin_refuses_work() {
    let (mut cache, origin, _) = cache(Policy::new());
    origin.queue([ok("page")]);
    ask(&mut cache, get("/")).await;

    origin.busy(true);
    tokio_test::assert_ready_ok!(send(&mut cache, get("/")).poll());

    let mut miss = send(&mut cache, get("/other"));
    assert!(miss.poll().is_pending());
    assert_eq!(origin.forwards(), 1);
    origin.queue([ok("other")]);
    origin.busy(false);
    assert!(miss.is_woken());
    tokio_test::assert_ready_ok!(miss.poll());
}

#[tokio::test]
async fn an_origin_behind_a_limit_of_one_serves_forwards_hits_and_bypasses() {
    let origin = service_fn(|request: Request<Empty<Bytes>>| async move {
        tokio::task::yield_now().await;
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(request.uri().path().to_owned()))))
    });
    let layer = CacheLayer::new(MemoryStore::with_max_bytes(1 << 20));
    let cache = ServiceBuilder::new().layer(layer).concurrency_limit(1).service(origin);
    let mut asked = Vec::new();
    for round in 0..100 {
        let mut cache = cache.clone();
        let path = format!("/{}", round % 7);
        let method = if round % 10 == 9 { "POST" } else { "GET" };
        asked.push(tokio::spawn(async move {
            let response = cache.ready().await.unwrap().call(request(method, &path, &[])).await.unwrap();
            (path, http_body_util::BodyExt::collect(response.into_body()).await.unwrap().to_bytes())
        }));
    }
    for answer in asked {
        // A deadlock ends here, and only a deadlock takes that long.
        let (path, body) = tokio::time::timeout(Duration::from_secs(60), answer).await.unwrap().unwrap();
        assert_eq!(body, path);
    }
}

#[tokio::test]
async fn the_cache_is_always_ready_and_its_errors_are_the_origins() {
    let (mut cache, origin, _) = cache(Policy::new());
    origin.busy(true);
    assert!(tokio_test::task::spawn(()).enter(|cx, _| cache.poll_ready(cx)).is_ready());
    origin.busy(false);

    origin.queue_does([Does::Fail]);
    let OriginFailed = cache.call(get("/")).await.unwrap_err();
    origin.queue_does([Does::Fail]);
    let OriginFailed = cache.call(request("POST", "/", &[])).await.unwrap_err();
}

#[tokio::test]
async fn clones_and_layers_of_one_cache_share_what_is_stored() {
    let layer = CacheLayer::builder(MemoryStore::with_max_bytes(1 << 20)).clock(microcache::ManualClock::new());
    let layer = layer.build().unwrap();
    let (one, other) = (Origin::default(), Origin::default());
    one.queue([ok("page")]);
    ask(&mut layer.layer(one), get("/")).await;

    let hit = ask(&mut layer.clone().layer(other.clone()), get("/")).await;

    assert_eq!(text(hit).await.unwrap(), "page");
    assert_eq!(other.forwards(), 0);
}
