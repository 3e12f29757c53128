//! RFC 9111 §4: may this stored response answer this request, and what does the answer say?

use tokio_test::{assert_pending, assert_ready_ok};

use crate::{
    common::{Ask, SECOND, ask, cache, field, get, get_with, reply, request, send, status, text},
    exchange::{A_MINUTE_AGO, Fields, MINUTE, NOW, Then, Then::*, given, plain, then},
};

const FRESH: [(&str, &str); 1] = [("cache-control", "max-age=60")];

fn at(uri: &str, host: &str) -> Ask {
    let mut asked = request("GET", uri, &[]);
    asked.headers_mut().insert("host", host.parse().unwrap());
    asked
}

/// §4: the presented target URI and that of the stored response match (RFC 9110 §4.2.3, §7.1).
const TARGETS: &[(&str, &str, &str, &str, Then)] = &[
    ("/a", "shop.example", "/a", "shop.example", Stored),
    ("/a", "shop.example", "/a", "Shop.EXAMPLE", Stored),
    ("http://shop.example/a", "shop.example", "http://shop.example:80/a", "shop.example:80", Stored),
    ("https://shop.example/a", "shop.example", "https://shop.example:443/a", "shop.example:443", Stored),
    ("http://shop.example", "shop.example", "http://shop.example/", "shop.example", Stored),
    ("/a", "shop.example", "/b", "shop.example", Forwarded),
    ("/a", "shop.example", "/A", "shop.example", Forwarded),
    ("/a", "shop.example", "/a/", "shop.example", Forwarded),
    ("/a", "shop.example", "//a", "shop.example", Forwarded),
    ("/a/b", "shop.example", "/a%2fb", "shop.example", Forwarded),
    ("/a", "shop.example", "/a;b", "shop.example", Forwarded),
    ("/a", "shop.example", "/a?", "shop.example", Forwarded),
    ("/a?x", "shop.example", "/a?x=", "shop.example", Forwarded),
    ("/a?x=1", "shop.example", "/a?x=2", "shop.example", Forwarded),
    ("/a?x=1", "shop.example", "/a?X=1", "shop.example", Forwarded),
    ("/a?x=1&x=2", "shop.example", "/a?x=2&x=1", "shop.example", Forwarded),
    ("/a?x=1&y=2", "shop.example", "/a?x=1%26y=2", "shop.example", Forwarded),
    ("/a?x=1", "shop.example", "/a%3Fx=1", "shop.example", Forwarded),
    ("/a", "shop.example", "/a", "other.example", Forwarded),
    ("/a", "shop.example", "/a", "shop.example:8080", Forwarded),
    ("/a", "shop.example", "/a", "shop.example.", Forwarded),
    ("http://shop.example/a", "shop.example", "https://shop.example/a", "shop.example", Forwarded),
    ("http://shop.example/a", "shop.example", "http://other.example/a", "other.example", Forwarded),
    ("http://shop.example:443/a", "shop.example:443", "http://shop.example/a", "shop.example", Forwarded),
];

#[tokio::test]
async fn the_target_uris_match() {
    for (first, first_host, second, second_host, expected) in TARGETS {
        let (mut cache, origin, _) = cache(plain());
        origin.queue([reply(200, &FRESH, "one")]);
        ask(&mut cache, at(first, first_host)).await;
        let second = then(&mut cache, &origin, at(second, second_host)).await;
        assert_eq!(second, *expected, "{first} at {first_host} and then {second_host}");
    }
}

#[tokio::test]
async fn the_method_allows_it() {
    // §4: what a GET brought may answer a GET and a HEAD, and nothing else.
    let table = [
        ("GET", Stored),
        ("HEAD", Stored),
        ("POST", Forwarded),
        ("PUT", Forwarded),
        ("DELETE", Forwarded),
        ("PATCH", Forwarded),
        ("OPTIONS", Forwarded),
        ("TRACE", Forwarded),
        ("PROPFIND", Forwarded),
        ("QUERY", Forwarded),
        ("FROBNICATE", Forwarded),
        ("get", Forwarded),
        ("Head", Forwarded),
    ];
    for (method, expected) in table {
        assert_eq!(given(200, &FRESH).then(method, &[]).second().await, expected, "{method}");
    }
}

#[tokio::test]
async fn unsafe_methods_are_written_through_each_time() {
    // §4: no reply before the origin's.
    for method in ["POST", "PUT", "DELETE", "PATCH", "FROBNICATE"] {
        let (mut cache, origin, _) = cache(plain());
        origin.queue([reply(200, &FRESH, "page")]);
        ask(&mut cache, get("/")).await;
        for round in 1..=3 {
            let mut sent = send(&mut cache, request(method, "/", &[]));
            assert_pending!(sent.poll(), "{method}");
            assert_eq!(origin.head().method, method);
            origin.reply(reply(400, &FRESH, "no"));
            assert_eq!(text(assert_ready_ok!(sent.poll())).await.unwrap(), "no", "{method}");
            assert_eq!(origin.forwards(), 1 + round, "{method}");
        }
    }
}

