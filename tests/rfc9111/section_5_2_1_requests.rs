//! RFC 9111 §5.2.1: what may a client ask of the cache?

use microcache::Policy;
use tokio_test::assert_pending;

use crate::{
    common::{SECOND, ask, cache, field, get, get_with, reply, request, send},
    exchange::{Fields, Then, Then::*, given, plain, then},
};

fn honouring() -> Policy {
    plain().honour_request_directives()
}

const A: (&str, &str) = ("etag", "\"a\"");
const ASKED: Then = Asked("if-none-match: \"a\"");

/// `Cache-Control` of what is stored, the seconds that pass, `Cache-Control` of the request, and what becomes of it.
type Row = (&'static str, u32, &'static str, Then);

const FRESHNESS: &[Row] = &[
    // §5.2.1.1 max-age: an age of no more than this.
    ("max-age=60", 10, "max-age=10", Stored),
    ("max-age=60", 10, "max-age=11", Stored),
    ("max-age=60", 10, "max-age=9", ASKED),
    ("max-age=60", 0, "max-age=0", Stored),
    ("max-age=60", 1, "max-age=0", ASKED),
    ("max-age=60", 60, "max-age=600", ASKED),
    ("max-age=60", 60, "max-age=0, max-stale", ASKED),
    // §5.2.1.2 max-stale: stale by no more than this, or by any time.
    ("max-age=60", 61, "max-stale", Stored),
    ("max-age=60", 600, "max-stale", Stored),
    ("max-age=60", 65, "max-stale=5", Stored),
    ("max-age=60", 66, "max-stale=5", ASKED),
    ("max-age=60", 61, "max-stale=0", ASKED),
    ("max-age=60", 65, "max-stale=10, max-age=65", Stored),
    ("max-age=60", 66, "max-stale=10, max-age=65", ASKED),
    // §4.2.4: and never what the origin prohibits.
    ("max-age=60, must-revalidate", 61, "max-stale", ASKED),
    ("max-age=60, proxy-revalidate", 61, "max-stale", ASKED),
    ("s-maxage=60", 61, "max-stale", ASKED),
    ("max-age=60, no-cache", 0, "max-stale", ASKED),
    ("no-cache", 0, "max-stale", ASKED),
    // §5.2.1.3 min-fresh: fresh for this long yet.
    ("max-age=60", 50, "min-fresh=10", Stored),
    ("max-age=60", 50, "min-fresh=9", Stored),
    ("max-age=60", 50, "min-fresh=11", ASKED),
    ("max-age=60", 0, "min-fresh=60", Stored),
    ("max-age=60", 0, "min-fresh=61", ASKED),
    ("max-age=60", 60, "min-fresh=0", ASKED),
    ("max-age=60", 61, "min-fresh=1, max-stale", ASKED),
    ("max-age=60, stale-while-revalidate=60", 61, "min-fresh=1", ASKED),
];

const OTHERS: &[Row] = &[
    // §5.2.1.4 no-cache: not without the origin.
    ("max-age=60", 0, "no-cache", ASKED),
    ("max-age=60", 0, "NO-CACHE", ASKED),
    ("max-age=60", 0, "no-cache=x", ASKED),
    ("max-age=60", 0, "max-stale, no-cache", ASKED),
    ("max-age=60, immutable", 0, "no-cache", ASKED),
    ("max-age=60, stale-while-revalidate=60", 61, "no-cache", ASKED),
    // §5.2.1.5 no-store: says nothing of what is stored.
    ("max-age=60", 0, "no-store", Stored),
    ("max-age=60", 60, "no-store", Forwarded),
    // §5.2.1.6 no-transform: nothing is transformed anyway.
    ("max-age=60", 0, "no-transform", Stored),
    // §5.2.1.7 only-if-cached: a stored response that suits, or a 504.
    ("max-age=60", 59, "only-if-cached", Stored),
    ("max-age=60", 60, "only-if-cached", Refused(504)),
    ("no-store", 0, "only-if-cached", Refused(504)),
    ("max-age=60", 60, "only-if-cached, max-stale", Stored),
    ("max-age=60", 10, "only-if-cached, max-age=9", Refused(504)),
    ("max-age=60", 10, "only-if-cached, min-fresh=51", Refused(504)),
    ("max-age=60", 0, "only-if-cached, no-cache", Refused(504)),
    ("max-age=60, must-revalidate", 60, "only-if-cached, max-stale", Refused(504)),
    ("max-age=60", 60, "Only-If-Cached", Refused(504)),
    // §5.2.3: what is unknown, or for responses only, is ignored.
    ("max-age=60", 0, "x-no-cache, foo=\"no-cache\", private, s-maxage=0, must-revalidate", Stored),
    ("max-age=60", 0, "immutable, public, stale-while-revalidate=0", Stored),
    ("max-age=60", 0, "", Stored),
];

