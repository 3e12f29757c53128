//! What is invalidated through one process is invalidated for all, whatever else is in the keys, whatever a server does.

use std::{convert::Infallible, time::Duration};

use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use microcache::{CacheLayer, Content, KeySpec, MemcachedStore, Policy, RequestContent, Tenancy, Tenant};
use tokio::time::sleep;
use tower::{Layer, Service};

use crate::{
    common::{Ask, Origin, TestCache, ask, get, get_with, reply, request, status, text},
    memcached::Memcached,
    shared::{PATIENCE, far, process, settle_io, tiered},
};

const HOUR: &[(&str, &str)] = &[("cache-control", "max-age=3600")];

/// What another process may take to see an invalidation that the servers have.
const MOMENT: Duration = Duration::from_millis(110);

type AnyBody = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

async fn answer(cache: &mut TestCache, request: Ask) -> String {
    text(ask(cache, request).await).await.unwrap()
}

async fn invalidate(cache: &mut TestCache, origin: &Origin) {
    // The clocks of two processes agree to the millisecond at best.
    sleep(Duration::from_millis(2)).await;
    origin.queue([reply(200, &[], "done")]);
    ask(cache, request("PUT", "/a", &[])).await;
    settle_io().await;
    sleep(MOMENT).await;
}

#[tokio::test]
async fn an_invalidation_elsewhere_ends_what_is_keyed_by_fields_and_cookies() {
    let memcached = Memcached::start(&[]);
    let near = Duration::from_millis(50);
    let spec = || KeySpec::new().header(header::ACCEPT).cookie("lang");
    let fields = [("accept", "text/html"), ("cookie", "lang=de")];
    for near in [Duration::ZERO, near] {
        let (mut one, origin) = process(tiered(&memcached, near), Policy::new().key(spec()));
        let (mut other, elsewhere) = process(tiered(&memcached, near), Policy::new().key(spec()));
        origin.queue([reply(200, HOUR, "old"), reply(200, HOUR, "unrelated")]);
        answer(&mut one, get_with("/a", &fields)).await;
        answer(&mut one, get_with("/b", &fields)).await;
        assert_eq!(answer(&mut other, get_with("/a", &fields)).await, "old");

        invalidate(&mut one, &origin).await;
        sleep(near).await;

        elsewhere.queue([reply(200, HOUR, "new")]);
        assert_eq!(answer(&mut other, get_with("/a", &fields)).await, "new");
        assert_eq!(answer(&mut one, get_with("/a", &fields)).await, "new");
        assert_eq!(answer(&mut other, get_with("/b", &fields)).await, "unrelated");
        assert_eq!(elsewhere.forwards(), 1);
        invalidate(&mut one, &origin).await;
        origin.queue([reply(200, &[], "done")]);
        ask(&mut one, request("PUT", "/b", &[])).await;
        settle_io().await;
    }
}

#[tokio::test]
async fn an_invalidation_elsewhere_ends_what_is_keyed_by_content() {
    let memcached = Memcached::start(&[]);
    let process = |text: &'static str| {
        let origin = tower::service_fn(move |_: Request<AnyBody>| async move {
            let response = Response::builder().header("cache-control", "max-age=3600");
            Ok::<_, Infallible>(response.body(Full::<Bytes>::from(text)).unwrap())
        });
        let policy = Policy::new().content(Content::new(|content: RequestContent| content.boxed_unsync()));
        let builder = CacheLayer::builder(tiered(&memcached, Duration::ZERO)).policy(policy);
        builder.store_deadline(PATIENCE).build().unwrap().layer(origin)
    };
    let (mut one, mut other) = (process("one"), process("other"));
    let request = |method: &str| {
        let request = Request::builder().method(method).uri("/rpc").header("host", "shop.example");
        request.body(Full::from("question").map_err(|never| match never {}).boxed_unsync()).unwrap()
    };
    let body = async |answer: Response<_>| BodyExt::collect(answer.into_body()).await.unwrap().to_bytes();
    for method in ["POST", "QUERY"] {
        assert_eq!(body(one.call(request(method)).await.unwrap()).await, "one", "{method}");
        assert_eq!(body(other.call(request(method)).await.unwrap()).await, "one", "{method}");
    }
    sleep(Duration::from_millis(2)).await;
    one.call(request("PUT")).await.unwrap();
    settle_io().await;
    sleep(MOMENT).await;

    for method in ["POST", "QUERY"] {
        assert_eq!(body(other.call(request(method)).await.unwrap()).await, "other", "{method}");
    }
}

