//! Whatever the bytes: no panic, no merged response, and nothing shared that was for one alone.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::{convert::Infallible, time::Duration};

use bytes::Bytes;
use futures_util::FutureExt;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, Full};
use microcache::{CacheLayer, CacheStatus, ManualClock, MemoryStore};
use proptest::prelude::*;
use tower::{Layer, Service, service_fn};

/// Field lines of the kind that decisions are made from, with values that are nearly right, or not at all.
fn fields(names: &'static [&'static str]) -> impl Strategy<Value = Vec<(HeaderName, HeaderValue)>> {
    let nearly = prop::sample::select(vec![
        "max-age=1",
        "max-age=60",
        "s-maxage=5",
        "public",
        "private",
        "no-store",
        "no-cache",
        "must-revalidate",
        "max-age=\"3\"",
        "max-age=-1",
        "*",
        "accept",
        "cookie",
        "accept-language",
        "bytes=0-1",
        "bytes=5-",
        "\"v1\"",
        "W/\"v1\"",
        "Sun, 13 Sep 2020 12:26:40 GMT",
        "Sunday, 13-Sep-20 12:26:40 GMT",
        "0",
        "4",
        "a=1; b=2",
        "gzip",
        "text/event-stream",
        "close",
        "keep-alive, x-own",
        ",",
        "\"",
        "\\",
        "=",
        ";",
    ]);
    let text = prop::collection::vec(nearly, 1..4).prop_map(|parts| parts.join(", ").into_bytes());
    let raw = prop::collection::vec(prop_oneof![Just(9_u8), 32..=126_u8, 128..=255_u8], 0..40);
    let value = prop_oneof![4 => text, 1 => raw]
        .prop_filter_map("no field value", |bytes| HeaderValue::from_bytes(&bytes).ok());
    let name = prop::sample::select(names).prop_map(HeaderName::from_static);
    prop::collection::vec((name, value), 0..6)
}

const ASKED: &[&str] = &[
    "accept",
    "accept-language",
    "authorization",
    "cache-control",
    "content-length",
    "cookie",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "range",
    "transfer-encoding",
    "x-own",
];
const ANSWERED: &[&str] = &[
    "age",
    "cache-control",
    "cache-status",
    "connection",
    "content-length",
    "content-type",
    "date",
    "etag",
    "expires",
    "last-modified",
    "set-cookie",
    "upgrade",
    "vary",
    "x-own",
];

#[derive(Clone, Debug)]
struct Exchange {
    method: &'static str,
    path: String,
    asked: Vec<(HeaderName, HeaderValue)>,
    code: u16,
    answered: Vec<(HeaderName, HeaderValue)>,
    pause: u64,
}

fn exchange() -> impl Strategy<Value = Exchange> {
    let method = prop::sample::select(vec!["GET", "GET", "GET", "HEAD", "POST"]);
    let path = prop::sample::select(vec!["/", "/a", "/a?b=1&a=2", "/a?a=2&b=1", "/a?", "/a|b", "/%7c?%zz&;"]);
    let code = prop::sample::select(vec![200, 200, 200, 204, 206, 301, 302, 304, 404, 500, 599, 999]);
    (method, path, fields(ASKED), code, fields(ANSWERED), 0..1_500_u64).prop_map(
        |(method, path, asked, code, answered, pause)| Exchange {
            method,
            path: path.to_owned(),
            asked,
            code,
            answered,
            pause,
        },
    )
}

/// Sends the exchanges one after the other. The origin writes the number of the exchange into its body.
fn play(exchanges: &[Exchange]) {
    let clock = ManualClock::new();
    let store = MemoryStore::with_max_bytes(1 << 20);
    let layer = CacheLayer::builder(store).clock(clock.clone()).build().unwrap();
    let replies = exchanges.to_vec();
    let origin = service_fn(move |request: Request<Empty<Bytes>>| {
        let number: usize = request.extensions().get().copied().unwrap_or_default();
        let mut response = Response::new(Full::new(Bytes::from(format!("{number:04}"))));
        *response.status_mut() = StatusCode::from_u16(replies[number].code).unwrap();
        response.headers_mut().extend(replies[number].answered.clone());
        std::future::ready(Ok::<_, Infallible>(response))
    });
    let mut cache = layer.layer(origin);
    for (number, sent) in exchanges.iter().enumerate() {
        let mut request = Request::builder().method(sent.method).uri(&sent.path).body(Empty::new()).unwrap();
        for (name, value) in &sent.asked {
            request.headers_mut().append(name, value.clone());
        }
        request.extensions_mut().insert(number);
        // An origin that answers at once, and a body that is there, leave nothing to wait for.
        let response = cache.call(request).now_or_never().unwrap().unwrap();
        let hit = CacheStatus::of(&response).is_some_and(|status| status.is_hit());
        let body = response.into_body().collect().now_or_never().unwrap().unwrap().to_bytes();
        if let Ok(Ok(source)) = std::str::from_utf8(&body).map(str::parse::<usize>) {
            assert!(!hit || body.len() < 4 || source < number, "a hit is somebody's response before");
            assert!(hit || body.len() < 4 || source == number, "a forward is one's own");
            if hit && body.len() == 4 {
                let from = &exchanges[source];
                assert!(from.method != "POST" && sent.method == "GET");
                assert!(!from.answered.iter().any(|(name, _)| name == "set-cookie"), "cookies are not shared");
                let is_said = from.answered.iter().any(|(name, _)| name == "cache-control" || name == "expires");
                assert!(from.code < 500 || is_said, "a failure of which nobody says that it lasts is not stored");
                let path = |it: &Exchange| it.path.replace("b=1&a=2", "a=2&b=1");
                assert_eq!(path(from), path(sent), "a response belongs to its path");
            }
        }
        clock.advance(Duration::from_millis(sent.pause));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_exchange_of_any_fields_is_answered(exchanges in prop::collection::vec(exchange(), 1..12)) {
        play(&exchanges);
    }
}
