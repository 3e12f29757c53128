//! What the cache does not handle reaches the origin, and comes back, untouched.

use microcache::{CacheLayer, MemoryStore, Policy, Tenancy, Tenant};
use tower::Layer;

use crate::common::*;

/// The answer says nothing of the cache, and the request reached the origin as it was.
async fn is_untouched(cache: &mut TestCache, origin: &Origin, sent: Ask) {
    let (method, uri, headers) = (sent.method().clone(), sent.uri().clone(), sent.headers().clone());
    let mut asked = send(cache, sent);
    assert!(asked.poll().is_pending());
    let seen = origin.reply(reply(200, &[("x-own", "1")], "own"));
    assert_eq!((seen.method, seen.uri, seen.headers), (method, uri, headers));
    let answer = tokio_test::assert_ready_ok!(asked.poll());
    assert_eq!(answer.headers().len(), 1);
    assert!(answer.extensions().is_empty());
    assert_eq!(text(answer).await.unwrap(), "own");
}

#[tokio::test]
async fn other_methods_and_upgrades_pass() {
    let (mut cache, origin, _) = cache(Policy::new());
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND"] {
        is_untouched(&mut cache, &origin, request(method, "/", &[])).await;
    }
    is_untouched(&mut cache, &origin, get_with("/", &[("upgrade", "websocket"), ("connection", "upgrade")])).await;
}

#[tokio::test]
async fn a_paused_cache_is_as_good_as_none_and_resumes_where_it_was() {
    let clock = microcache::ManualClock::new();
    let layer = CacheLayer::builder(MemoryStore::with_max_bytes(1 << 20)).clock(clock).build().unwrap();
    let origin = Origin::default();
    let mut cache = layer.layer(origin.clone());
    origin.queue([ok("page")]);
    ask(&mut cache, get("/")).await;

    layer.handle().pause();
    is_untouched(&mut cache, &origin, get("/")).await;
    is_untouched(&mut cache, &origin, request("HEAD", "/", &[])).await;
    layer.handle().resume();

    assert_eq!(text(ask(&mut cache, get("/")).await).await.unwrap(), "page");
}

#[tokio::test]
async fn what_the_operator_excludes_passes() {
    let (mut cache, origin, _) = cache(Policy::new().bypass_when(|head| head.uri().path().starts_with("/admin")));
    is_untouched(&mut cache, &origin, get("/admin/users")).await;
}

#[tokio::test]
async fn a_request_that_nobody_can_place_is_forwarded_alone_and_says_why() {
    let long = format!("/{}", "x".repeat(9_000));
    let table = [
        (get(&long), "key-too-long"),
        (get(&format!("/?{}", "&".repeat(256))), "too-many-parameters"),
        (get_with("/", &[("x_http_method_override", "DELETE")]), "method-override"),
        (get_with("/", &[("host", "other.example")]), "authority"),
        (request("GET", "http://other.example/", &[]), "authority"),
        (get_with("/", &[("content-length", "5")]), "content"),
        (get_with("/", &[("transfer-encoding", "chunked")]), "content"),
        (get_with("/", &[("if-match", "\"a\"")]), "precondition"),
    ];
    for (request, detail) in table {
        let (mut cache, origin, _) = cache(Policy::new());
        origin.queue([ok("own")]);
        let answer = ask(&mut cache, request).await;
        assert_eq!(status(&answer), format!("fwd=bypass; detail={detail}"));
        assert_eq!(origin.forwards(), 1);
    }
}

#[tokio::test]
async fn an_unidentified_tenant_shares_with_nobody() {
    let tenancy = Tenancy::from_fn(|head| match head.headers().get("x-tenant") {
        Some(id) => Tenant::named(id.to_str().unwrap_or_default()),
        None => Tenant::unidentified(),
    });
    let layer = CacheLayer::builder(MemoryStore::with_max_bytes(1 << 20)).tenant(tenancy).build().unwrap();
    let origin = Origin::default();
    let mut cache = layer.layer(origin.clone());
    origin.queue([ok("nobody's"), ok("nobody's either"), ok("acme's"), ok("umbrella's")]);

    assert_eq!(status(&ask(&mut cache, get("/")).await), "fwd=bypass; detail=tenant");
    assert_eq!(text(ask(&mut cache, get("/")).await).await.unwrap(), "nobody's either");
    for (tenant, body) in
        [("acme", "acme's"), ("umbrella", "umbrella's"), ("acme", "acme's"), ("umbrella", "umbrella's")]
    {
        let answer = ask(&mut cache, get_with("/", &[("x-tenant", tenant)])).await;
        assert_eq!(text(answer).await.unwrap(), body);
    }
    assert_eq!(origin.forwards(), 4);
}
