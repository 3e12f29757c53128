//! Conditional and partial requests are answered from what is stored, and never lead as such.

use bytes::Bytes;
use http_body::Body;
use http_body_util::BodyExt;
use microcache::Policy;

use crate::common::*;

const FIELDS: [(&str, &str); 5] = [
    ("etag", "\"v1\""),
    ("last-modified", "Sun, 13 Sep 2020 12:00:00 GMT"),
    ("cache-control", "max-age=60"),
    ("content-type", "text/plain"),
    ("x-kept", "1"),
];

async fn warm() -> (TestCache, Origin) {
    let (mut cache, origin, _) = cache(Policy::new());
    origin.queue([reply(200, &FIELDS, "0123456789")]);
    ask(&mut cache, get("/")).await;
    (cache, origin)
}

#[tokio::test]
async fn a_condition_is_answered_from_the_store() {
    let table = [
        ("if-none-match", "\"v1\"", 304),
        ("if-none-match", "W/\"v1\"", 304),
        ("if-none-match", "\"v0\", \"v1\"", 304),
        ("if-none-match", "*", 304),
        ("if-none-match", "\"v2\"", 200),
        ("if-none-match", "v1", 200),
        ("if-modified-since", "Sun, 13 Sep 2020 12:00:00 GMT", 304),
        ("if-modified-since", "Sun, 13 Sep 2020 11:59:59 GMT", 200),
        ("if-modified-since", "yesterday", 200),
    ];
    let (mut cache, origin) = warm().await;
    for (name, value, code) in table {
        for method in ["GET", "HEAD"] {
            let answer = ask(&mut cache, request(method, "/", &[(name, value)])).await;
            assert_eq!(answer.status(), code, "{method} {name}: {value}");
            assert_eq!(status(&answer), "hit; ttl=60");
        }
    }
    assert_eq!(origin.forwards(), 1);
}

#[tokio::test]
async fn a_304_has_the_fields_that_update_and_no_others() {
    let (mut cache, _origin) = warm().await;
    let answer = ask(&mut cache, get_with("/", &[("if-none-match", "\"v1\"")])).await;

    for name in ["etag", "cache-control", "date", "age", "x-kept"] {
        assert!(answer.headers().contains_key(name), "{name} is there");
    }
    for name in ["content-type", "content-length", "last-modified"] {
        assert!(!answer.headers().contains_key(name), "{name} is not");
    }
    assert_eq!(text(answer).await.unwrap(), "");
}

#[tokio::test]
async fn a_range_is_cut_from_the_stored_whole() {
    let table = [
        ("bytes=0-3", 206, "0123", "bytes 0-3/10"),
        ("bytes=8-", 206, "89", "bytes 8-9/10"),
        ("bytes=-2", 206, "89", "bytes 8-9/10"),
        ("bytes=5-100", 206, "56789", "bytes 5-9/10"),
        ("bytes=10-", 416, "", "bytes */10"),
        ("bytes=4-2", 200, "0123456789", ""),
        ("bytes=10-, 4-5", 206, "45", "bytes 4-5/10"),
        ("bytes=10-, -0", 416, "", "bytes */10"),
        // As parts they would be longer than the whole.
        ("bytes=0-1, 4-5", 200, "0123456789", ""),
        ("bytes=0-1, x", 200, "0123456789", ""),
        ("lines=0-1", 200, "0123456789", ""),
    ];
    let (mut cache, origin) = warm().await;
    for (range, code, body, content_range) in table {
        let answer = ask(&mut cache, get_with("/", &[("range", range)])).await;
        assert_eq!(answer.status(), code, "{range}");
        assert_eq!(field(&answer, "content-range"), content_range, "{range}");
        assert_eq!(text(answer).await.unwrap(), body, "{range}");
    }
    assert_eq!(origin.forwards(), 1);
}

