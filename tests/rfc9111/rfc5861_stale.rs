//! RFC 5861: for how long does the origin let a stale response be served?

use tokio_test::assert_ready_ok;

use crate::{
    common::{Does, SECOND, ask, cache, field, get, reply, send, settle, text},
    exchange::{Fields, Then, Then::*, given, plain},
};

/// `Cache-Control`, the seconds that pass, and what becomes of a second request.
const WHILE_REVALIDATE: &[(&str, u32, Then)] = &[
    // RFC 5861 §3: up to the indicated number of seconds after it becomes stale.
    ("max-age=600, stale-while-revalidate=30", 599, Stored),
    ("max-age=600, stale-while-revalidate=30", 600, Refreshed),
    ("max-age=600, stale-while-revalidate=30", 629, Refreshed),
    ("max-age=600, stale-while-revalidate=30", 631, Forwarded),
    ("max-age=0, stale-while-revalidate=30", 1, Refreshed),
    ("public, max-age=1, Stale-While-Revalidate=\"30\"", 2, Refreshed),
    ("max-age=1, stale-while-revalidate=99999999999999999999", 1_000_000, Refreshed),
    // The argument is delta-seconds, and it is required.
    ("max-age=1, stale-while-revalidate", 2, Forwarded),
    ("max-age=1, stale-while-revalidate=", 2, Forwarded),
    ("max-age=1, stale-while-revalidate=x", 2, Forwarded),
    ("max-age=1, stale-while-revalidate=-30", 2, Forwarded),
    ("max-age=1, stale-while-revalidate=30.5", 2, Forwarded),
    ("max-age=1, stale-while-revalidate=0", 2, Forwarded),
    ("max-age=1, stale-while-revalidate=30, stale-while-revalidate=0", 2, Forwarded),
    ("max-age=1, stale-while-revalidate=30, stale-while-revalidate=x", 2, Forwarded),
    // What forbids goes before what allows (RFC 9111 §4.2.4).
    ("max-age=1, stale-while-revalidate=30, must-revalidate", 2, Forwarded),
    ("s-maxage=1, stale-while-revalidate=30", 2, Forwarded),
    ("max-age=1, stale-while-revalidate=30, no-store", 0, Forwarded),
    ("max-age=1, stale-while-revalidate=30, private", 0, Forwarded),
    // The other window is not this one.
    ("max-age=1, stale-if-error=30", 2, Forwarded),
];

#[tokio::test]
async fn within_the_window_it_is_served_and_refreshed() {
    for (said, after, expected) in WHILE_REVALIDATE {
        let found = given(200, &[("cache-control", said)]).after(*after * SECOND).second().await;
        assert_eq!(found, *expected, "{said} after {after} s");
        let field = given(200, &[("cache-control", said), ("expires", "0")]).after(*after * SECOND).second().await;
        assert_eq!(field, *expected, "{said} after {after} s");
    }
}

#[tokio::test]
async fn the_refresh_is_a_validation_and_its_result_is_what_answers_next() {
    let confirmed: Fields<'_> = &[("etag", "\"a\""), ("x-a", "new")];
    let replaced: Fields<'_> = &[("etag", "\"b\""), ("x-a", "new"), ("cache-control", "max-age=60")];
    for (code, news, content) in [(304, confirmed, "one"), (200, replaced, "two")] {
        let (mut cache, origin, clock) = cache(plain());
        let said = [("cache-control", "max-age=60, stale-while-revalidate=60"), ("etag", "\"a\""), ("x-a", "old")];
        origin.queue([reply(200, &said, "one")]);
        ask(&mut cache, get("/")).await;
        clock.advance(90 * SECOND);
        let stale = assert_ready_ok!(send(&mut cache, get("/")).poll());
        assert_eq!((field(&stale, "age"), field(&stale, "x-a")), ("90", "old"));
        settle().await;
        assert_eq!(origin.head().headers["if-none-match"], "\"a\"");
        origin.reply(reply(code, news, if code == 304 { "" } else { "two" }));
        settle().await;

        let hit = assert_ready_ok!(send(&mut cache, get("/")).poll());
        assert_eq!((field(&hit, "age"), field(&hit, "x-a")), ("0", "new"));
        assert_eq!(text(hit).await.unwrap(), content);
        assert_eq!(origin.forwards(), 2);
    }
}

/// `Cache-Control`, the seconds that pass, and whether an error of the origin is hidden.
const IF_ERROR: &[(&str, u32, bool)] = &[
    // RFC 5861 §4: the example of the standard.
    ("max-age=600, stale-if-error=1200", 900, true),
    ("max-age=600, stale-if-error=1200", 600, true),
    ("max-age=600, stale-if-error=1200", 1_799, true),
    ("max-age=600, stale-if-error=1200", 1_801, false),
    ("max-age=0, stale-if-error=30", 1, true),
    ("max-age=1, STALE-IF-ERROR=\"30\"", 2, true),
    ("max-age=1, stale-if-error", 2, false),
    ("max-age=1, stale-if-error=x", 2, false),
    ("max-age=1, stale-if-error=0", 2, false),
    ("max-age=1, stale-if-error=30, stale-if-error=0", 2, false),
    ("max-age=1, stale-if-error=30, must-revalidate", 2, false),
    ("max-age=1, stale-if-error=30, proxy-revalidate", 2, false),
    ("s-maxage=1, stale-if-error=30", 2, false),
    ("max-age=1, stale-while-revalidate=1", 3, false),
];

#[tokio::test]
async fn within_the_other_window_an_error_is_hidden() {
    // RFC 5861 §4: an error is what would be a 500, 502, 503 or 504.
    let errors = [None, Some(500), Some(502), Some(503), Some(504)];
    for (said, after, is_hidden) in IF_ERROR {
        for error in errors {
            let (mut cache, origin, clock) = cache(plain());
            origin.queue([reply(200, &[("cache-control", said)], "one")]);
            ask(&mut cache, get("/")).await;
            clock.advance(*after * SECOND);
            origin.queue_does([error.map_or(Does::Fail, |code| Does::Reply(reply(code, &[], "sick")))]);
            let answer = send(&mut cache, get("/")).await.ok();

            let code = answer.as_ref().map(|answer| answer.status().as_u16());
            assert_eq!(code, if *is_hidden { Some(200) } else { error }, "{said} after {after} s, and then {error:?}");
            if *is_hidden {
                assert_eq!(field(answer.as_ref().unwrap(), "age"), after.to_string(), "it is visibly stale");
            }
        }
    }
}

#[tokio::test]
async fn what_is_no_such_error_is_not_hidden() {
    for code in [400, 401, 403, 404, 410, 429, 501, 505, 507, 511, 599] {
        let (mut cache, origin, clock) = cache(plain());
        origin.queue([reply(200, &[("cache-control", "max-age=1, stale-if-error=600")], "one")]);
        ask(&mut cache, get("/")).await;
        clock.advance(9 * SECOND);
        origin.queue([reply(code, &[], "sick")]);
        assert_eq!(ask(&mut cache, get("/")).await.status(), code);
    }
}
