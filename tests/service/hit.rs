//! What a hit is, and what it says.

use std::time::Duration;

use microcache::Policy;

use crate::common::*;

#[tokio::test]
async fn the_second_request_within_a_second_is_a_hit() {
    let (mut cache, origin, clock) = cache(Policy::new());
    origin.queue([ok("page")]);

    let first = ask(&mut cache, get("/")).await;
    assert_eq!(status(&first), "fwd=uri-miss; fwd-status=200; ttl=1; stored");
    assert_eq!(text(first).await.unwrap(), "page");

    clock.advance(999 * MILLI);
    let second = ask(&mut cache, get("/")).await;
    assert_eq!(status(&second), "hit; ttl=1");
    assert_eq!(field(&second, "age"), "0");
    assert_eq!(text(second).await.unwrap(), "page");
    assert_eq!(origin.forwards(), 1);
}

#[tokio::test]
async fn freshness_ends_to_the_millisecond() {
    let (mut cache, origin, clock) = cache(Policy::new());
    origin.queue([ok("old"), ok("new")]);
    ask(&mut cache, get("/")).await;

    clock.advance(SECOND);
    let answer = ask(&mut cache, get("/")).await;

    assert_eq!(status(&answer), "fwd=stale; fwd-status=200; ttl=1; stored");
    assert_eq!(text(answer).await.unwrap(), "new");
}

#[tokio::test]
async fn a_hit_needs_one_poll_and_no_runtime() {
    let (mut cache, origin, _) = cache(Policy::new());
    origin.queue([ok("page")]);
    ask(&mut cache, get("/")).await;

    std::thread::spawn(move || {
        let mut hit = send(&mut cache, get("/"));
        tokio_test::assert_ready_ok!(hit.poll());
    })
    .join()
    .unwrap();
}

#[test]
fn a_miss_needs_no_runtime_either_while_nobody_has_to_wait() {
    let (mut cache, origin, _) = cache(Policy::new());
    origin.queue([ok("page")]);
    let mut miss = send(&mut cache, get("/"));
    tokio_test::assert_ready_ok!(miss.poll());
    let mut hit = send(&mut cache, get("/"));
    assert_eq!(status(&tokio_test::assert_ready_ok!(hit.poll())), "hit; ttl=1");
}

#[tokio::test]
async fn every_line_of_a_field_is_kept_in_order_and_hop_by_hop_fields_are_not() {
    let (mut cache, origin, _) = cache(Policy::new());
    let fields = [
        ("link", "</a>"),
        ("x-once", "1"),
        ("link", "</b>"),
        ("connection", "x-secret"),
        ("x-secret", "hop"),
        ("keep-alive", "timeout=5"),
        ("content-type", "text/plain"),
    ];
    origin.queue([reply(200, &fields, "page")]);
    ask(&mut cache, get("/")).await;

    let hit = ask(&mut cache, get("/")).await;

    let links: Vec<_> = hit.headers().get_all("link").iter().collect();
    assert_eq!(links, ["</a>", "</b>"]);
    assert_eq!(field(&hit, "content-type"), "text/plain");
    for name in ["connection", "keep-alive", "x-secret"] {
        assert!(!hit.headers().contains_key(name), "{name} is not stored");
    }
}

#[tokio::test]
async fn age_counts_from_generation_and_replaces_what_the_origin_said() {
    let (mut cache, origin, clock) = cache(Policy::new());
    origin.queue([reply(200, &[("cache-control", "max-age=100"), ("age", "30")], "page")]);
    ask(&mut cache, get("/")).await;

    clock.advance(12 * SECOND);
    let hit = ask(&mut cache, get("/")).await;

    let ages: Vec<_> = hit.headers().get_all("age").iter().collect();
    assert_eq!(ages, ["42"]);
    assert_eq!(status(&hit), "hit; ttl=58");
}

#[tokio::test]
async fn a_stored_response_has_a_date() {
    let (mut cache, origin, _) = cache(Policy::new());
    origin.queue([ok("page")]);
    ask(&mut cache, get("/")).await;

    let hit = ask(&mut cache, get("/")).await;

    assert_eq!(field(&hit, "date"), "Sun, 13 Sep 2020 12:26:40 GMT");
}