#[tokio::test]
async fn a_cold_range_condition_or_head_is_made_whole_for_the_origin() {
    let table = [
        ("GET", "range", "bytes=0-3", 206, "0123"),
        ("GET", "if-none-match", "\"v1\"", 304, ""),
        ("HEAD", "accept", "*/*", 200, ""),
    ];
    for (method, name, value, code, body) in table {
        let (mut cache, origin, _) = cache(Policy::new());
        let mut asked = send(&mut cache, request(method, "/", &[(name, value)]));
        assert!(asked.poll().is_pending());
        let seen = origin.reply(reply(200, &FIELDS, "0123456789"));
        assert_eq!(seen.method, "GET");
        assert!(!seen.headers.contains_key("range") && !seen.headers.contains_key("if-none-match"));

        let answer = tokio_test::assert_ready_ok!(asked.poll());
        assert_eq!(answer.status(), code, "{method} {name}");
        assert_eq!(status(&answer), "fwd=uri-miss; fwd-status=200; ttl=60; stored");
        assert_eq!(text(answer).await.unwrap(), body);
        let whole = ask(&mut cache, get("/")).await;
        assert_eq!(text(whole).await.unwrap(), "0123456789", "the whole was stored");
    }
}

#[tokio::test]
async fn the_answer_to_who_led_is_the_origins_and_has_no_age() {
    let asks = [("HEAD", "accept", "*/*"), ("GET", "range", "bytes=0-3"), ("GET", "if-none-match", "\"v1\"")];
    for (method, name, value) in asks {
        let (mut cache, origin, _) = cache(Policy::new());
        origin.queue([reply(200, &FIELDS, "0123456789")]);
        let answer = ask(&mut cache, request(method, "/", &[(name, value)])).await;
        assert!(!answer.headers().contains_key("age"), "{method} {name}");
    }
}

#[tokio::test]
async fn a_cold_range_condition_or_head_gets_its_own_answer_even_if_nobody_may_share_it() {
    let fields = [("etag", "\"v1\""), ("cache-control", "private"), ("content-type", "text/plain")];
    let table = [
        ("GET", "range", "bytes=2-5", 206, "2345", "bytes 2-5/10", "4"),
        ("GET", "range", "bytes=10-", 416, "", "bytes */10", ""),
        ("GET", "if-none-match", "\"v1\"", 304, "", "", ""),
        ("HEAD", "accept", "*/*", 200, "", "", "10"),
    ];
    for is_late in [false, true] {
        for (method, name, value, code, body, content_range, length) in table {
            let (mut cache, origin, _) = cache(Policy::new());
            let (whole, feed) = TestBody::declared(10);
            let send = || ["01", "234", "56789"].map(|chunk| feed.data(chunk));
            if !is_late {
                send();
            }
            origin.queue([reply(200, &fields, whole)]);
            let answer = ask(&mut cache, request(method, "/", &[(name, value)])).await;
            if is_late {
                send();
            }
            feed.end();
            assert_eq!(answer.status(), code, "{method} {name}");
            assert_eq!(field(&answer, "content-range"), content_range);
            assert_eq!(field(&answer, "content-length"), length);
            assert_eq!(status(&answer), "fwd=uri-miss; fwd-status=200; detail=private");
            assert_eq!(text(answer).await.unwrap(), body);
        }
    }
}

#[tokio::test]
async fn a_range_of_what_is_too_large_to_store_is_cut_while_it_streams() {
    let (mut cache, origin, _) = cache(Policy::new().max_body_bytes(4));
    let (whole, feed) = TestBody::declared(10);
    origin.queue([reply(200, &[], whole)]);
    let answer = ask(&mut cache, get_with("/", &[("range", "bytes=2-5")])).await;
    assert_eq!(answer.status(), 206);
    let mut body = answer.into_body();
    feed.data("012");
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "2");
    feed.data("3456789");
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "345");
    assert!(feed.is_gone(), "nobody waits for the rest");
    assert!(body.frame().await.is_none());
}

#[tokio::test]
async fn a_range_of_a_body_that_ends_before_it_is_an_error() {
    let (mut cache, origin, _) = cache(Policy::new().max_body_bytes(4));
    let (whole, feed) = TestBody::declared(10);
    origin.queue([reply(200, &[], whole)]);
    let answer = ask(&mut cache, get_with("/", &[("range", "bytes=2-5")])).await;
    feed.data("0123");
    feed.end();

    assert!(text(answer).await.is_err());
}

