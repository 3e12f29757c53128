//! What an unsafe method makes invalid (RFC 9111 §4.4).

use http::header::ACCEPT;
use microcache::{KeySpec, Policy};
use tokio_test::{assert_pending, assert_ready_ok};

use crate::common::{MILLI, ask, cache, get, get_with, reply, request, send, status, text};

const KEPT: &[(&str, &str)] = &[("cache-control", "max-age=60")];

#[tokio::test]
async fn an_unsafe_method_that_succeeds_invalidates_its_target_alone() {
    for (method, code, expected) in [
        ("POST", 200, false),
        ("PUT", 201, false),
        ("DELETE", 204, false),
        ("PATCH", 303, false),
        ("FROBNICATE", 200, false),
        ("POST", 400, true),
        ("POST", 500, true),
        ("OPTIONS", 200, true),
        ("PROPFIND", 200, true),
    ] {
        let (mut cache, origin, clock) = cache(Policy::new());
        origin.queue([reply(200, KEPT, "a"), reply(200, KEPT, "b"), reply(code, &[], "done"), reply(200, KEPT, "new")]);
        ask(&mut cache, get("/a?x=1")).await;
        ask(&mut cache, get("/b")).await;
        clock.advance(MILLI);
        assert_eq!(ask(&mut cache, request(method, "/a?x=1", &[])).await.status().as_u16(), code);
        clock.advance(MILLI);

        assert_eq!(text(ask(&mut cache, get("/b")).await).await.unwrap(), "b");
        let expected = if expected { "a" } else { "new" };
        assert_eq!(text(ask(&mut cache, get("/a?x=1")).await).await.unwrap(), expected, "{method} {code}");
        assert_eq!(text(ask(&mut cache, get("/a?x=1")).await).await.unwrap(), expected, "{method} {code}");
    }
}

#[tokio::test]
async fn location_and_content_location_of_the_same_origin_are_invalidated_too() {
    for (name, value, expected) in [
        ("location", "/a", false),
        ("content-location", "/a", false),
        ("location", "a", false),
        ("location", "http://shop.example/a", false),
        ("location", "http://other.example/a", true),
        ("content-location", "//other.example/a", true),
        ("location", "/A", true),
    ] {
        let (mut cache, origin, clock) = cache(Policy::new());
        origin.queue([reply(200, KEPT, "a"), reply(201, &[(name, value)], "done"), reply(200, KEPT, "new")]);
        ask(&mut cache, get("/a")).await;
        clock.advance(MILLI);
        ask(&mut cache, request("POST", "/list", &[])).await;
        clock.advance(MILLI);

        let found = text(ask(&mut cache, get("/a")).await).await.unwrap();
        assert_eq!(found, if expected { "a" } else { "new" }, "{name}: {value}");
    }
}

#[tokio::test]
async fn every_form_of_the_key_and_every_variant_is_invalidated() {
    let vary: &[(&str, &str)] = &[("cache-control", "max-age=60"), ("vary", "x-lang")];
    let (mut cache, origin, clock) = cache(Policy::new().key(KeySpec::new().header(ACCEPT)));
    let asks = [
        get_with("/", &[("accept", "text/html"), ("x-lang", "de")]),
        get_with("/", &[("accept", "text/html"), ("x-lang", "en")]),
        get_with("/", &[("accept", "text/plain")]),
    ];
    origin.queue((0..3).map(|_| reply(200, vary, "old")));
    for asked in &asks {
        ask(&mut cache, asked.clone()).await;
        assert_eq!(text(ask(&mut cache, asked.clone()).await).await.unwrap(), "old");
    }
    clock.advance(MILLI);
    origin.queue([reply(200, &[], "done")]);
    ask(&mut cache, request("PUT", "/", &[])).await;
    clock.advance(MILLI);

    origin.queue((0..3).map(|_| reply(200, vary, "new")));
    for asked in &asks {
        assert_eq!(text(ask(&mut cache, asked.clone()).await).await.unwrap(), "new");
        assert_eq!(text(ask(&mut cache, asked.clone()).await).await.unwrap(), "new");
    }
}

#[tokio::test]
async fn what_was_asked_for_before_is_neither_stored_nor_shared_after() {
    let (mut cache, origin, clock) = cache(Policy::new());
    let mut early = send(&mut cache, get("/"));
    assert_pending!(early.poll());
    clock.advance(MILLI);
    let mut post = send(&mut cache, request("POST", "/", &[]));
    assert_pending!(post.poll());
    origin.reply_last(reply(200, &[], "done"));
    drop(assert_ready_ok!(post.poll()));
    clock.advance(MILLI);

    let mut late = send(&mut cache, get("/"));
    assert_pending!(late.poll());
    assert_eq!(origin.waiting(), 2, "who comes after does not wait for what began before");
    origin.reply(reply(200, KEPT, "old"));
    assert_eq!(text(assert_ready_ok!(early.poll())).await.unwrap(), "old");
    assert_pending!(late.poll());
    origin.reply(reply(200, KEPT, "new"));
    assert_eq!(text(assert_ready_ok!(late.poll())).await.unwrap(), "new");
    assert_eq!(text(ask(&mut cache, get("/")).await).await.unwrap(), "new");
}

#[tokio::test]
async fn a_method_override_counts_as_the_unsafe_method_that_it_may_be() {
    let (mut cache, origin, clock) = cache(Policy::new());
    origin.queue([reply(200, KEPT, "old"), reply(200, &[], "done"), reply(200, KEPT, "new")]);
    ask(&mut cache, get("/")).await;
    clock.advance(MILLI);
    ask(&mut cache, get_with("/", &[("x-http-method-override", "DELETE")])).await;
    clock.advance(MILLI);

    let answer = ask(&mut cache, get("/")).await;
    assert_eq!(status(&answer), "fwd=uri-miss; fwd-status=200; ttl=60; stored");
}
