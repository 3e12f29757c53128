//! RFC 9111 §4.3.3: what becomes of the origin's answer to a validation?

use crate::{
    common::{MILLI, SECOND, ask, cache, field, get, reply, text},
    exchange::{Fields, Then, Then::*, plain, then},
};

/// The origin's answer to a validation, and then: the status and the content that the client gets, and what becomes
/// of the next request.
type Row = (u16, Fields<'static>, u16, &'static str, Then);

const ASKED: Then = Asked("if-none-match: \"a\"");
const A: (&str, &str) = ("etag", "\"a\"");
const FRESH: (&str, &str) = ("cache-control", "max-age=60");

const TABLE: &[Row] = &[
    // §4.3.3: a 304 updates what is stored, which is used.
    (304, &[A], 200, "one", Stored),
    (304, &[A, ("cache-control", "max-age=9")], 200, "one", Stored),
    (304, &[A, ("cache-control", "max-age=0")], 200, "one", ASKED),
    (304, &[A, ("cache-control", "no-cache")], 200, "one", ASKED),
    // And what it says may forbid to keep it.
    (304, &[A, ("cache-control", "no-store")], 200, "one", Forwarded),
    (304, &[A, ("cache-control", "private")], 200, "one", Forwarded),
    (304, &[A, ("vary", "*")], 200, "one", Forwarded),
    // §4.3.3: a full response is used, and stored subject to its own constraints.
    (200, &[FRESH, ("etag", "\"b\"")], 200, "two", Stored),
    (200, &[FRESH, A], 200, "two", Stored),
    (200, &[("cache-control", "max-age=0"), ("etag", "\"b\"")], 200, "two", Asked("if-none-match: \"b\"")),
    (203, &[FRESH], 203, "two", Stored),
    (404, &[FRESH], 404, "two", Stored),
    (410, &[FRESH], 410, "two", Stored),
    (301, &[FRESH, ("location", "/b")], 301, "two", Stored),
    // §4.3.3: a 5xx is forwarded, and what is stored was neither confirmed nor replaced.
    (500, &[], 500, "two", ASKED),
    (502, &[], 502, "two", ASKED),
    (503, &[("retry-after", "9")], 503, "two", ASKED),
    (504, &[], 504, "two", ASKED),
    (599, &[], 599, "two", ASKED),
];

#[tokio::test]
async fn a_304_reuses_a_full_response_replaces_and_a_5xx_is_passed_on() {
    for (code, said, expected, content, next) in TABLE {
        let (mut cache, origin, clock) = cache(plain());
        let body = if *code == 304 { "" } else { "two" };
        origin.queue([reply(200, &[FRESH, A], "one"), reply(*code, said, body)]);
        ask(&mut cache, get("/")).await;
        clock.advance(60 * SECOND);

        let answer = ask(&mut cache, get("/")).await;
        assert_eq!(answer.status(), *expected, "{code} {said:?}");
        for (name, value) in said.iter().filter(|(name, _)| *name != "vary") {
            assert_eq!(field(&answer, name), *value, "{code} {said:?}");
        }
        assert_eq!(text(answer).await.unwrap(), *content, "{code} {said:?}");
        clock.advance(MILLI);
        assert_eq!(then(&mut cache, &origin, get("/")).await, *next, "{code} {said:?}");
    }
}

#[tokio::test]
async fn a_full_response_that_may_not_be_stored_is_the_clients_all_the_same() {
    for said in ["no-store", "private, max-age=60"] {
        let (mut cache, origin, clock) = cache(plain());
        origin.queue([reply(200, &[FRESH, A], "one"), reply(200, &[("cache-control", said)], "two")]);
        ask(&mut cache, get("/")).await;
        clock.advance(60 * SECOND);
        assert_eq!(text(ask(&mut cache, get("/")).await).await.unwrap(), "two", "{said}");
        // What is stored stays stale: it is never used unasked again.
        let next = then(&mut cache, &origin, get("/")).await;
        assert!(matches!(next, Forwarded | Asked(_)), "{said}: {next:?}");
    }
}