const BROKEN: &[Row] = &[
    // §5.2: quoted and unquoted, in any case, over lines.
    ("max-age=60", 10, "max-age=\"9\"", ASKED),
    ("max-age=60", 10, "MAX-AGE=9", ASKED),
    ("max-age=60", 10, "max-age=\"10\"", Stored),
    ("max-age=60", 50, "Min-Fresh=\"11\"", ASKED),
    ("max-age=60", 65, "max-stale=\"5\"", Stored),
    // §1.2.2: what is too large is as large as can be.
    ("max-age=60", 10, "max-age=99999999999999999999", Stored),
    ("max-age=60", 10, "min-fresh=99999999999999999999", ASKED),
    ("max-age=60", 600, "max-stale=99999999999999999999", Stored),
    // §5.2.1: advisory, so that what is broken asks for the stricter that it could mean.
    ("max-age=60", 1, "max-age", ASKED),
    ("max-age=60", 1, "max-age=x", ASKED),
    ("max-age=60", 1, "max-age=-1", ASKED),
    ("max-age=60", 0, "min-fresh", ASKED),
    ("max-age=60", 0, "min-fresh=x", ASKED),
    ("max-age=60", 61, "max-stale=x", ASKED),
    ("max-age=60", 61, "max-stale=-5", ASKED),
    ("max-age=60", 61, "max-stale=5.5", ASKED),
    ("max-age=60", 10, "max-age=9, max-age=10", ASKED),
    ("max-age=60", 10, "max-age=10, max-age=9", ASKED),
    ("max-age=60", 50, "min-fresh=10, min-fresh=11", ASKED),
    ("max-age=60", 65, "max-stale, max-stale=4", ASKED),
];

#[tokio::test]
async fn what_a_client_asks_is_done_where_the_policy_says_so() {
    for (stored, after, asked, expected) in FRESHNESS.iter().chain(OTHERS).chain(BROKEN) {
        let said = [A, ("cache-control", *stored)];
        let asked = [("cache-control", *asked)];
        let found = given(200, &said).policy(honouring()).after(*after * SECOND).then("GET", &asked).second().await;
        assert_eq!(found, *expected, "{stored} after {after} s, and then {asked:?}");
    }
}

#[tokio::test]
async fn what_a_client_asks_is_ignored_otherwise() {
    // §5.2.1: a cache may implement them, and need not.
    for (stored, after, asked, _) in FRESHNESS.iter().chain(OTHERS).chain(BROKEN) {
        let said = [A, ("cache-control", *stored)];
        let given = given(200, &said).after(*after * SECOND);
        let (plain, asked) = (given.clone().second().await, [("cache-control", *asked)]);
        assert_eq!(given.then("GET", &asked).second().await, plain, "{stored} after {after} s, and then {asked:?}");
    }
}

#[tokio::test]
async fn directives_reach_the_origin_as_they_are() {
    // §5.2: passed through, whatever they mean here.
    for policy in [plain(), honouring()] {
        for asked in ["no-cache", "max-age=0, x=\"a, b\"", "no-store", "NO-transform", "max-stale", "x"] {
            let (mut cache, origin, _) = cache(policy.clone());
            let mut sent = send(&mut cache, get_with("/", &[("cache-control", asked)]));
            assert_pending!(sent.poll());
            let head = origin.head();
            assert_eq!(head.headers.get_all("cache-control").iter().collect::<Vec<_>>(), [asked]);
        }
    }
}

