//! RFC 9111 §4.3.5: what does a HEAD that was forwarded say of a stored GET?

use crate::{
    common::{MILLI, SECOND, ask, cache, field, get, get_with, reply, request, text},
    exchange::{A_MINUTE_AGO, Fields, NOW, Then, Then::*, plain, single, then},
};

/// What is stored besides its content of three bytes, what the HEAD says, and what becomes of the next GET.
type Row = (Fields<'static>, Fields<'static>, Then);

const TABLE: &[Row] = &[
    // §4.3.5: all validators that the HEAD has, and its length, match: it is updated.
    (&[], &[], Stored),
    (&[], &[("content-length", "3")], Stored),
    (&[("content-length", "3")], &[("content-length", "3")], Stored),
    // Otherwise it is stale.
    (&[], &[("content-length", "4")], Forwarded),
    (&[], &[("content-length", "0")], Forwarded),
    (&[], &[("content-length", "x")], Forwarded),
    (&[], &[("etag", "\"a\"")], Forwarded),
    (&[], &[("last-modified", A_MINUTE_AGO)], Forwarded),
    (&[], &[("last-modified", "0")], Forwarded),
    (&[], &[("etag", "x")], Forwarded),
    // It forbids to be kept.
    (&[], &[("cache-control", "no-store")], Forwarded),
    (&[], &[("cache-control", "private")], Forwarded),
];

#[tokio::test]
async fn a_head_updates_what_it_matches_and_makes_the_rest_stale() {
    for (stored, said, expected) in TABLE {
        let (mut cache, origin, clock) = cache(single());
        origin.queue([reply(200, &[&[("cache-control", "max-age=60"), ("x-a", "old")], *stored].concat(), "one")]);
        ask(&mut cache, get("/")).await;
        clock.advance(60 * SECOND);
        origin.queue([reply(200, &[&[("cache-control", "max-age=60"), ("x-a", "new")], *said].concat(), "")]);
        ask(&mut cache, request("HEAD", "/", &[])).await;
        clock.advance(MILLI);

        let next = then(&mut cache, &origin, get("/")).await;
        assert_eq!(next, *expected, "{stored:?} {said:?}");
        if next == Stored {
            let hit = ask(&mut cache, get("/")).await;
            assert_eq!(field(&hit, "x-a"), "new", "{stored:?} {said:?}");
            assert_eq!(text(hit).await.unwrap(), "one", "{stored:?} {said:?}");
        }
    }
}

#[tokio::test]
async fn only_a_200_says_anything() {
    // §4.3.5: receives a 200 response. What is stored is as it was, and still there for when the origin fails.
    for (code, expected) in [(200, "new"), (203, "old"), (204, "old"), (206, "old"), (404, "old"), (501, "old")] {
        let (mut cache, origin, clock) = cache(single());
        let window = ("cache-control", "max-age=60, stale-if-error=600");
        origin.queue([reply(200, &[window, ("x-a", "old")], "one")]);
        ask(&mut cache, get("/")).await;
        clock.advance(60 * SECOND);
        origin.queue([reply(code, &[window, ("x-a", "new")], "")]);
        assert_eq!(ask(&mut cache, request("HEAD", "/", &[])).await.status(), code);
        clock.advance(60 * SECOND);
        origin.queue([reply(503, &[], "sick")]);
        assert_eq!(field(&ask(&mut cache, get("/")).await, "x-a"), expected, "{code}");
    }
}

#[tokio::test]
async fn a_head_for_another_variant_says_nothing_of_this_one() {
    let (mut cache, origin, clock) = cache(single());
    let said = [("cache-control", "max-age=60"), ("vary", "x-a"), ("date", NOW)];
    origin.queue([reply(200, &said, "one")]);
    ask(&mut cache, get_with("/", &[("x-a", "1")])).await;
    origin.queue([reply(200, &[("cache-control", "no-store"), ("content-length", "9")], "")]);
    ask(&mut cache, request("HEAD", "/", &[("x-a", "2")])).await;
    clock.advance(MILLI);
    assert_eq!(then(&mut cache, &origin, get_with("/", &[("x-a", "1")])).await, Stored);
    assert_eq!(then(&mut cache, &origin, get_with("/", &[("x-a", "2")])).await, Forwarded);
}

#[tokio::test]
async fn no_content_length_is_made_up_for_a_204_or_a_304() {
    // RFC 9110 §8.6.
    for code in [204, 304] {
        let (mut cache, origin, _) = cache(plain());
        origin.queue((0..2).map(|_| reply(code, &[("cache-control", "max-age=60")], "")));
        for asked in ["forwarded", "again"] {
            let answer = ask(&mut cache, request("HEAD", "/", &[])).await;
            assert_eq!(field(&answer, "content-length"), "", "{code}, {asked}");
        }
    }
}
