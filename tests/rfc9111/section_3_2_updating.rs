//! RFC 9111 §3.2: which fields does news of a stored response replace?

use crate::{
    common::{Answer, MILLI, SECOND, ask, cache, field, get, reply, text},
    exchange::{Fields, plain},
};

const STORED: [(&str, &str); 2] = [("cache-control", "max-age=10"), ("etag", "\"a\"")];

/// The answer after a 304 with these fields, and a hit that follows.
async fn updated(stored: Fields<'_>, news: Fields<'_>) -> [Answer; 2] {
    let (mut cache, origin, clock) = cache(plain());
    origin.queue([reply(200, &[&STORED, stored].concat(), "one")]);
    ask(&mut cache, get("/")).await;
    clock.advance(10 * SECOND);
    origin.queue([reply(304, &[&[("etag", "\"a\"")], news].concat(), "")]);
    let confirmed = ask(&mut cache, get("/")).await;
    clock.advance(MILLI);
    let hit = ask(&mut cache, get("/")).await;
    assert_eq!(origin.forwards(), 2, "{news:?}");
    [confirmed, hit]
}

/// What is stored, what the 304 says, and the lines that one of the fields has then.
type Row = (Fields<'static>, Fields<'static>, &'static str, &'static [&'static str]);

const TABLE: &[Row] = &[
    // §3.2: what is there is replaced.
    (&[("x-a", "old")], &[("x-a", "new")], "x-a", &["new"]),
    (&[("test-field", "old")], &[("test-field", "new")], "test-field", &["new"]),
    (&[("x-a", "old")], &[("x-a", "")], "x-a", &[""]),
    (&[("x-a", "1"), ("x-a", "2")], &[("x-a", "3")], "x-a", &["3"]),
    (&[("x-a", "1")], &[("x-a", "2"), ("x-a", "3")], "x-a", &["2", "3"]),
    (&[("cache-control", "public")], &[("cache-control", "max-age=20")], "cache-control", &["max-age=20"]),
    (
        &[("last-modified", "Sun, 13 Sep 2020 02:26:40 GMT")],
        &[("last-modified", "Sun, 13 Sep 2020 03:26:40 GMT")],
        "last-modified",
        &["Sun, 13 Sep 2020 03:26:40 GMT"],
    ),
    (
        &[("expires", "0")],
        &[("expires", "Sun, 13 Sep 2020 13:26:40 GMT")],
        "expires",
        &["Sun, 13 Sep 2020 13:26:40 GMT"],
    ),
    // §3.2: what is not there is added.
    (&[], &[("x-a", "new")], "x-a", &["new"]),
    (&[], &[("link", "</1>"), ("link", "</2>")], "link", &["</1>", "</2>"]),
    // §3.2: what the news do not have stays.
    (&[("x-a", "old")], &[], "x-a", &["old"]),
    (&[("x-a", "1"), ("x-a", "2")], &[("x-b", "3")], "x-a", &["1", "2"]),
    (&[("x-a", "old")], &[], "cache-control", &["max-age=10"]),
    // §3.2: the prefix Content- is no signal.
    (&[("content-foo", "old")], &[("content-foo", "new")], "content-foo", &["new"]),
    (&[("content-type", "text/plain")], &[("content-type", "text/html")], "content-type", &["text/html"]),
    (&[("content-location", "/a")], &[("content-location", "/b")], "content-location", &["/b"]),
    (&[("content-language", "de")], &[("content-language", "en")], "content-language", &["en"]),
    (
        &[("content-security-policy", "default-src 'none'")],
        &[("content-security-policy", "default-src 'self'")],
        "content-security-policy",
        &["default-src 'self'"],
    ),
    (&[("x-frame-options", "deny")], &[("x-frame-options", "sameorigin")], "x-frame-options", &["sameorigin"]),
    (&[("x-content-foo", "old")], &[("x-content-foo", "new")], "x-content-foo", &["new"]),
    // §3.2: Content-Length is not updated.
    (&[("content-length", "3")], &[("content-length", "9")], "content-length", &["3"]),
    (&[("content-length", "3")], &[("content-length", "0")], "content-length", &["3"]),
    (&[], &[("content-length", "9")], "content-length", &[]),
    // §3.2: fields that the recipient processes; this one says which part the content is.
    (&[], &[("content-range", "bytes 0-0/3")], "content-range", &[]),
    // §3.1, §3.2: what is not stored is not updated.
    (&[], &[("connection", "close")], "connection", &[]),
    (&[], &[("keep-alive", "timeout=5")], "keep-alive", &[]),
    (&[], &[("transfer-encoding", "chunked")], "transfer-encoding", &[]),
    (&[], &[("proxy-authenticate", "Basic")], "proxy-authenticate", &[]),
    (&[], &[("proxy-authentication-info", "a=b")], "proxy-authentication-info", &[]),
    (&[("x-a", "old")], &[("x-a", "hop"), ("connection", "x-a")], "x-a", &["old"]),
    // RFC 9110 §6.6.1: news without a date are of now.
    (&[("date", "Sun, 13 Sep 2020 12:26:40 GMT")], &[], "date", &["Sun, 13 Sep 2020 12:26:50 GMT"]),
    (
        &[("date", "Sun, 13 Sep 2020 12:26:40 GMT")],
        &[("date", "Sun, 13 Sep 2020 12:26:49 GMT")],
        "date",
        &["Sun, 13 Sep 2020 12:26:49 GMT"],
    ),
];

#[tokio::test]
async fn the_fields_of_a_304_replace_those_that_are_stored() {
    for (stored, news, name, expected) in TABLE {
        for answer in updated(stored, news).await {
            assert_eq!(answer.status(), 200);
            let lines: Vec<_> = answer.headers().get_all(*name).iter().collect();
            assert_eq!(lines, *expected, "{stored:?} and then {news:?}");
        }
    }
}

#[tokio::test]
async fn what_a_304_says_does_not_change_the_content() {
    let [confirmed, hit] = updated(&[("content-type", "text/plain")], &[("content-length", "0")]).await;
    for answer in [confirmed, hit] {
        assert_eq!(field(&answer, "content-type"), "text/plain");
        assert_eq!(text(answer).await.unwrap(), "one");
    }
}