#[tokio::test]
async fn nothing_is_stored_of_an_exchange_with_no_store() {
    // §5.2.1.5: any response to it.
    let table: [(&str, Then); 4] =
        [("no-store", Forwarded), ("No-Store", Forwarded), ("no-store=x", Forwarded), ("max-age=0", Stored)];
    for (asked, expected) in table {
        let asked = [("cache-control", asked)];
        let given = given(200, &[("cache-control", "public, max-age=60")]).policy(honouring()).asked("GET", &asked);
        assert_eq!(given.second().await, expected, "{asked:?}");
    }
}

#[tokio::test]
async fn nothing_of_a_validation_with_no_store_is_stored() {
    let (mut cache, origin, clock) = cache(honouring());
    origin.queue([reply(200, &[A, ("cache-control", "max-age=60")], "one")]);
    ask(&mut cache, get("/")).await;
    clock.advance(60 * SECOND);
    origin.queue([reply(200, &[("etag", "\"b\""), ("cache-control", "max-age=60")], "two")]);
    ask(&mut cache, get_with("/", &[("cache-control", "no-store")])).await;
    assert_eq!(then(&mut cache, &origin, get("/")).await, ASKED);
}

#[tokio::test]
async fn a_504_for_what_is_not_stored_is_the_caches_own() {
    let asked: Fields<'_> = &[("cache-control", "only-if-cached")];
    for method in ["GET", "HEAD"] {
        let (mut cache, origin, _) = cache(honouring());
        let answer = ask(&mut cache, request(method, "/", asked)).await;
        assert_eq!((answer.status().as_u16(), origin.forwards()), (504, 0), "{method}");
        assert!(!answer.headers().contains_key("age"));
        assert_eq!(field(&answer, "cache-control"), "no-store");
    }
}

#[tokio::test]
async fn what_the_origin_confirms_or_sends_to_no_cache_is_stored_for_others() {
    let (mut cache, origin, clock) = cache(honouring());
    origin.queue([reply(200, &[A, ("cache-control", "max-age=60")], "one")]);
    ask(&mut cache, get("/")).await;
    clock.advance(30 * SECOND);
    origin.queue([reply(304, &[A, ("x-a", "new")], "")]);
    ask(&mut cache, get_with("/", &[("cache-control", "no-cache")])).await;
    clock.advance(59 * SECOND);
    let hit = ask(&mut cache, get("/")).await;
    assert_eq!((field(&hit, "age"), field(&hit, "x-a")), ("59", "new"));
}

#[tokio::test]
async fn max_age_without_max_stale_gets_nothing_stale() {
    // §5.2.1.1.
    for asked in ["max-age=600", "max-age=61"] {
        let asked = [("cache-control", asked)];
        let given = given(200, &[("cache-control", "max-age=60, stale-while-revalidate=60")]).policy(honouring());
        assert_eq!(given.after(61 * SECOND).then("GET", &asked).second().await, Forwarded, "{asked:?}");
    }
    for asked in ["max-age=600", "max-age=5", "min-fresh=5"] {
        let (mut cache, origin, clock) = cache(honouring());
        origin.queue([reply(200, &[("cache-control", "max-age=60, stale-if-error=60")], "one")]);
        ask(&mut cache, get("/")).await;
        clock.advance(61 * SECOND);
        origin.queue([reply(503, &[], "sick")]);
        let answer = ask(&mut cache, get_with("/", &[("cache-control", asked)])).await;
        assert_eq!(answer.status(), 503, "{asked}");
    }
}

#[tokio::test]
async fn no_store_of_a_head_updates_nothing() {
    // §5.2.1.5.
    let (mut cache, origin, clock) = cache(honouring());
    origin.queue([reply(200, &[("cache-control", "max-age=60"), ("x-a", "old")], "one")]);
    ask(&mut cache, get("/")).await;
    clock.advance(60 * SECOND);
    origin.queue([reply(200, &[("cache-control", "max-age=60"), ("x-a", "new")], "")]);
    ask(&mut cache, request("HEAD", "/", &[("cache-control", "no-store")])).await;
    clock.advance(SECOND);
    assert_eq!(then(&mut cache, &origin, get("/")).await, Forwarded);
}