#[tokio::test]
async fn the_status_of_other_caches_stays_before_ours() {
    let (mut cache, origin, _) = cache(Policy::new());
    origin.queue([reply(200, &[("cache-status", "inner; hit")], "page")]);
    ask(&mut cache, get("/")).await;

    let hit = ask(&mut cache, get("/")).await;

    let lines: Vec<_> = hit.headers().get_all("cache-status").iter().collect();
    assert_eq!(lines, ["inner; hit", "microcache; hit; ttl=1"]);
}

#[tokio::test]
async fn a_clock_that_was_set_back_makes_stale_not_immortal() {
    let (mut cache, origin, clock) = cache(Policy::new());
    origin.queue([ok("old"), ok("new")]);
    ask(&mut cache, get("/")).await;

    clock.rewind(3_600 * SECOND);
    let answer = ask(&mut cache, get("/")).await;

    assert_eq!(text(answer).await.unwrap(), "new");
}

#[tokio::test]
async fn a_head_is_answered_from_a_get() {
    let (mut cache, origin, _) = cache(Policy::new());
    origin.queue([ok("page")]);
    ask(&mut cache, get("/")).await;

    let head = ask(&mut cache, request("HEAD", "/", &[])).await;

    assert_eq!(status(&head), "hit; ttl=1");
    assert_eq!(field(&head, "content-length"), "4");
    assert_eq!(text(head).await.unwrap(), "");
    assert_eq!(origin.forwards(), 1);
}

#[tokio::test]
async fn stats_count_what_happened() {
    let clock = microcache::ManualClock::new();
    let layer = microcache::CacheLayer::builder(microcache::MemoryStore::with_max_bytes(1 << 20)).clock(clock).build();
    let layer = layer.unwrap();
    let origin = Origin::default();
    let mut cache = tower::Layer::layer(&layer, origin.clone());
    origin.queue([ok("page"), ok("posted"), reply(200, &[("cache-control", "private")], "mine")]);
    ask(&mut cache, get("/")).await;
    ask(&mut cache, get("/")).await;
    ask(&mut cache, request("POST", "/", &[])).await;
    ask(&mut cache, get("/mine")).await;

    let stats = layer.handle().stats();

    assert_eq!((stats.hits, stats.forwards, stats.bypasses), (1, 2, 1));
    assert_eq!((stats.stored, stats.not_stored, stats.store_errors), (1, 1, 0));
}

#[tokio::test]
async fn after_the_clock_was_set_back_responses_are_stored_again() {
    let (mut cache, origin, clock) = cache(Policy::new());
    let fields = [("cache-control", "max-age=3600")];
    origin.queue([reply(200, &fields, "one"), reply(200, &fields, "two"), reply(200, &fields, "three")]);
    ask(&mut cache, get("/")).await;
    clock.rewind(1800 * SECOND);
    ask(&mut cache, get("/")).await;
    let third = ask(&mut cache, get("/")).await;
    assert_eq!(text(third).await.unwrap(), "two");
}

#[tokio::test]
async fn ttl_is_an_integer_of_structured_fields() {
    let (mut cache, origin, _) = cache(Policy::new().default_freshness(Duration::MAX));
    origin.queue([ok("page")]);
    let answer = ask(&mut cache, get("/")).await;
    let status = status(&answer);
    let digits = status.split("ttl=").nth(1).unwrap().split(';').next().unwrap().len();
    assert!(digits <= 15, "{status}");
}

#[tokio::test]
async fn what_has_no_content_has_no_length() {
    let (mut cache, origin, _) = cache(Policy::new());
    origin.queue([reply(204, &[("cache-control", "max-age=60")], "")]);
    for (method, expected) in [("HEAD", "fwd=uri-miss"), ("HEAD", "hit"), ("GET", "hit")] {
        let answer = ask(&mut cache, request(method, "/", &[])).await;
        assert!(status(&answer).starts_with(expected), "{}", status(&answer));
        assert!(!answer.headers().contains_key("content-length"), "{method} {expected}");
    }
}
