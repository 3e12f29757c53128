//! RFC 9111 §3: may this response be stored at all?

use crate::{
    common::{SECOND, cache, get, reply, request, send},
    exchange::{DAY, Fields, IN_A_MINUTE, TEN_HOURS_AGO, Then, Then::*, given, plain, single, then},
};

/// §3: statuses of which the standard says that they are never stored by a cache like this one.
const NEVER: [u16; 2] = [206, 304];

/// RFC 6585 §3 to §6 forbid these to every cache.
const NEVER_BY_RFC_6585: [u16; 4] = [428, 429, 431, 511];

/// RFC 9110 §15.1, without 206.
const HEURISTIC: [u16; 11] = [200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501];

#[tokio::test]
async fn any_final_status_is_stored_with_explicit_freshness_known_or_not() {
    for said in ["max-age=60", "s-maxage=60", "public, max-age=60"] {
        for code in 200..600 {
            let is_never = NEVER.contains(&code) || NEVER_BY_RFC_6585.contains(&code);
            let expected = if is_never { Forwarded } else { Stored };
            assert_eq!(given(code, &[("cache-control", said)]).second().await, expected, "{code} {said}");
        }
    }
}

#[tokio::test]
async fn a_stored_status_is_not_reused_once_it_is_stale() {
    for code in 200..600 {
        let stale = given(code, &[("cache-control", "max-age=60")]).after(60 * SECOND);
        assert_eq!(stale.second().await, Forwarded, "{code}");
    }
}

#[tokio::test]
async fn without_explicit_freshness_only_heuristically_cacheable_statuses_are_stored() {
    for code in 200..600 {
        let guess = given(code, &[("last-modified", TEN_HOURS_AGO)]).policy(plain().heuristic_freshness(DAY));
        let expected = if HEURISTIC.contains(&code) { Stored } else { Forwarded };
        assert_eq!(guess.second().await, expected, "{code}");
        assert_eq!(given(code, &[]).second().await, Forwarded, "{code} without anything to guess from");
    }
}

#[tokio::test]
async fn must_understand_is_for_statuses_that_the_cache_knows() {
    let known: [u16; 14] = [200, 203, 204, 300, 301, 302, 303, 307, 308, 404, 405, 410, 414, 501];
    // Not in RFC 9110, or reserved there, or not implemented.
    let unknown = [206, 226, 299, 304, 306, 399, 418, 423, 425, 428, 429, 431, 451, 499, 506, 511, 599];
    for (codes, expected) in [(&known[..], Stored), (&unknown[..], Forwarded)] {
        for code in codes {
            // §3, §5.2.2.3: and then `no-store` is ignored.
            for said in ["must-understand, max-age=60", "no-store, must-understand, max-age=60"] {
                assert_eq!(given(*code, &[("cache-control", said)]).second().await, expected, "{code} {said}");
            }
        }
    }
}

