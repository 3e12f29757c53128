//! RFC 9111 §4.3.1: what does the cache ask to have its stored response confirmed?

use tokio_test::assert_pending;

use crate::{
    common::{SECOND, ask, cache, get, get_with, reply, request, send},
    exchange::{Fields, NOW, TEN_HOURS_AGO, Then, Then::*, conditions, given, plain, single},
};

const MODIFIED: (&str, &str) = ("last-modified", TEN_HOURS_AGO);
const SINCE: Then = Asked("if-modified-since: Sun, 13 Sep 2020 02:26:40 GMT");
const A: Then = Asked("if-none-match: \"a\"");
const A_SINCE: Then = Asked("if-none-match: \"a\"; if-modified-since: Sun, 13 Sep 2020 02:26:40 GMT");

/// The validators of what is stored, and what a request for it becomes.
const VALIDATORS: &[(Fields<'_>, Then)] = &[
    // §4.3.1: the entity tag, as it was.
    (&[("etag", "\"a\"")], A),
    (&[("etag", "W/\"a\"")], Asked("if-none-match: W/\"a\"")),
    (&[("etag", "\"\"")], Asked("if-none-match: \"\"")),
    (&[("etag", "\"a,b\"")], Asked("if-none-match: \"a,b\"")),
    (&[("etag", "\"a\\\"")], Asked("if-none-match: \"a\\\"")),
    (&[("etag", "\"a\""), ("etag", "\"a\"")], A),
    // §4.3.1: the last modification, as it was.
    (&[MODIFIED], SINCE),
    (
        &[("last-modified", "Sunday, 13-Sep-20 02:26:40 GMT")],
        Asked("if-modified-since: Sunday, 13-Sep-20 02:26:40 GMT"),
    ),
    (&[("last-modified", "Sun Sep 13 02:26:40 2020")], Asked("if-modified-since: Sun Sep 13 02:26:40 2020")),
    // §4.3.1: in most cases both.
    (&[("etag", "\"a\""), MODIFIED], A_SINCE),
    (
        &[("etag", "W/\"a\""), MODIFIED],
        Asked("if-none-match: W/\"a\"; if-modified-since: Sun, 13 Sep 2020 02:26:40 GMT"),
    ),
    // RFC 9110 §8.8: what is no validator says nothing.
    (&[], Forwarded),
    (&[("date", NOW)], Forwarded),
    (&[("etag", "a")], Forwarded),
    (&[("etag", "w/\"a\"")], Forwarded),
    (&[("etag", "\"a")], Forwarded),
    (&[("etag", "")], Forwarded),
    (&[("etag", "\"a\""), ("etag", "\"b\"")], Forwarded),
    (&[("last-modified", "0")], Forwarded),
    (&[("last-modified", "")], Forwarded),
    (&[MODIFIED, ("last-modified", NOW)], Forwarded),
    (&[("etag", "a"), MODIFIED], SINCE),
    (&[("etag", "\"a\""), ("last-modified", "x")], A),
];

#[tokio::test]
async fn the_validators_of_the_stored_response_are_sent() {
    let reasons = [("max-age=60", 60), ("max-age=0", 0), ("no-cache", 0), ("max-age=60, no-cache", 0)];
    for (validators, expected) in VALIDATORS {
        for (said, after) in reasons {
            let said = [&[("cache-control", said)], *validators].concat();
            let stale = given(200, &said).after(after * SECOND);
            assert_eq!(stale.second().await, *expected, "{said:?}");
        }
    }
}

/// What a client asks for, whose own conditions are not the cache's.
const REQUESTS: &[(&str, Fields<'_>)] = &[
    ("GET", &[]),
    ("HEAD", &[]),
    ("GET", &[("if-none-match", "\"b\"")]),
    ("GET", &[("if-none-match", "*")]),
    ("GET", &[("if-modified-since", NOW)]),
    ("HEAD", &[("if-none-match", "\"b\""), ("if-modified-since", NOW)]),
    ("GET", &[("range", "bytes=0-0")]),
    ("GET", &[("range", "bytes=0-0"), ("if-range", "\"b\"")]),
];

#[tokio::test]
async fn the_request_is_the_clients_but_for_its_conditions() {
    for policy in [plain(), single()] {
        for (method, asked) in REQUESTS {
            let said = [("cache-control", "max-age=60"), ("etag", "\"a\""), MODIFIED];
            let (mut cache, origin) = given(200, &said).policy(policy.clone()).after(60 * SECOND).first().await;
            let fields = [&[("accept", "text/html"), ("x-a", "1"), ("x-a", "2")], *asked].concat();
            let mut second = send(&mut cache, request(method, "/", &fields));
            assert_pending!(second.poll());

            let head = origin.head();
            let expected = "if-none-match: \"a\"; if-modified-since: Sun, 13 Sep 2020 02:26:40 GMT";
            assert_eq!(conditions(&head.headers), expected, "{method} {asked:?}");
            assert_eq!((head.method.as_str(), head.uri.path()), ("GET", "/"), "{method} {asked:?}");
            assert_eq!(head.headers["accept"], "text/html");
            assert_eq!(head.headers.get_all("x-a").iter().collect::<Vec<_>>(), ["1", "2"]);
        }
    }
}

#[tokio::test]
async fn statuses_other_than_200_are_validated_too() {
    for code in [203, 204, 300, 301, 302, 404, 410, 501] {
        let stale = given(code, &[("cache-control", "max-age=60"), ("etag", "\"a\"")]).after(60 * SECOND);
        assert_eq!(stale.second().await, A, "{code}");
    }
}

#[tokio::test]
async fn the_date_of_another_variant_is_not_sent() {
    // §4.3.1: If-Modified-Since is for a single stored response; tags are for many.
    let (mut cache, origin, _) = cache(plain());
    let said = [("cache-control", "max-age=60"), ("vary", "x-a"), MODIFIED];
    origin.queue([reply(200, &said, "one")]);
    ask(&mut cache, get_with("/", &[("x-a", "1")])).await;
    let mut second = send(&mut cache, get("/"));
    assert_pending!(second.poll());
    assert_eq!(conditions(&origin.head().headers), "");
}
