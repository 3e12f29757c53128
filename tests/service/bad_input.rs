//! Requests and responses that nobody should send: no panic, no merged key, and the safe reading.

use http::HeaderValue;
use microcache::Policy;

use crate::common::*;

fn bytes_field(mut request: Ask, name: &'static str, value: &[u8]) -> Ask {
    request.headers_mut().append(name, HeaderValue::from_bytes(value).unwrap());
    request
}

#[tokio::test]
async fn sixty_four_kilobytes_of_fields_are_no_trouble() {
    let (mut cache, origin, _) = cache(Policy::new());
    let value = "x".repeat(1_000);
    let fields: Vec<(String, &str)> = (0..64).map(|index| (format!("x-field-{index}"), value.as_str())).collect();
    let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    origin.queue([reply(200, &fields, "page")]);
    ask(&mut cache, get_with("/", &fields)).await;

    let hit = ask(&mut cache, get_with("/", &fields)).await;

    assert_eq!(status(&hit), "hit; ttl=1");
    assert_eq!(field(&hit, "x-field-63").len(), 1_000);
}

#[tokio::test]
async fn thousands_of_parameters_are_sorted_or_refused_and_never_merged() {
    let (mut cache, origin, _) = cache(Policy::new());
    let parameters = |range: std::ops::Range<u32>| range.map(|n| format!("p{n}={n}")).collect::<Vec<_>>();
    let forward = parameters(0..256).join("&");
    let mut reversed = parameters(0..256);
    reversed.reverse();
    origin.queue([ok("sorted"), ok("too many"), ok("too many, too"), ok("too long"), ok("too long, too")]);

    ask(&mut cache, get(&format!("/?{forward}"))).await;
    let hit = ask(&mut cache, get(&format!("/?{}", reversed.join("&")))).await;
    assert_eq!(text(hit).await.unwrap(), "sorted");

    for (number, body, detail) in [
        (257, "too many", "too-many-parameters"),
        (257, "too many, too", "too-many-parameters"),
        (5_000, "too long", "key-too-long"),
        (5_000, "too long, too", "key-too-long"),
    ] {
        let answer = ask(&mut cache, get(&format!("/?{}", parameters(0..number).join("&")))).await;
        assert_eq!(status(&answer), format!("fwd=bypass; detail={detail}"));
        assert_eq!(text(answer).await.unwrap(), body);
    }
}

#[tokio::test]
async fn bytes_that_are_no_text_are_told_apart() {
    let (mut cache, origin, _) = cache(Policy::new());
    let vary = [("vary", "x-raw")];
    origin.queue([reply(200, &vary, "f6"), reply(200, &vary, "fffd"), reply(200, &vary, "e9")]);
    for (value, body) in
        [(&b"\xf6"[..], "f6"), (&b"\xef\xbf\xbd"[..], "fffd"), (&b"\xe9"[..], "e9"), (&b"\xf6"[..], "f6")]
    {
        let answer = ask(&mut cache, bytes_field(get("/"), "x-raw", value)).await;
        assert_eq!(text(answer).await.unwrap(), body);
    }
}

#[tokio::test]
async fn a_request_with_broken_fields_is_answered() {
    let table: [(&str, &[u8]); 9] = [
        ("cookie", b"\xff=;;;=="),
        ("range", b"bytes=99999999999999999999999-"),
        ("range", b"\xff"),
        ("if-none-match", b"\"unterminated"),
        ("if-modified-since", b"\xff"),
        ("cache-control", b"\"\\"),
        ("authorization", b""),
        ("content-length", b"0"),
        ("accept-language", b"\t,;q=\xff"),
    ];
    for (name, value) in table {
        let (mut cache, origin, _) = cache(Policy::new());
        origin.queue([reply(200, &[("vary", "accept-language")], "page"), ok("page")]);
        for _ in 0..2 {
            let answer = ask(&mut cache, bytes_field(get("/"), name, value)).await;
            // A range past the end, in whatever digits, has its own answer (RFC 9110 §15.5.17).
            let expected = if answer.status() == 416 { "" } else { "page" };
            assert_eq!(text(answer).await.unwrap(), expected, "{name}");
        }
    }
}

/// Field lines, as bytes.
type Lines = &'static [(&'static str, &'static [u8])];

/// What the second request gets to know: was the first response stored, and if not why.
async fn reading(lines: &[(&'static str, &'static [u8])]) -> String {
    let (mut cache, origin, _) = cache(Policy::new());
    let mut response = ok("page");
    for (name, value) in lines {
        response.headers_mut().append(*name, HeaderValue::from_bytes(value).unwrap());
    }
    origin.queue([response]);
    let answer = ask(&mut cache, get("/")).await;
    let status = status(&answer);
    assert_eq!(text(answer).await.unwrap(), "page", "{lines:?}");
    status.strip_prefix("fwd=uri-miss; fwd-status=200").unwrap().to_owned()
}

#[tokio::test]
async fn each_broken_response_field_has_its_safe_reading() {
    let stale = "";
    let table: [(Lines, &str); 16] = [
        (&[("cache-control", b"max-age=")], stale),
        (&[("cache-control", b"max-age=60, max-age=")], stale),
        (&[("cache-control", b"max-age=60"), ("cache-control", b"max-age=1x")], stale),
        (&[("cache-control", b"max-age=99999999999999999999")], "; ttl=2147483648; stored"),
        (&[("cache-control", b"max-age=60, max-age=30")], "; ttl=30; stored"),
        (&[("cache-control", b"x=\"unterminated, max-age=60")], "; detail=no-store"),
        (&[("cache-control", b"max-age=60;private")], "; detail=private"),
        (&[("expires", b"\xff")], stale),
        (&[("expires", b"-1")], stale),
        (&[("expires", b"Thu, 01 Dec 2094 16:00:00 GMT"), ("expires", b"0")], stale),
        (&[("vary", b"\xff")], "; detail=vary"),
        (&[("vary", b"a b")], "; detail=vary"),
        (&[("content-length", b"4"), ("content-length", b"5")], "; detail=length"),
        (&[("content-length", b"5")], "; detail=length"),
        (&[("content-length", b"+4")], "; detail=length"),
        (&[("content-length", b"4"), ("content-length", b"4")], "; ttl=1; stored"),
    ];
    for (lines, expected) in table {
        assert_eq!(reading(lines).await, expected, "{lines:?}");
    }
}

#[tokio::test]
async fn a_broken_date_does_not_make_a_response_older_or_younger() {
    for date in [&b"\xff"[..], b"yesterday", b"Sun, 99 Sep 2020 12:26:40 GMT"] {
        assert_eq!(reading(&[("cache-control", b"max-age=60"), ("date", date)]).await, "; ttl=60; stored");
    }
}

#[tokio::test]
async fn tens_of_thousands_of_lines_are_answered() {
    let (mut cache, origin, _) = cache(Policy::new());
    let mut many = reply(200, &[("cache-control", "max-age=60")], "page");
    for _ in 0..25_000 {
        many.headers_mut().append("x-line", HeaderValue::from_static("1"));
    }
    origin.queue([many, ok("page")]);
    for _ in 0..2 {
        let answer = ask(&mut cache, get("/")).await;
        assert_eq!((answer.status().as_u16(), text(answer).await.unwrap().as_str()), (200, "page"));
    }
}