/// §4: fresh, or allowed to be served stale, or validated; and no-cache is validated always.
const REUSE: &[(Fields<'_>, u32, Then)] = &[
    (&[("cache-control", "max-age=60")], 0, Stored),
    (&[("cache-control", "max-age=60")], 59, Stored),
    (&[("cache-control", "max-age=60")], 60, Forwarded),
    (&[("cache-control", "max-age=60"), ("etag", "\"a\"")], 60, Asked("if-none-match: \"a\"")),
    (&[("cache-control", "max-age=60, stale-while-revalidate=60")], 60, Refreshed),
    (&[("cache-control", "no-cache"), ("etag", "\"a\"")], 0, Asked("if-none-match: \"a\"")),
    (&[("cache-control", "no-cache, max-age=60"), ("etag", "\"a\"")], 0, Asked("if-none-match: \"a\"")),
    (&[("cache-control", "no-cache, max-age=60")], 0, Forwarded),
];

#[tokio::test]
async fn it_is_fresh_or_allowed_stale_or_validated() {
    for (said, after, expected) in REUSE {
        assert_eq!(given(200, said).after(*after * SECOND).second().await, *expected, "{said:?} after {after} s");
    }
}

#[tokio::test]
async fn an_answer_from_the_store_has_one_age_and_it_is_the_current_one() {
    // What the origin said, what passes, what the answer says (§4, §4.2.3).
    let table: [(Fields<'_>, u32, &str); 7] = [
        (&[], 0, "0"),
        (&[], 59, "59"),
        (&[("age", "7")], 0, "7"),
        (&[("age", "7")], 12, "19"),
        (&[("age", "7"), ("age", "8")], 12, "19"),
        (&[("age", "x")], 12, "12"),
        (&[("date", A_MINUTE_AGO)], 12, "72"),
    ];
    let requests: [(&str, Fields<'_>, u16); 5] = [
        ("GET", &[], 200),
        ("HEAD", &[], 200),
        ("GET", &[("if-none-match", "\"a\"")], 304),
        ("HEAD", &[("if-none-match", "\"a\"")], 304),
        ("GET", &[("range", "bytes=0-0")], 206),
    ];
    for (said, after, age) in table {
        let said = [&[("cache-control", "max-age=600"), ("etag", "\"a\"")], said].concat();
        for (method, asked, code) in requests {
            let answer = given(200, &said).after(after * SECOND).then(method, asked).answer().await.unwrap();
            assert_eq!(answer.status(), code, "{method} {asked:?}");
            let ages: Vec<_> = answer.headers().get_all("age").iter().collect();
            assert_eq!(ages, [age], "{said:?} after {after} s, {method} {asked:?}");
        }
    }
}

#[tokio::test]
async fn what_the_origin_has_just_confirmed_or_sent_has_no_age_of_the_caches() {
    // §5.1: Age says that the response was not generated or validated for this request.
    for (code, content) in [(304, ""), (200, "two")] {
        let (mut cache, origin, clock) = cache(plain());
        let said = [("cache-control", "max-age=60"), ("etag", "\"a\""), ("date", NOW)];
        origin.queue([reply(200, &said, "one"), reply(code, &said[..2], content)]);
        assert!(!ask(&mut cache, get("/")).await.headers().contains_key("age"));
        clock.advance(MINUTE);
        let answer = ask(&mut cache, get("/")).await;
        assert!(!answer.headers().contains_key("age"), "{code}: {}", field(&answer, "age"));
    }
}

#[tokio::test]
async fn of_several_responses_the_most_recent_answers() {
    let (mut cache, origin, clock) = cache(plain());
    for round in ["one", "two", "three"] {
        origin.queue([reply(200, &FRESH, round)]);
        let answer = ask(&mut cache, get("/")).await;
        assert_eq!(text(answer).await.unwrap(), round);
        clock.advance(59 * SECOND);
        assert_eq!(text(ask(&mut cache, get("/")).await).await.unwrap(), round);
        clock.advance(SECOND);
    }
}

/// §4: requests may be collapsed if the response may be reused for each of them.
const COLLAPSED: &[(Fields<'_>, Fields<'_>, bool)] = &[
    (&[("cache-control", "max-age=60")], &[], true),
    (&[("cache-control", "max-age=60"), ("vary", "x-a")], &[], true),
    (&[("cache-control", "max-age=60"), ("vary", "x-a")], &[("x-a", "1")], false),
    (&[("cache-control", "max-age=60"), ("vary", "*")], &[], false),
    (&[("cache-control", "no-store")], &[], false),
    (&[("cache-control", "private, max-age=60")], &[], false),
    (&[("cache-control", "no-cache"), ("etag", "\"a\"")], &[], false),
    (&[("cache-control", "no-cache")], &[], false),
    (&[("cache-control", "max-age=0, must-revalidate"), ("etag", "\"a\"")], &[], false),
    (&[("cache-control", "s-maxage=0"), ("etag", "\"a\"")], &[], false),
];

#[tokio::test]
async fn who_waits_for_the_same_response_gets_it_only_if_it_may_be_reused() {
    for (said, asked, is_shared) in COLLAPSED {
        let (mut cache, origin, _) = cache(plain());
        let mut first = send(&mut cache, get("/"));
        assert_pending!(first.poll());
        let mut second = send(&mut cache, get_with("/", asked));
        assert_pending!(second.poll());
        assert_eq!(origin.waiting(), 1);
        origin.reply(reply(200, said, "one"));
        assert_eq!(text(assert_ready_ok!(first.poll())).await.unwrap(), "one");

        let answer = second.poll();
        assert_eq!(answer.is_ready(), *is_shared, "{said:?} {asked:?}");
        if *is_shared {
            assert!(status(&assert_ready_ok!(answer)).ends_with("collapsed"), "{said:?}");
        } else {
            assert_eq!(origin.waiting(), 1, "{said:?} {asked:?}");
        }
    }
}
