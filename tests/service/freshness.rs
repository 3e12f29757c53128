//! For how long, and for whom.

use std::time::Duration;

use microcache::Policy;

use crate::common::*;

type Fields = &'static [(&'static str, &'static str)];

/// Is a second request after `wait` answered from the store?
async fn lives(fields: &[(&str, &str)], wait: Duration) -> bool {
    let (mut cache, origin, clock) = cache(Policy::new());
    origin.queue([reply(200, fields, "one"), reply(200, fields, "two")]);
    ask(&mut cache, get("/")).await;
    clock.advance(wait);
    text(ask(&mut cache, get("/")).await).await.unwrap() == "one"
}

#[tokio::test]
async fn a_response_is_fresh_for_as_long_as_its_fields_say() {
    let date = ("date", "Sun, 13 Sep 2020 12:26:40 GMT");
    let table: [(&[(&str, &str)], u64); 10] = [
        (&[], 1_000),
        (&[("cache-control", "max-age=60")], 60_000),
        (&[("cache-control", "max-age=60, s-maxage=10")], 10_000),
        (&[("cache-control", "s-maxage=10"), ("expires", "Thu, 01 Jan 1970 00:00:00 GMT")], 10_000),
        (&[date, ("expires", "Sun, 13 Sep 2020 12:27:10 GMT")], 30_000),
        (&[date, ("expires", "Sunday, 13-Sep-20 12:27:10 GMT")], 30_000),
        (&[("cache-control", "max-age=\"60\"")], 60_000),
        (&[("cache-control", "MAX-AGE=60")], 60_000),
        (&[("cache-control", "max-age=60"), ("age", "50")], 10_000),
        (&[("cache-control", "public")], 1_000),
    ];
    for (fields, lifetime) in table {
        assert!(lives(fields, Duration::from_millis(lifetime - 1)).await, "{fields:?} is fresh until {lifetime} ms");
        assert!(!lives(fields, Duration::from_millis(lifetime)).await, "{fields:?} is stale at {lifetime} ms");
    }
}

#[tokio::test]
async fn a_broken_lifetime_is_stale_at_once() {
    let date = ("date", "Sun, 13 Sep 2020 12:26:40 GMT");
    let table: [&[(&str, &str)]; 9] = [
        &[("cache-control", "max-age=0")],
        &[("cache-control", "max-age=-1")],
        &[("cache-control", "max-age=1.5")],
        &[("cache-control", "max-age=soon")],
        &[("cache-control", "max-age=60"), ("cache-control", "max-age=x")],
        &[date, ("expires", "0")],
        &[date, ("expires", "tomorrow")],
        &[date, ("expires", "Sun, 13 Sep 2020 12:26:40 GMT")],
        &[("cache-control", "max-age=60"), ("age", "60")],
    ];
    for fields in table {
        assert!(!lives(fields, Duration::ZERO).await, "{fields:?}");
    }
}

#[tokio::test]
async fn what_must_never_be_stored_is_not() {
    const EXPLICIT: (&str, &str) = ("cache-control", "public, max-age=60");
    let table: [(u16, Fields, &str); 15] = [
        (200, &[("cache-control", "no-store, max-age=60")], "no-store"),
        (200, &[("cache-control", "max-age=60"), ("cache-control", "Private")], "private"),
        (200, &[("cache-control", "private=\"x\", max-age=60")], "private"),
        (200, &[("cache-control", "no-cache, max-age=60")], "validation"),
        (200, &[EXPLICIT, ("set-cookie", "session=1")], "set-cookie"),
        (200, &[EXPLICIT, ("vary", "*")], "vary"),
        (200, &[EXPLICIT, ("vary", "accept"), ("vary", "a, *")], "vary"),
        (200, &[EXPLICIT, ("content-type", "text/event-stream")], "stream"),
        (200, &[EXPLICIT, ("content-type", "application/grpc")], "stream"),
        (206, &[EXPLICIT, ("content-range", "bytes 0-0/4")], "status"),
        (304, &[EXPLICIT], "status"),
        (500, &[], "no-freshness"),
        (503, &[("cache-control", "max-age=0")], "status"),
        (302, &[], "no-freshness"),
        (403, &[], "no-freshness"),
    ];
    for (code, fields, detail) in table {
        let (mut cache, origin, _) = cache(Policy::new());
        origin.queue([reply(code, fields, "one"), reply(code, fields, "two")]);
        let first = ask(&mut cache, get("/")).await;
        assert_eq!(status(&first), format!("fwd=uri-miss; fwd-status={code}; detail={detail}"), "{code} {fields:?}");
        assert_eq!(text(first).await.unwrap(), "one");
        assert_eq!(text(ask(&mut cache, get("/")).await).await.unwrap(), "two", "{code} {fields:?}");
    }
}