#[tokio::test]
async fn what_is_late_for_an_invalidation_elsewhere_is_not_served_whatever_is_in_its_key() {
    let memcached = Memcached::start(&[]);
    let policy = || Policy::new().key(KeySpec::new().header(header::ACCEPT));
    let (one, origin) = process(far(&memcached), policy());
    let (mut other, elsewhere) = process(far(&memcached), policy());
    let fields = [("accept", "text/html")];
    let early = tokio::spawn({
        let mut one = one.clone();
        async move { answer(&mut one, get_with("/a", &fields)).await }
    });
    crate::lease::until(|| origin.waiting() == 1).await;
    invalidate(&mut other, &elsewhere).await;

    origin.reply(reply(200, HOUR, "old"));
    assert_eq!(early.await.unwrap(), "old");
    settle_io().await;

    elsewhere.queue([reply(200, HOUR, "new")]);
    assert_eq!(answer(&mut other, get_with("/a", &fields)).await, "new");
    assert_eq!(answer(&mut one.clone(), get_with("/a", &fields)).await, "new");
}

#[tokio::test]
async fn a_server_that_hung_during_an_invalidation_does_not_serve_what_it_ended() {
    let memcached = Memcached::start(&[]);
    let impatient = MemcachedStore::builder([memcached.address()]).deadline(Duration::from_millis(50));
    let (mut one, origin) = process(impatient.build().unwrap(), Policy::new());
    let (mut other, elsewhere) = process(far(&memcached), Policy::new());
    elsewhere.queue([reply(200, HOUR, "old")]);
    for _ in 0..2 {
        assert_eq!(answer(&mut other, get("/a")).await, "old");
    }

    memcached.pause();
    invalidate(&mut one, &origin).await;
    // Past what the invalidation may take, and until nothing is on its way any more.
    sleep(Duration::from_secs(1)).await;
    memcached.resume();
    sleep(Duration::from_millis(500)).await;

    elsewhere.queue([reply(200, HOUR, "new")]);
    assert_eq!(answer(&mut other, get("/a")).await, "new");
}

#[tokio::test]
async fn tenants_do_not_share_their_invalidations() {
    let memcached = Memcached::start(&[]);
    let tenants = || {
        let tenancy = Tenancy::from_fn(|head| {
            let tenant = head.headers().get("x-tenant").and_then(|tenant| tenant.to_str().ok());
            tenant.map_or(Tenant::unidentified(), Tenant::named)
        });
        let builder = CacheLayer::builder(far(&memcached)).tenant(tenancy).store_deadline(PATIENCE);
        let origin = Origin::default();
        (builder.build().unwrap().layer(origin.clone()), origin)
    };
    let ((mut one, origin), (mut other, elsewhere)) = (tenants(), tenants());
    for tenant in ["a", "b"] {
        origin.queue([reply(200, HOUR, tenant)]);
        answer(&mut one, get_with("/a", &[("x-tenant", tenant)])).await;
    }
    sleep(Duration::from_millis(2)).await;
    origin.queue([reply(200, &[], "done")]);
    ask(&mut one, request("PUT", "/a", &[("x-tenant", "a")])).await;
    settle_io().await;
    sleep(MOMENT).await;

    assert!(status(&ask(&mut other, get_with("/a", &[("x-tenant", "b")])).await).starts_with("hit"));
    elsewhere.queue([reply(200, HOUR, "new")]);
    assert_eq!(answer(&mut other, get_with("/a", &[("x-tenant", "a")])).await, "new");
}