#[tokio::test]
async fn for_a_marked_key_requests_pass_as_they_are_and_their_parts_are_not_stored() {
    let (mut cache, origin, _) = cache(Policy::new());
    origin.queue([reply(200, &[("cache-control", "private")], "mine")]);
    ask(&mut cache, get("/")).await;

    let mut asked = send(&mut cache, get_with("/", &[("range", "bytes=0-3")]));
    assert!(asked.poll().is_pending());
    assert_eq!(origin.head().headers["range"], "bytes=0-3");
    origin.reply(reply(206, &[("content-range", "bytes 0-3/10"), ("cache-control", "max-age=60")], "0123"));
    assert_eq!(tokio_test::assert_ready_ok!(asked.poll()).status(), 206);

    let mut head = send(&mut cache, request("HEAD", "/", &[]));
    assert!(head.poll().is_pending());
    assert_eq!(origin.head().method, "HEAD");
    origin.reply(reply(200, &[("cache-control", "max-age=60")], ""));
    assert_eq!(tokio_test::assert_ready_ok!(head.poll()).status(), 200);

    origin.queue([reply(200, &[("cache-control", "max-age=60")], "whole")]);
    assert_eq!(text(ask(&mut cache, get("/")).await).await.unwrap(), "whole");
    assert_eq!(text(ask(&mut cache, get("/")).await).await.unwrap(), "whole", "and now it is stored");
    assert_eq!(origin.forwards(), 4);
}

#[tokio::test]
async fn a_416_is_not_fresh_for_as_long_as_the_200() {
    let (mut cache, origin, _) = cache(Policy::new());
    origin.queue([reply(200, &[("cache-control", "public, max-age=86400"), ("etag", "\"a\"")], "page")]);
    ask(&mut cache, get("/")).await;
    let answer = ask(&mut cache, get_with("/", &[("range", "bytes=99-")])).await;
    assert_eq!(answer.status(), 416);
    assert_eq!(field(&answer, "cache-control"), "", "a cache in front may keep this 416 for a day");
}

/// What is true of the 200 alone, and what a 206 has to repeat.
const MORE_FIELDS: [(&str, &str); 12] = [
    ("etag", "\"v1\""),
    ("cache-control", "max-age=60"),
    ("cdn-cache-control", "max-age=600"),
    ("expires", "Sun, 13 Sep 2020 12:00:00 GMT"),
    ("vary", "accept"),
    ("content-location", "/long.txt"),
    ("content-type", "text/plain; charset=utf-8"),
    ("content-language", "en"),
    ("content-digest", "sha-256=:x:"),
    ("content-md5", "x"),
    ("content-range", "bytes 0-1/2"),
    ("trailer", "checksum"),
];

/// A cache with a long body that has trailers.
async fn warm_with_trailers() -> (TestCache, Origin, Bytes) {
    let (mut cache, origin, _) = cache(Policy::new());
    let (body, feed) = TestBody::streamed();
    let text: &'static str = "0123456789".repeat(200).leak();
    feed.data(text);
    feed.trailers("checksum", "7");
    feed.end();
    origin.queue([reply(200, &MORE_FIELDS, body)]);
    ask(&mut cache, get("/")).await.into_body().collect().await.unwrap();
    (cache, origin, Bytes::from_static(text.as_bytes()))
}

#[tokio::test]
async fn several_ranges_are_cut_from_the_stored_whole_as_parts() {
    let (mut cache, origin, _) = warm_with_trailers().await;
    let answer = ask(&mut cache, get_with("/", &[("range", "bytes=-3, 2000-, 11-12")])).await;

    assert_eq!(answer.status(), 206);
    assert_eq!(status(&answer), "hit; ttl=600");
    assert_eq!(field(&answer, "content-range"), "", "it is in the parts");
    let boundary = field(&answer, "content-type").strip_prefix("multipart/byteranges; boundary=").unwrap().to_owned();
    let length: u64 = field(&answer, "content-length").parse().unwrap();
    assert_eq!(answer.body().size_hint().exact(), Some(length));
    let body = answer.into_body().collect().await.unwrap();
    assert!(body.trailers().is_none(), "they are the whole's");
    let expected = format!(
        "\r\n--{boundary}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Range: bytes 1997-1999/2000\r\n\r\n789\
         \r\n--{boundary}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Range: bytes 11-12/2000\r\n\r\n12\
         \r\n--{boundary}--\r\n"
    );
    let body = body.to_bytes();
    assert_eq!(body.len() as u64, length);
    assert_eq!(body, expected);
    assert_eq!(origin.forwards(), 1);
}

#[tokio::test]
async fn no_two_answers_have_the_same_boundary() {
    let (mut cache, _origin, _) = warm_with_trailers().await;
    let mut seen = Vec::new();
    for _ in 0..10 {
        let answer = ask(&mut cache, get_with("/", &[("range", "bytes=0-1, 3-4")])).await;
        let content_type = field(&answer, "content-type").to_owned();
        assert!(!seen.contains(&content_type), "{content_type}");
        seen.push(content_type);
    }
}

