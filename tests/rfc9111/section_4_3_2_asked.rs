//! RFC 9111 §4.3.2: what does the cache answer to the conditions of a client?

use tokio_test::{assert_pending, assert_ready_ok};

use crate::{
    common::{Reply, SECOND, ask, cache, field, get, get_with, ok, reply, request, send, text},
    exchange::{A_MINUTE_AGO, Fields, NOW, TEN_HOURS_AGO, Then::*, conditions, given, plain, single},
};

const TAG: Fields<'static> = &[("etag", "\"a\"")];
const WEAK: Fields<'static> = &[("etag", "W/\"a\"")];
const MODIFIED: Fields<'static> = &[("last-modified", A_MINUTE_AGO)];
const BOTH: Fields<'static> = &[("etag", "\"a\""), ("last-modified", A_MINUTE_AGO)];

/// What is stored, what is asked, and the status of the answer from the store.
const TABLE: &[(Fields<'_>, Fields<'_>, u16)] = &[
    // §4.3.2, RFC 9110 §13.1.2: If-None-Match.
    (TAG, &[("if-none-match", "\"a\"")], 304),
    (TAG, &[("if-none-match", "\"b\"")], 200),
    (TAG, &[("if-none-match", "\"A\"")], 200),
    (TAG, &[("if-none-match", "*")], 304),
    (&[], &[("if-none-match", "*")], 304),
    (&[], &[("if-none-match", "\"a\"")], 200),
    (TAG, &[("if-none-match", "\"b\", \"a\"")], 304),
    (TAG, &[("if-none-match", "\"b\""), ("if-none-match", "\"a\"")], 304),
    (TAG, &[("if-none-match", "\"b\",,\"c\"")], 200),
    // RFC 9110 §8.8.3.2: by weak comparison.
    (TAG, &[("if-none-match", "W/\"a\"")], 304),
    (WEAK, &[("if-none-match", "\"a\"")], 304),
    (WEAK, &[("if-none-match", "W/\"a\"")], 304),
    (WEAK, &[("if-none-match", "W/\"b\"")], 200),
    // What is no entity tag matches none.
    (TAG, &[("if-none-match", "a")], 200),
    (TAG, &[("if-none-match", "")], 200),
    (&[("etag", "a")], &[("if-none-match", "a")], 200),
    // §4.3.2, RFC 9110 §13.1.3: If-Modified-Since.
    (MODIFIED, &[("if-modified-since", A_MINUTE_AGO)], 304),
    (MODIFIED, &[("if-modified-since", NOW)], 304),
    (MODIFIED, &[("if-modified-since", "Sun, 13 Sep 2020 12:25:39 GMT")], 200),
    (MODIFIED, &[("if-modified-since", "Sunday, 13-Sep-20 12:25:40 GMT")], 304),
    (MODIFIED, &[("if-modified-since", "Sun Sep 13 12:25:40 2020")], 304),
    (MODIFIED, &[("if-modified-since", "0")], 200),
    (MODIFIED, &[("if-modified-since", "")], 200),
    (MODIFIED, &[("if-modified-since", NOW), ("if-modified-since", A_MINUTE_AGO)], 200),
    (MODIFIED, &[("if-modified-since", "Sun, 13 Sep 2020 12:26:40 CET")], 200),
    (BOTH, &[("if-modified-since", NOW)], 304),
    // §4.3.2: without Last-Modified what is older than the Date is not known to be unchanged.
    (&[("date", NOW)], &[("if-modified-since", A_MINUTE_AGO)], 200),
    (TAG, &[("if-modified-since", A_MINUTE_AGO)], 200),
    // §4.3.2: If-None-Match takes precedence.
    (BOTH, &[("if-none-match", "\"a\""), ("if-modified-since", TEN_HOURS_AGO)], 304),
    (BOTH, &[("if-none-match", "\"b\""), ("if-modified-since", NOW)], 200),
    (MODIFIED, &[("if-none-match", "\"a\""), ("if-modified-since", NOW)], 200),
    (BOTH, &[("if-none-match", "x"), ("if-modified-since", NOW)], 200),
];

#[tokio::test]
async fn conditions_are_evaluated_against_what_is_stored() {
    for (stored, asked, code) in TABLE {
        for method in ["GET", "HEAD"] {
            let said = [&[("cache-control", "max-age=60")], *stored].concat();
            let answer = given(200, &said).then(method, asked).answer().await.unwrap();
            assert_eq!(answer.status(), *code, "{method}: {stored:?} {asked:?}");
            assert_eq!(text(answer).await.unwrap().is_empty(), method == "HEAD" || *code == 304, "{method}: {asked:?}");
        }
    }
}

#[tokio::test]
async fn conditions_count_only_where_the_answer_would_be_a_success() {
    // RFC 9110 §13.2.1.
    for code in [300, 301, 302, 307, 308, 400, 404, 405, 410, 414, 500, 501, 503] {
        let said = [("cache-control", "max-age=60"), ("etag", "\"a\""), ("last-modified", A_MINUTE_AGO)];
        for asked in [("if-none-match", "\"a\""), ("if-none-match", "*"), ("if-modified-since", NOW)] {
            let answer = given(code, &said).then("GET", &[asked]).answer().await.unwrap();
            assert_eq!(answer.status(), code, "{asked:?}");
        }
    }
}