const CONDITIONS: &[(u16, Fields<'_>, Then)] = &[
    // §3: no-store, in any company.
    (200, &[("cache-control", "no-store")], Forwarded),
    (200, &[("cache-control", "no-store, max-age=60")], Forwarded),
    (200, &[("cache-control", "max-age=60, no-store")], Forwarded),
    (200, &[("cache-control", "public, s-maxage=60"), ("cache-control", "no-store")], Forwarded),
    (200, &[("cache-control", "no-store"), ("expires", IN_A_MINUTE)], Forwarded),
    // §3: private, to a shared cache.
    (200, &[("cache-control", "private")], Forwarded),
    (200, &[("cache-control", "private, max-age=60")], Forwarded),
    (200, &[("cache-control", "private, s-maxage=60, public")], Forwarded),
    (302, &[("cache-control", "private")], Forwarded),
    (200, &[("cache-control", "private"), ("expires", IN_A_MINUTE)], Forwarded),
    // §3: at least one thing that says that it may be reused.
    (302, &[], Forwarded),
    (302, &[("expires", IN_A_MINUTE)], Stored),
    (302, &[("cache-control", "max-age=60")], Stored),
    (302, &[("cache-control", "s-maxage=60")], Stored),
    (500, &[("expires", IN_A_MINUTE)], Stored),
    (404, &[("cache-control", "max-age=60")], Stored),
    (299, &[("expires", IN_A_MINUTE)], Stored),
    // §3: what does not say so.
    (302, &[("cache-control", "must-revalidate")], Forwarded),
    (302, &[("cache-control", "proxy-revalidate")], Forwarded),
    (302, &[("cache-control", "no-transform")], Forwarded),
    (302, &[("cache-control", "immutable")], Forwarded),
    (302, &[("cache-control", "stale-while-revalidate=60")], Forwarded),
    (302, &[("cache-control", "x-cacheable")], Forwarded),
    (302, &[("etag", "\"a\"")], Forwarded),
    (302, &[("pragma", "public")], Forwarded),
];

#[tokio::test]
async fn a_response_is_stored_if_nothing_forbids_it_and_something_allows_it() {
    for (code, said, expected) in CONDITIONS {
        assert_eq!(given(*code, said).second().await, *expected, "{code} {said:?}");
    }
}

#[tokio::test]
async fn a_validator_alone_is_no_reason_to_store_what_has_no_freshness_by_status() {
    for code in [302, 303, 307, 400, 403, 409, 500, 502, 503, 599] {
        let said = [("etag", "\"a\""), ("last-modified", TEN_HOURS_AGO)];
        assert_eq!(given(code, &said).second().await, Forwarded, "{code}");
        let guess = given(code, &said).policy(plain().heuristic_freshness(DAY));
        assert_eq!(guess.second().await, Forwarded, "{code}");
    }
}

#[tokio::test]
async fn responses_to_methods_that_the_cache_does_not_understand_are_not_stored() {
    // §3: the request method is understood by the cache.
    let methods =
        ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND", "QUERY", "SEARCH", "FROBNICATE", "get"];
    for method in methods {
        let first = given(200, &[("cache-control", "public, max-age=60")]).asked(method, &[]);
        assert_eq!(first.clone().second().await, Forwarded, "GET after {method}");
        assert_eq!(first.clone().then("HEAD", &[]).second().await, Forwarded, "HEAD after {method}");
        assert_eq!(first.then(method, &[]).second().await, Forwarded, "{method} again");
    }
}

#[tokio::test]
async fn a_head_that_is_forwarded_as_it_is_leaves_nothing_for_a_get() {
    // §3, §4: the response to a HEAD has no content, so that it can not be used for a GET.
    let head = given(200, &[("cache-control", "max-age=60")]).policy(single()).asked("HEAD", &[]);
    assert_eq!(head.second().await, Forwarded);
}

#[tokio::test]
async fn a_response_to_a_range_or_condition_that_is_forwarded_as_it_is_is_not_stored() {
    // §3, §3.3: neither 206, nor 304, nor a 412 or 416 that is about the fields of one request.
    let table: [(u16, Fields<'_>); 5] = [
        (206, &[("range", "bytes=0-2")]),
        (416, &[("range", "bytes=9-")]),
        (304, &[("if-none-match", "\"a\"")]),
        (412, &[("if-match", "\"a\"")]),
        (412, &[("if-unmodified-since", TEN_HOURS_AGO)]),
    ];
    for (code, asked) in table {
        let said = [("cache-control", "max-age=60"), ("content-range", "bytes 0-2/9"), ("etag", "\"a\"")];
        let first = given(code, &said).policy(single()).asked("GET", asked);
        assert_eq!(first.second().await, Forwarded, "{code}");
    }
}

#[tokio::test]
async fn what_replaces_a_stored_response_is_judged_anew() {
    for (said, expected) in [("max-age=60", Stored), ("no-store", Forwarded), ("private", Forwarded)] {
        let (mut cache, origin, clock) = cache(plain());
        origin.queue([reply(200, &[("cache-control", "max-age=1")], "one")]);
        origin.queue([reply(200, &[("cache-control", said)], "two")]);
        let _ = send(&mut cache, get("/")).poll();
        clock.advance(SECOND);
        let _ = send(&mut cache, get("/")).poll();
        assert_eq!(then(&mut cache, &origin, request("GET", "/", &[])).await, expected, "{said}");
    }
}
