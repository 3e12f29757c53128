//! RFC 9110 §14 and §15.3.7: which part of a stored response is the answer, and what does it say?

use bytes::Bytes;
use tokio_test::assert_pending;

use crate::{
    common::{TestCache, ask, cache, field, get, get_with, reply, request, send, text},
    exchange::{A_MINUTE_AGO, Fields, NOW, given, plain},
};

/// `Range`, and the status, the content and `Content-Range` of the answer from the stored `one`.
const TABLE: &[(&str, u16, &str, &str)] = &[
    // §14.1.2: from, to, and the last so many.
    ("bytes=0-0", 206, "o", "bytes 0-0/3"),
    ("bytes=0-1", 206, "on", "bytes 0-1/3"),
    ("bytes=1-1", 206, "n", "bytes 1-1/3"),
    ("bytes=1-", 206, "ne", "bytes 1-2/3"),
    ("bytes=0-", 206, "one", "bytes 0-2/3"),
    ("bytes=0-2", 206, "one", "bytes 0-2/3"),
    ("bytes=1-99", 206, "ne", "bytes 1-2/3"),
    ("bytes=1-99999999999999999999999", 206, "ne", "bytes 1-2/3"),
    ("bytes=-1", 206, "e", "bytes 2-2/3"),
    ("bytes=-3", 206, "one", "bytes 0-2/3"),
    ("bytes=-99", 206, "one", "bytes 0-2/3"),
    ("bytes=-99999999999999999999999", 206, "one", "bytes 0-2/3"),
    ("bytes=00-01", 206, "on", "bytes 0-1/3"),
    ("Bytes=0-1", 206, "on", "bytes 0-1/3"),
    ("BYTES=0-1", 206, "on", "bytes 0-1/3"),
    ("bytes= 0-1", 206, "on", "bytes 0-1/3"),
    ("bytes=,0-1,", 206, "on", "bytes 0-1/3"),
    // §14.1.1, §15.5.17: none of it.
    ("bytes=3-", 416, "", "bytes */3"),
    ("bytes=3-4", 416, "", "bytes */3"),
    ("bytes=99999999999999999999999-", 416, "", "bytes */3"),
    ("bytes=-0", 416, "", "bytes */3"),
    ("bytes=5-6, 7-", 416, "", "bytes */3"),
    // §15.3.7.2: what is left of several is one.
    ("bytes=5-6, 1-1", 206, "n", "bytes 1-1/3"),
    // §14.2: what is invalid or unknown is ignored.
    ("bytes=1-0", 200, "one", ""),
    ("bytes=2-1, 0-0", 200, "one", ""),
    ("bytes=", 200, "one", ""),
    ("bytes", 200, "one", ""),
    ("bytes=-", 200, "one", ""),
    ("bytes=a-b", 200, "one", ""),
    ("bytes=0-x", 200, "one", ""),
    ("bytes=0", 200, "one", ""),
    ("bytes=+0-1", 200, "one", ""),
    ("bytes=0--1", 200, "one", ""),
    ("bytes=0-1-2", 200, "one", ""),
    ("bytes 0-1", 200, "one", ""),
    ("bytes 0-1/3", 200, "one", ""),
    ("lines=0-1", 200, "one", ""),
    ("items=0-1", 200, "one", ""),
    ("", 200, "one", ""),
];

#[tokio::test]
async fn a_part_of_what_is_stored_is_the_answer() {
    for (range, code, content, content_range) in TABLE {
        let asked = [("range", *range)];
        let answer = given(200, &[("cache-control", "max-age=60")]).then("GET", &asked).answer().await.unwrap();
        assert_eq!(answer.status(), *code, "{range}");
        assert_eq!(field(&answer, "content-range"), *content_range, "{range}");
        if *code == 206 {
            assert_eq!(field(&answer, "content-length"), content.len().to_string(), "{range}");
        }
        assert_eq!(text(answer).await.unwrap(), *content, "{range}");
    }
}

#[tokio::test]
async fn a_range_is_for_a_get_that_would_be_a_200() {
    // §14.2: other methods ignore it, and so do other statuses.
    let range: Fields<'_> = &[("range", "bytes=0-1")];
    let head = given(200, &[("cache-control", "max-age=60")]).then("HEAD", range).answer().await.unwrap();
    assert_eq!((head.status().as_u16(), field(&head, "content-range")), (200, ""));
    for code in [203, 300, 301, 404, 410, 500] {
        let answer = given(code, &[("cache-control", "max-age=60")]).then("GET", range).answer().await.unwrap();
        assert_eq!((answer.status().as_u16(), field(&answer, "content-range")), (code, ""));
        assert_eq!(text(answer).await.unwrap(), "one", "{code}");
    }
}