/// §4.3.2: conditions that only an origin judges.
const NOT_OURS: &[Fields<'_>] = &[
    &[("if-match", "\"a\"")],
    &[("if-match", "\"b\"")],
    &[("if-match", "*")],
    &[("if-unmodified-since", A_MINUTE_AGO)],
    &[("if-unmodified-since", NOW)],
    &[("if-match", "\"a\""), ("if-none-match", "\"a\"")],
    &[("if-modified-since", NOW), ("if-unmodified-since", NOW)],
];

#[tokio::test]
async fn conditions_that_only_an_origin_judges_reach_it_as_they_are() {
    let said = [("cache-control", "max-age=60"), ("etag", "\"a\""), ("last-modified", A_MINUTE_AGO)];
    for asked in NOT_OURS {
        let (mut cache, origin) = given(200, &said).first().await;
        let mut sent = send(&mut cache, get_with("/", asked));
        assert_pending!(sent.poll(), "{asked:?}");
        let lines: Vec<_> = asked.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        assert_eq!(conditions(&origin.head().headers), lines.join("; "));
        origin.reply(reply(412, &[], "no"));
        assert_eq!(assert_ready_ok!(sent.poll()).status(), 412);
        assert_eq!(given(200, &said).then("GET", &[]).second().await, Stored, "what is stored is still there");
    }
}

#[tokio::test]
async fn conditions_on_what_is_not_stored_or_not_reusable_reach_the_origin() {
    // §4.3.2: a cache must not evaluate conditions on what it has not stored.
    let asked = [("if-none-match", "\"a\""), ("if-modified-since", NOW)];
    let expected = Asked("if-none-match: \"a\"; if-modified-since: Sun, 13 Sep 2020 12:26:40 GMT");
    for said in ["no-store", "private", "max-age=0"] {
        let said = [("cache-control", said)];
        let first = given(200, &said).policy(single()).then("GET", &asked);
        assert_eq!(first.second().await, expected, "{said:?}");
    }
    for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
        let stored = given(200, &[("cache-control", "max-age=60"), ("etag", "\"a\"")]).then(method, &asked);
        assert_eq!(stored.second().await, expected, "{method}");
    }
}

#[tokio::test]
async fn an_origins_own_304_to_a_clients_condition_is_passed_on() {
    let (mut cache, origin, _) = cache(single());
    origin.queue([reply(304, &[("etag", "\"a\""), ("cache-control", "max-age=60")], "")]);
    let answer = ask(&mut cache, get_with("/", &[("if-none-match", "\"a\"")])).await;
    assert_eq!((answer.status().as_u16(), field(&answer, "etag")), (304, "\"a\""));
}

/// What a client asks that has to be validated, what the origin says of `"a"`, and what the client gets.
fn forwarded() -> [(Fields<'static>, Reply, u16, &'static str); 8] {
    let confirmed = || reply(304, &[("etag", "\"a\"")], "");
    let replaced = || reply(200, &[("etag", "\"b\""), ("cache-control", "max-age=60")], "two");
    [
        // §4.3.2: a tag that is not in the client's list, so the stored response as a 200.
        (&[], confirmed(), 200, "one"),
        (&[("if-none-match", "\"b\"")], confirmed(), 200, "one"),
        (&[("if-none-match", "\"b\", \"c\"")], confirmed(), 200, "one"),
        (&[("if-none-match", "\"b\", \"a\"")], confirmed(), 304, ""),
        (&[("if-none-match", "W/\"a\"")], confirmed(), 304, ""),
        // §4.3.3: the full response, which the client may have.
        (&[("if-none-match", "\"a\"")], replaced(), 200, "two"),
        (&[("if-none-match", "\"b\"")], replaced(), 304, ""),
        (&[], replaced(), 200, "two"),
    ]
}

#[tokio::test]
async fn a_client_gets_a_304_only_for_what_it_has() {
    for (asked, origins, code, content) in forwarded() {
        let (mut cache, origin, clock) = cache(plain());
        origin.queue([reply(200, &[("cache-control", "max-age=60"), ("etag", "\"a\"")], "one"), origins]);
        ask(&mut cache, get("/")).await;
        clock.advance(60 * SECOND);
        let answer = ask(&mut cache, get_with("/", asked)).await;
        assert_eq!(answer.status(), code, "{asked:?}");
        assert_eq!(text(answer).await.unwrap(), content, "{asked:?}");
    }
}

#[tokio::test]
async fn a_304_repeats_what_a_200_would_say_of_itself() {
    // RFC 9110 §15.4.5: these are sent, and what describes the content is not.
    let said = [
        ("cache-control", "max-age=60"),
        ("content-location", "/a"),
        ("date", NOW),
        ("etag", "\"a\""),
        ("expires", "0"),
        ("vary", "x-a"),
    ];
    let (mut cache, origin, _) = cache(plain());
    let described = [("content-type", "text/plain"), ("content-length", "3"), ("last-modified", A_MINUTE_AGO)];
    origin.queue([reply(200, &[&said[..], &described].concat(), "one"), ok("never asked for")]);
    ask(&mut cache, get("/")).await;
    for method in ["GET", "HEAD"] {
        let answer = ask(&mut cache, request(method, "/", &[("if-none-match", "\"a\"")])).await;
        assert_eq!(answer.status(), 304);
        for (name, value) in said {
            assert_eq!(field(&answer, name), value, "{method}");
        }
        for (name, _) in described {
            assert!(!answer.headers().contains_key(name), "{method} {name}");
        }
    }
}