#[tokio::test]
async fn a_206_repeats_the_fields_of_the_200_but_not_those_of_its_content() {
    let table = [("bytes=0-1", "bytes 0-1/2000"), ("bytes=0-1, 3-4", ""), ("bytes=0-1, 3000-", "bytes 0-1/2000")];
    let (mut cache, _origin, _) = warm_with_trailers().await;
    for (range, content_range) in table {
        let answer = ask(&mut cache, get_with("/", &[("range", range)])).await;
        assert_eq!(answer.status(), 206, "{range}");
        for (name, value) in &MORE_FIELDS[..6] {
            assert_eq!(field(&answer, name), *value, "{range}");
        }
        for name in ["date", "age", "content-language"] {
            assert!(answer.headers().contains_key(name), "{range}: {name} is there");
        }
        for name in ["content-digest", "content-md5", "trailer"] {
            assert!(!answer.headers().contains_key(name), "{range}: {name} is not");
        }
        assert_eq!(field(&answer, "content-range"), content_range, "{range}");
        assert!(answer.into_body().collect().await.unwrap().trailers().is_none(), "{range}");
    }
}

#[tokio::test]
async fn a_416_says_nothing_of_the_content_or_the_freshness_of_the_200() {
    let (mut cache, _origin, _) = warm_with_trailers().await;
    for range in ["bytes=2000-", "bytes=2000-, -0"] {
        let answer = ask(&mut cache, get_with("/", &[("range", range)])).await;
        assert_eq!(answer.status(), 416, "{range}");
        assert_eq!(field(&answer, "content-range"), "bytes */2000", "{range}");
        let mut names: Vec<_> = answer.headers().keys().map(|name| name.as_str()).collect();
        names.sort_unstable();
        assert_eq!(names, ["cache-status", "content-location", "content-range", "date", "vary"], "{range}");
        assert_eq!(text(answer).await.unwrap(), "");
    }
}

#[tokio::test]
async fn conditions_come_before_if_range_and_if_range_before_the_ranges() {
    let table = [
        ("\"v1\"", "\"v1\"", 304),
        ("\"v1\"", "\"v0\"", 304),
        ("\"v0\"", "\"v1\"", 206),
        ("\"v0\"", "\"v0\"", 200),
        ("\"v0\"", "W/\"v1\"", 200),
    ];
    let (mut cache, origin, _) = warm_with_trailers().await;
    for range in ["bytes=0-1", "bytes=0-1, 3-4"] {
        for (if_none_match, if_range, code) in table {
            let fields = [("if-none-match", if_none_match), ("if-range", if_range), ("range", range)];
            let answer = ask(&mut cache, get_with("/", &fields)).await;
            assert_eq!(answer.status(), code, "{range} {if_none_match} {if_range}");
        }
    }
    assert_eq!(origin.forwards(), 1);
}

#[tokio::test]
async fn a_head_has_no_ranges() {
    let (mut cache, _origin, _) = warm_with_trailers().await;
    for range in ["bytes=0-1", "bytes=0-1, 3-4", "bytes=2000-"] {
        let answer = ask(&mut cache, request("HEAD", "/", &[("range", range)])).await;
        assert_eq!(answer.status(), 200, "{range}");
        assert_eq!(field(&answer, "content-length"), "2000", "{range}");
    }
}

#[tokio::test]
async fn several_ranges_of_what_is_still_coming_are_the_whole() {
    let (mut cache, origin, _) = cache(Policy::new());
    let fields = [("range", "bytes=0-1, 3-4")];
    let (body, feed) = TestBody::declared(2_000);
    origin.queue([reply(200, &FIELDS, body), reply(200, &FIELDS, Bytes::from("0123456789".repeat(200)))]);
    let first = ask(&mut cache, get_with("/coming", &fields)).await;
    feed.data("0123456789".repeat(200).leak());
    feed.end();
    assert_eq!(first.status(), 200);
    assert_eq!(first.into_body().collect().await.unwrap().to_bytes().len(), 2_000);
    assert_eq!(ask(&mut cache, get_with("/coming", &fields)).await.status(), 206, "and then it is there");
    assert_eq!(ask(&mut cache, get_with("/there", &fields)).await.status(), 206);
}
