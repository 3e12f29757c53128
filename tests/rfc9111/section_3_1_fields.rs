//! RFC 9111 §3.1: which fields of a response are stored?

use http_body_util::BodyExt;

use crate::{
    common::{TestBody, ask, cache, field, get, reply},
    exchange::{given, plain},
};

const FRESH: (&str, &str) = ("cache-control", "max-age=60");

/// §3.1: all received fields, those that nobody knows too.
const KEPT: &[(&str, &str)] = &[
    ("x-test", "a"),
    ("test-field", ""),
    ("content-foo", "a b"),
    ("x-content-foo", "\"a, b\""),
    ("content-type", "text/plain"),
    ("content-encoding", "x-own"),
    ("content-language", "de, en"),
    ("content-location", "/a"),
    ("content-disposition", "attachment"),
    ("content-security-policy", "default-src 'self'"),
    ("etag", "W/\"a\""),
    ("last-modified", "Sun, 13 Sep 2020 02:26:40 GMT"),
    ("expires", "0"),
    ("date", "Sun, 13 Sep 2020 12:26:40 GMT"),
    ("vary", "x-a"),
    ("warning", "299 - \"old\""),
    ("pragma", "no-cache"),
    ("server", "x/1"),
    ("link", "</a>; rel=next"),
    ("allow", "GET, HEAD"),
    ("www-authenticate", "Basic realm=a"),
    ("location", "/b"),
    ("retry-after", "1"),
    ("strict-transport-security", "max-age=0"),
    ("access-control-allow-origin", "*"),
    ("accept-ranges", "bytes"),
    ("trailer", "x-sum"),
    ("via", "1.1 inner"),
    ("example-cache-control", "no-store"),
];

#[tokio::test]
async fn every_field_is_kept_as_it_was() {
    for (name, value) in KEPT {
        let hit = given(200, &[FRESH, (*name, *value)]).answer().await.unwrap();
        let lines: Vec<_> = hit.headers().get_all(*name).iter().collect();
        assert_eq!(lines, [value], "{name}");
    }
}

#[tokio::test]
async fn every_line_of_a_field_is_kept_in_order() {
    let said = [FRESH, ("x-a", "1"), ("link", "</1>"), ("x-a", "2"), ("link", "</1>"), ("x-a", ""), ("x-a", "1")];
    let hit = given(200, &said).answer().await.unwrap();
    let lines = |name| hit.headers().get_all(name).iter().map(|line| line.to_str().unwrap()).collect::<Vec<_>>();
    assert_eq!(lines("x-a"), ["1", "2", "", "1"]);
    assert_eq!(lines("link"), ["</1>", "</1>"]);
}

/// §3.1: `Connection` and what it names; fields of one connection (RFC 9110 §7.6.1); fields of a proxy.
const DROPPED: &[(&str, &str)] = &[
    ("connection", "close"),
    ("keep-alive", "timeout=5"),
    ("proxy-connection", "keep-alive"),
    ("te", "trailers"),
    ("transfer-encoding", "chunked"),
    ("proxy-authenticate", "Basic"),
    ("proxy-authentication-info", "a=b"),
    ("proxy-authorization", "Basic YQ=="),
];

#[tokio::test]
async fn fields_of_one_hop_are_not_kept() {
    for (name, value) in DROPPED {
        let hit = given(200, &[FRESH, (*name, *value), ("x-kept", "1")]).answer().await.unwrap();
        assert!(!hit.headers().contains_key(*name), "{name}");
        assert_eq!(field(&hit, "x-kept"), "1", "{name}");
    }
}

#[tokio::test]
async fn fields_that_connection_names_are_not_kept() {
    // §3.1, RFC 9110 §7.6.1: over all its lines, in any case, with empty members.
    let table: [&[(&str, &str)]; 5] = [
        &[("connection", "x-hop")],
        &[("connection", "X-Hop")],
        &[("connection", "close, x-hop")],
        &[("connection", "close"), ("connection", ",, x-hop ,")],
        &[("connection", "x-missing,x-hop")],
    ];
    for connection in table {
        let said = [&[FRESH, ("x-hop", "1"), ("x-hop", "2"), ("x-hop-too", "3")], connection].concat();
        let hit = given(200, &said).answer().await.unwrap();
        assert!(!hit.headers().contains_key("x-hop"), "{connection:?}");
        assert_eq!(field(&hit, "x-hop-too"), "3", "{connection:?}");
    }
}

#[tokio::test]
async fn trailers_are_not_combined_with_the_header() {
    let (mut cache, origin, _) = cache(plain());
    let (body, feed) = TestBody::streamed();
    feed.data("one");
    feed.trailers("x-sum", "from the trailers");
    feed.end();
    origin.queue([reply(200, &[FRESH, ("trailer", "x-sum"), ("x-kept", "1")], body)]);
    ask(&mut cache, get("/")).await.into_body().collect().await.unwrap();

    let hit = ask(&mut cache, get("/")).await;
    assert!(!hit.headers().contains_key("x-sum"));
    assert_eq!(field(&hit, "x-kept"), "1");
    let body = hit.into_body().collect().await.unwrap();
    assert_eq!(body.trailers().unwrap()["x-sum"], "from the trailers");
}

#[tokio::test]
async fn a_date_that_is_missing_or_no_date_is_when_the_response_came() {
    // RFC 9110 §6.6.1: a recipient with a clock adds it if it caches the response.
    let table: [&[(&str, &str)]; 4] = [
        &[],
        &[("date", "0")],
        &[("date", "yesterday")],
        &[("date", "Sun, 13 Sep 2020 12:26:39 GMT"), ("connection", "date")],
    ];
    for said in table {
        let hit = given(200, &[&[FRESH], said].concat()).answer().await.unwrap();
        let lines: Vec<_> = hit.headers().get_all("date").iter().collect();
        assert_eq!(lines, ["Sun, 13 Sep 2020 12:26:40 GMT"], "{said:?}");
    }
}
