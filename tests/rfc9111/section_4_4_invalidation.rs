//! RFC 9111 §4.4: what is invalid after a request that may have changed something?

use crate::{
    common::{Ask, MILLI, ask, cache, get, get_with, reply, request},
    exchange::{Fields, Then, Then::*, plain, then},
};

const FRESH: [(&str, &str); 1] = [("cache-control", "max-age=60")];

/// What becomes of a stored page after this exchange.
async fn after(page: Ask, asked: Ask, code: u16, said: Fields<'_>) -> Then {
    let (mut cache, origin, clock) = cache(plain());
    origin.queue([reply(200, &FRESH, "one")]);
    ask(&mut cache, page.clone()).await;
    clock.advance(MILLI);
    origin.queue([reply(code, said, "")]);
    ask(&mut cache, asked).await;
    clock.advance(MILLI);
    then(&mut cache, &origin, page).await
}

#[tokio::test]
async fn a_non_error_response_to_an_unsafe_method_invalidates_the_target() {
    // RFC 9110 §9.2.1: methods whose safety is unknown are unsafe, and methods are case-sensitive.
    for method in ["POST", "PUT", "DELETE", "PATCH", "CONNECT-LIKE", "FROBNICATE", "get", "Head", "MKCOL"] {
        // §4.4: non-error is 2xx and 3xx.
        for code in [200, 201, 202, 203, 204, 205, 206, 207, 299, 300, 301, 302, 303, 304, 307, 308, 399] {
            assert_eq!(after(get("/"), request(method, "/", &[]), code, &[]).await, Forwarded, "{method} {code}");
        }
        for code in [400, 401, 403, 404, 405, 409, 410, 412, 415, 422, 428, 429, 499, 500, 502, 503, 504, 599] {
            assert_eq!(after(get("/"), request(method, "/", &[]), code, &[]).await, Stored, "{method} {code}");
        }
    }
}

#[tokio::test]
async fn safe_methods_invalidate_nothing() {
    for method in ["OPTIONS", "TRACE", "PROPFIND", "REPORT", "SEARCH", "QUERY"] {
        for code in [200, 204, 301] {
            assert_eq!(after(get("/"), request(method, "/", &[]), code, &[]).await, Stored, "{method} {code}");
        }
    }
}

#[tokio::test]
async fn the_target_is_the_whole_uri() {
    let table = [
        ("/a", "/a", Forwarded),
        ("/a?x=1", "/a?x=1", Forwarded),
        ("/a", "/b", Stored),
        ("/a", "/a/", Stored),
        ("/a", "/A", Stored),
        ("/a", "/a?x=1", Stored),
        ("/a?x=1", "/a", Stored),
        ("/a?x=1", "/a?x=2", Stored),
        ("/a", "/a/b", Stored),
    ];
    for (page, target, expected) in table {
        assert_eq!(after(get(page), request("POST", target, &[]), 200, &[]).await, expected, "{page} and {target}");
    }
}

#[tokio::test]
async fn a_target_is_the_same_in_each_form_of_a_request() {
    // RFC 9110 §7.1: the scheme and the host may be in the target or not, and their case does not count.
    let table = [
        ("/a", "http://shop.example/a"),
        ("http://shop.example/a", "/a"),
        ("https://shop.example/a", "/a"),
        ("http://shop.example/a", "http://SHOP.example/a"),
        ("http://shop.example", "http://shop.example/"),
    ];
    for (page, target) in table {
        assert_eq!(after(get(page), request("POST", target, &[]), 200, &[]).await, Forwarded, "{page} and {target}");
    }
}

#[tokio::test]
async fn another_host_has_its_own() {
    let mut other = request("POST", "/", &[]);
    other.headers_mut().insert("host", "other.example".parse().unwrap());
    assert_eq!(after(get("/"), other, 200, &[]).await, Stored);
}

#[tokio::test]
async fn every_variant_of_the_target_is_invalid() {
    // §4.4: all stored responses whose target URI matches.
    let (mut cache, origin, clock) = cache(plain());
    let said = [("cache-control", "max-age=60"), ("vary", "x-lang")];
    let asks = ["de", "en", "fr"].map(|lang| get_with("/", &[("x-lang", lang)]));
    for asked in &asks {
        origin.queue([reply(200, &said, "one")]);
        ask(&mut cache, asked.clone()).await;
    }
    clock.advance(MILLI);
    origin.queue([reply(204, &[], "")]);
    ask(&mut cache, request("PUT", "/", &[("x-lang", "de")])).await;
    clock.advance(MILLI);
    for asked in &asks {
        let next = then(&mut cache, &origin, asked.clone()).await;
        assert!(matches!(next, Forwarded | Asked(_)), "{asked:?}: {next:?}");
    }
}

/// The status of the response to `POST /list`, a field of it, and what becomes of `/a?x=1`.
const NAMED: &[(u16, &str, &str, Then)] = &[
    // §4.4: Location and Content-Location, of the same origin.
    (201, "location", "/a?x=1", Forwarded),
    (201, "content-location", "/a?x=1", Forwarded),
    (303, "location", "/a?x=1", Forwarded),
    (200, "content-location", "a?x=1", Forwarded),
    (200, "location", "./a?x=1", Forwarded),
    (200, "location", "/b/../a?x=1", Forwarded),
    (200, "location", "//shop.example/a?x=1", Forwarded),
    (200, "location", "http://shop.example/a?x=1", Forwarded),
    (200, "location", "http://SHOP.example:80/a?x=1", Forwarded),
    (200, "location", "/a?x=1#part", Forwarded),
    // Another resource.
    (201, "location", "/a", Stored),
    (201, "location", "/a?x=2", Stored),
    (201, "location", "/A?x=1", Stored),
    // §4.4: never of another origin.
    (201, "location", "http://other.example/a?x=1", Stored),
    (201, "content-location", "//other.example/a?x=1", Stored),
    (201, "location", "http://shop.example:8080/a?x=1", Stored),
    (201, "location", "ftp://shop.example/a?x=1", Stored),
    (201, "location", "http://shop.example.other.example/a?x=1", Stored),
    (201, "location", "http://shop.example@other.example/a?x=1", Stored),
    // §4.4: never after an error.
    (400, "location", "/a?x=1", Stored),
    (500, "content-location", "/a?x=1", Stored),
    // Other fields name nothing.
    (200, "link", "</a?x=1>", Stored),
    (200, "x-location", "/a?x=1", Stored),
];

#[tokio::test]
async fn what_the_response_names_is_invalid_if_it_is_of_the_same_origin() {
    for (code, name, value, expected) in NAMED {
        let found = after(get("/a?x=1"), request("POST", "/list", &[]), *code, &[(name, value)]).await;
        assert_eq!(found, *expected, "{code} {name}: {value}");
    }
}

#[tokio::test]
async fn what_a_get_names_is_not_invalid() {
    for name in ["location", "content-location"] {
        assert_eq!(after(get("/a"), get("/list"), 200, &[(name, "/a")]).await, Stored, "{name}");
    }
}