#[tokio::test]
async fn default_freshness_is_neither_made_by_nor_given_to_requests_with_credentials() {
    for name in ["authorization", "cookie"] {
        let (mut cache, origin, _) = cache(Policy::new());
        let mine = get_with("/", &[(name, "a=1")]);
        origin.queue([ok("alice's"), ok("everybody's"), ok("bob's")]);

        let first = ask(&mut cache, mine).await;
        assert_eq!(text(first).await.unwrap(), "alice's", "{name}");
        assert_eq!(text(ask(&mut cache, get("/")).await).await.unwrap(), "everybody's", "{name}: not alice's");
        let bob = ask(&mut cache, get_with("/", &[(name, "a=2")])).await;
        assert!(status(&bob).starts_with("fwd=request"), "{name}: {}", status(&bob));
        assert_eq!(text(bob).await.unwrap(), "bob's", "{name}");
        assert_eq!(text(ask(&mut cache, get("/")).await).await.unwrap(), "everybody's", "{name}: not bob's");
    }
}

#[tokio::test]
async fn authorization_needs_a_directive_that_allows_sharing() {
    let table = [
        ("max-age=60", false),
        ("max-age=60, public", true),
        ("s-maxage=60", true),
        ("max-age=60, must-revalidate", true),
        ("public", false),
    ];
    for (directives, is_shared) in table {
        let (mut cache, origin, _) = cache(Policy::new());
        let fields = [("cache-control", directives)];
        origin.queue([reply(200, &fields, "one"), reply(200, &fields, "two")]);
        ask(&mut cache, get_with("/", &[("authorization", "Basic YQ==")])).await;
        let second = ask(&mut cache, get_with("/", &[("authorization", "Basic Yg==")])).await;
        assert_eq!(text(second).await.unwrap() == "one", is_shared, "{directives}");
    }
}

#[tokio::test]
async fn cookies_that_do_not_matter_do_not_hinder() {
    let (mut cache, origin, _) = cache(Policy::new().ignore_cookies());
    origin.queue([ok("page")]);
    ask(&mut cache, get_with("/", &[("cookie", "_ga=1")])).await;

    let hit = ask(&mut cache, get_with("/", &[("cookie", "_ga=2")])).await;

    assert_eq!(status(&hit), "hit; ttl=1");
}

#[tokio::test]
async fn without_default_freshness_only_the_origin_decides() {
    let (mut cache, origin, _) = cache(Policy::new().without_default_freshness());
    origin.queue([ok("one"), ok("two")]);

    let first = ask(&mut cache, get("/")).await;
    assert_eq!(status(&first), "fwd=uri-miss; fwd-status=200");
    assert_eq!(text(ask(&mut cache, get("/")).await).await.unwrap(), "two");
}

#[tokio::test]
async fn client_directives_are_no_lever() {
    let (mut cache, origin, _) = cache(Policy::new());
    origin.queue([ok("page")]);
    ask(&mut cache, get("/")).await;

    for directive in ["no-cache", "no-store", "max-age=0"] {
        let again = ask(&mut cache, get_with("/", &[("cache-control", directive), ("pragma", "no-cache")])).await;
        assert_eq!(status(&again), "hit; ttl=1", "{directive}");
    }
}