#[tokio::test]
async fn lines_of_range_that_differ_are_ignored() {
    let asked = [("range", "bytes=0-0"), ("range", "bytes=1-1")];
    let answer = given(200, &[("cache-control", "max-age=60")]).then("GET", &asked).answer().await.unwrap();
    assert_eq!(answer.status(), 200);
}

const LONG: [(&str, &str); 8] = [
    ("cache-control", "max-age=60"),
    ("etag", "\"a\""),
    ("date", NOW),
    ("expires", "0"),
    ("content-location", "/a"),
    ("vary", "x-a"),
    ("last-modified", A_MINUTE_AGO),
    ("content-type", "text/plain"),
];

/// A cache that holds two thousand bytes.
async fn long() -> TestCache {
    let (mut cache, origin, _) = cache(plain());
    origin.queue([reply(200, &LONG, Bytes::from("0123456789".repeat(200)))]);
    ask(&mut cache, get("/")).await;
    cache
}

#[tokio::test]
async fn a_206_has_the_fields_of_the_200() {
    // §15.3.7: those that a 200 would have had, all the more the six that are named there.
    let mut cache = long().await;
    for (name, value) in LONG {
        let answer = ask(&mut cache, get_with("/", &[("range", "bytes=0-9")])).await;
        assert_eq!(answer.status(), 206);
        assert_eq!(field(&answer, name), value);
    }
    let answer = ask(&mut cache, get_with("/", &[("range", "bytes=0-9"), ("if-range", "\"a\"")])).await;
    for (name, value) in &LONG[..6] {
        assert_eq!(field(&answer, name), *value);
    }
}

#[tokio::test]
async fn several_parts_are_multipart_and_each_says_which_it_is() {
    // §15.3.7.2: and the head has no Content-Range.
    let mut cache = long().await;
    for (range, expected) in [
        ("bytes=0-1, 5-6", &[("bytes 0-1/2000", "01"), ("bytes 5-6/2000", "56")][..]),
        ("bytes=5-6, 0-1", &[("bytes 5-6/2000", "56"), ("bytes 0-1/2000", "01")]),
        ("bytes=0-1, 9999-, -2", &[("bytes 0-1/2000", "01"), ("bytes 1998-1999/2000", "89")]),
    ] {
        let answer = ask(&mut cache, get_with("/", &[("range", range)])).await;
        assert_eq!((answer.status().as_u16(), field(&answer, "content-range")), (206, ""), "{range}");
        let boundary =
            field(&answer, "content-type").strip_prefix("multipart/byteranges; boundary=").unwrap().to_owned();
        let body = text(answer).await.unwrap();
        let parts: Vec<_> = body.split(&format!("--{boundary}")).skip(1).take(expected.len()).collect();
        for (part, (content_range, content)) in parts.iter().zip(expected) {
            assert!(part.contains(&format!("Content-Range: {content_range}\r\n")), "{range}: {part}");
            assert!(part.contains("Content-Type: text/plain\r\n"), "{range}: {part}");
            assert!(part.ends_with(&format!("\r\n\r\n{content}\r\n")), "{range}: {part}");
        }
        assert!(body.ends_with(&format!("--{boundary}--\r\n")), "{range}");
    }
}

#[tokio::test]
async fn many_ranges_that_overlap_or_cost_more_than_the_whole_are_ignored() {
    // §14.2, §15.3.7.2, §17.15.
    let many = (0..100).map(|at| format!("{at}-{at}")).collect::<Vec<_>>().join(",");
    let mut cache = long().await;
    for range in ["bytes=0-999, 500-1500, 700-1700", "bytes=0-, 0-, 0-", &format!("bytes={many}")] {
        let answer = ask(&mut cache, get_with("/", &[("range", range)])).await;
        assert_eq!(answer.status(), 200, "{range}");
        assert_eq!(text(answer).await.unwrap().len(), 2_000);
    }
}

#[tokio::test]
async fn of_no_bytes_there_is_no_part() {
    // §14.1.2, §15.5.17.
    for (range, code) in [("bytes=0-", 416), ("bytes=0-0", 416), ("bytes=-0", 416), ("bytes=-1", 200)] {
        let (mut cache, origin, _) = cache(plain());
        origin.queue([reply(200, &[("cache-control", "max-age=60")], "")]);
        ask(&mut cache, get("/")).await;
        assert_eq!(ask(&mut cache, get_with("/", &[("range", range)])).await.status(), code, "{range}");
    }
}

#[tokio::test]
async fn a_range_on_an_unsafe_method_is_the_origins_matter() {
    let (mut cache, origin, _) = cache(plain());
    origin.queue([reply(200, &[("cache-control", "max-age=60")], "one")]);
    ask(&mut cache, get("/")).await;
    let mut sent = send(&mut cache, request("PUT", "/", &[("range", "bytes=0-1")]));
    assert_pending!(sent.poll());
    assert_eq!(origin.head().headers["range"], "bytes=0-1");
}
