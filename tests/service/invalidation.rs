//! What an unsafe method makes invalid (RFC 9111 §4.4).

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Uri, header::ACCEPT};
use http_body_util::Empty;
use microcache::{CacheKey, KeySpec, MemoryStore, Peek, Policy, Put, Store, StoreError, Stored};
use tokio_test::{assert_pending, assert_ready_ok};

use crate::common::*;

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

fn to(method: &str, uri: &str, host: &str) -> Ask {
    Request::builder().method(method).uri(uri).header("host", host).body(Empty::<Bytes>::new()).unwrap()
}

#[tokio::test]
async fn whatever_the_form_of_the_unsafe_request_its_target_is_invalidated() {
    let long = "x".repeat(9_000);
    let precondition = [("if-match", "\"a\""), ("x-http-method-override", "DELETE")];
    for (asked, changed) in [
        (to("GET", "/a", "shop.example:443"), to("POST", "https://shop.example/a", "shop.example")),
        (to("GET", "https://shop.example/a", "shop.example"), to("POST", "/a", "shop.example:443")),
        (to("GET", "/a", "SHOP.example"), to("POST", "http://shop.example/a", "shop.example")),
        (get("/a"), request("POST", "/a", &[("accept", &long)])),
        (get("/a"), get_with("/a", &precondition)),
    ] {
        let (mut cache, origin, clock) = cache(Policy::new().key(KeySpec::new().header(ACCEPT)));
        origin.queue([reply(200, KEPT, "old"), reply(200, &[], "done"), reply(200, KEPT, "new")]);
        ask(&mut cache, asked.clone()).await;
        clock.advance(MILLI);
        ask(&mut cache, changed.clone()).await;
        clock.advance(MILLI);

        let found = text(ask(&mut cache, asked).await).await.unwrap();
        assert_eq!(found, "new", "{} {}", changed.method(), changed.uri());
    }
}

#[tokio::test]
async fn a_relative_location_is_one_of_the_target_that_the_key_is_of() {
    #[derive(Clone)]
    struct Original(Uri);
    let nested = |method, path, original: &'static str| {
        let mut request = request(method, path, &[]);
        request.extensions_mut().insert(Original(Uri::from_static(original)));
        request
    };
    let key = KeySpec::new().target_uri(|request| request.extensions().get().map(|Original(uri)| uri));
    let (mut cache, origin, clock) = cache(Policy::new().key(key));
    origin.queue([reply(200, KEPT, "old"), reply(201, &[("location", "7")], "done"), reply(200, KEPT, "new")]);
    ask(&mut cache, nested("GET", "/items/7", "/api/items/7")).await;
    clock.advance(MILLI);
    ask(&mut cache, nested("POST", "/items/", "/api/items/")).await;
    clock.advance(MILLI);

    let answer = ask(&mut cache, nested("GET", "/items/7", "/api/items/7")).await;
    assert_eq!(text(answer).await.unwrap(), "new");
}

#[tokio::test]
async fn what_is_invalidated_stays_so_though_the_clock_was_set_back() {
    for back in [MILLI, 10 * SECOND] {
        for vary in ["", "x-lang"] {
            let (mut cache, origin, clock) = cache(Policy::new());
            let fields = [("cache-control", "max-age=60"), ("vary", vary), ("etag", "\"a\"")];
            let german = || get_with("/", &[("x-lang", "de")]);
            origin.queue([reply(200, &fields, "old"), reply(200, &[], "done")]);
            ask(&mut cache, german()).await;
            clock.rewind(back);
            ask(&mut cache, request("POST", "/", &[])).await;
            clock.advance(2 * back);

            origin.queue([reply(200, &fields, "en"), reply(200, &fields, "new")]);
            if !vary.is_empty() {
                ask(&mut cache, get_with("/", &[("x-lang", "en")])).await;
            }
            let expected = if vary.is_empty() { "en" } else { "new" };
            assert_eq!(text(ask(&mut cache, german()).await).await.unwrap(), expected, "{back:?} {vary}");
        }
    }
}

#[tokio::test]
async fn a_clock_that_was_set_back_does_not_keep_a_target_out_that_was_invalidated() {
    let (mut cache, origin, clock) = cache(Policy::new());
    origin.queue([reply(200, &[], "done"), reply(200, KEPT, "page")]);
    ask(&mut cache, request("POST", "/", &[])).await;
    clock.rewind(3_600 * SECOND);
    ask(&mut cache, get("/")).await;
    clock.advance(SECOND);

    assert_eq!(status(&ask(&mut cache, get("/")).await), "hit; ttl=59");
}

/// A store that tells what was put and what was removed.
#[derive(Clone)]
struct Diary(MemoryStore, Arc<Mutex<Vec<String>>>);

impl Diary {
    fn note(&self, what: &str, key: &CacheKey) {
        self.1.lock().unwrap().push(format!("{what} {}", key.as_str()));
    }
}

impl Store for Diary {
    fn peek(&self, key: &CacheKey) -> Peek {
        self.0.peek(key)
    }
    async fn get(&self, key: &CacheKey) -> Result<Option<Stored>, StoreError> {
        self.0.get(key).await
    }
    async fn put(&self, key: &CacheKey, stored: Stored) -> Result<Put, StoreError> {
        self.note("put", key);
        self.0.put(key, stored).await
    }
    async fn remove(&self, key: &CacheKey) -> Result<(), StoreError> {
        self.note("remove", key);
        self.0.remove(key).await
    }
}

#[tokio::test]
async fn what_is_invalidated_leaves_the_store_and_what_is_not_there_costs_it_nothing() {
    let diary = Diary(MemoryStore::with_max_bytes(1 << 20), Arc::default());
    let (mut cache, origin, clock) = cache_on(diary.clone(), Policy::new());
    origin.queue([reply(200, KEPT, "old"), reply(200, &[], "done"), reply(200, &[], "done")]);
    ask(&mut cache, get("/a")).await;
    clock.advance(MILLI);
    ask(&mut cache, request("POST", "/a", &[])).await;
    ask(&mut cache, request("POST", "/b", &[])).await;

    assert_eq!(*diary.1.lock().unwrap(), ["put |GET|shop.example|/a", "remove |GET|shop.example|/a"]);
}

#[tokio::test]
async fn what_was_invalidated_does_not_come_back_by_a_head_that_was_on_its_way() {
    let (mut cache, origin, clock) = cache(Policy::new());
    origin.queue([ok("old")]);
    ask(&mut cache, get("/")).await;
    clock.advance(2 * SECOND);

    // A GET leads, a HEAD waits for it: what the HEAD has found is the old one, which is stale.
    let mut leads = send(&mut cache, get("/"));
    assert_pending!(leads.poll());
    let mut head = send(&mut cache, request("HEAD", "/", &[]));
    assert_pending!(head.poll());
    // The resource is changed, and who changed it knows.
    let mut change = send(&mut cache, request("POST", "/", &[]));
    assert_pending!(change.poll());
    origin.reply_last(ok("done"));
    assert_eq!(assert_ready_ok!(change.poll()).status(), 200);
    clock.advance(Duration::from_millis(1));
    // What the GET brings is for nobody else, so the HEAD goes on its own.
    origin.reply(reply(200, &[("cache-control", "private")], "yours"));
    assert_ready_ok!(leads.poll());
    assert_pending!(head.poll());
    origin.reply(ok(""));
    assert_eq!(assert_ready_ok!(head.poll()).status(), 200);
    settle().await;

    origin.queue([ok("new")]);
    let answer = ask(&mut cache, get("/")).await;
    assert_eq!(text(answer).await.unwrap(), "new");
}
