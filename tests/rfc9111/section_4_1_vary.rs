//! RFC 9111 §4.1: do the request fields that `Vary` names match?

use crate::{
    common::{MILLI, SECOND, ask, cache, get_with, reply, status, text},
    exchange::{Fields, MINUTE, Then, Then::*, given, plain, then},
};

/// `Vary`, the fields of the first request, those of the second, and what becomes of it.
type Row = (&'static [&'static str], Fields<'static>, Fields<'static>, Then);

const SIMPLE: &[Row] = &[
    // §4.1: all nominated fields match those of the original request.
    (&["x-a"], &[("x-a", "1")], &[("x-a", "1")], Stored),
    (&["x-a"], &[("x-a", "1")], &[("x-a", "2")], Forwarded),
    (&["x-a"], &[("x-a", "1")], &[("x-a", "1"), ("x-b", "2")], Stored),
    (&["x-a, x-b"], &[("x-a", "1"), ("x-b", "2")], &[("x-b", "2"), ("x-a", "1")], Stored),
    (&["x-a, x-b"], &[("x-a", "1"), ("x-b", "2")], &[("x-a", "1"), ("x-b", "3")], Forwarded),
    (&["x-a, x-b"], &[("x-a", "1"), ("x-b", "2")], &[("x-a", "2"), ("x-b", "1")], Forwarded),
    (&["x-a", "x-b"], &[("x-a", "1"), ("x-b", "2")], &[("x-a", "1"), ("x-b", "2")], Stored),
    (&["x-a", "x-b"], &[("x-a", "1"), ("x-b", "2")], &[("x-a", "1"), ("x-b", "3")], Forwarded),
    (&["x-a", "x-b"], &[("x-a", "1"), ("x-b", "2")], &[("x-a", "2"), ("x-b", "2")], Forwarded),
    (&["X-A"], &[("x-a", "1")], &[("x-a", "1")], Stored),
    (&["X-A"], &[("x-a", "1")], &[("x-a", "2")], Forwarded),
    (&[" x-a ,, x-b ,"], &[("x-b", "1")], &[("x-b", "2")], Forwarded),
    (&["x-a", ""], &[("x-a", "1")], &[("x-a", "1")], Stored),
    (&["x-a, X-A"], &[("x-a", "1")], &[("x-a", "1")], Stored),
    (&["accept"], &[("accept", "text/html")], &[("accept", "text/plain")], Forwarded),
    (&["cookie"], &[("cookie", "a=1")], &[("cookie", "a=2")], Forwarded),
    (&["cookie"], &[("cookie", "a=1")], &[("cookie", "a=1")], Stored),
    (&["user-agent"], &[("user-agent", "x/1")], &[("user-agent", "x/1.0")], Forwarded),
    (&["origin"], &[("origin", "https://a.example")], &[("origin", "https://b.example")], Forwarded),
    // §4.1: absent matches absent, and nothing else.
    (&["x-a"], &[], &[], Stored),
    (&["x-a"], &[], &[("x-a", "1")], Forwarded),
    (&["x-a"], &[("x-a", "1")], &[], Forwarded),
    (&["x-a"], &[], &[("x-a", "")], Forwarded),
    (&["x-a"], &[("x-a", "")], &[], Forwarded),
    (&["x-a"], &[("x-a", "")], &[("x-a", "")], Stored),
    (&["accept-encoding"], &[], &[("accept-encoding", "")], Forwarded),
    (&["accept-encoding"], &[("accept-encoding", "")], &[], Forwarded),
    (&["accept-language"], &[], &[("accept-language", "*")], Forwarded),
    // RFC 9110 §12.5.5: names nothing.
    (&[""], &[("x-a", "1")], &[("x-a", "2")], Stored),
    (&[" , ,"], &[("x-a", "1")], &[("x-a", "2")], Stored),
    // §4.1: a member "*" always fails to match.
    (&["*"], &[], &[], Forwarded),
    (&["*, x-a"], &[], &[], Forwarded),
    (&["x-a, *"], &[("x-a", "1")], &[("x-a", "1")], Forwarded),
    (&["x-a", "*"], &[], &[], Forwarded),
    (&["*", "*"], &[], &[], Forwarded),
    // What is no name could stand for anything.
    (&["x a"], &[], &[], Forwarded),
    (&["\"x-a\""], &[], &[], Forwarded),
    (&["x-a; q=1"], &[], &[], Forwarded),
];

const SPELLINGS: &[Row] = &[
    // §4.1: without a definition that says more, order, case and inner white space differ.
    (&["x-a"], &[("x-a", "1, 2")], &[("x-a", "2, 1")], Forwarded),
    (&["x-a"], &[("x-a", "a")], &[("x-a", "A")], Forwarded),
    (&["x-a"], &[("x-a", "a b")], &[("x-a", "a  b")], Forwarded),
    (&["x-a"], &[("x-a", "1"), ("x-a", "2")], &[("x-a", "2"), ("x-a", "1")], Forwarded),
    (&["x-a"], &[("x-a", "1"), ("x-a", "2")], &[("x-a", "1")], Forwarded),
    (&["x-a"], &[("x-a", "1")], &[("x-a", "1"), ("x-a", "1")], Forwarded),
    (&["accept"], &[("accept", "a/b, c/d")], &[("accept", "c/d, a/b")], Forwarded),
    // §4.1: white space where the syntax allows it, lines combined, case and order where they do not count.
    (&["accept-encoding"], &[("accept-encoding", "gzip, br")], &[("accept-encoding", "gzip,br")], Stored),
    (&["accept-encoding"], &[("accept-encoding", "gzip, br")], &[("accept-encoding", "br\t, gzip")], Stored),
    (&["accept-encoding"], &[("accept-encoding", "gzip")], &[("accept-encoding", "GZip")], Stored),
    (&["accept-encoding"], &[("accept-encoding", "gzip")], &[("accept-encoding", "x-gzip")], Stored),
    (&["accept-encoding"], &[("accept-encoding", "gzip;q=1.0")], &[("accept-encoding", "gzip")], Stored),
    (
        &["accept-encoding"],
        &[("accept-encoding", "gzip"), ("accept-encoding", "br")],
        &[("accept-encoding", "gzip, br")],
        Stored,
    ),
    (
        &["accept-language"],
        &[("accept-language", "de"), ("accept-language", "en;q=0.5")],
        &[("accept-language", "DE,en; q=0.500")],
        Stored,
    ),
    // RFC 9110 §12: what these fields do tell apart.
    (&["accept-encoding"], &[("accept-encoding", "gzip")], &[("accept-encoding", "gzip;q=0")], Forwarded),
    (&["accept-encoding"], &[("accept-encoding", "gzip;q=0.5")], &[("accept-encoding", "gzip;q=0.6")], Forwarded),
    (&["accept-encoding"], &[("accept-encoding", "gzip")], &[("accept-encoding", "gzip, br")], Forwarded),
    (&["accept-encoding"], &[("accept-encoding", "identity")], &[("accept-encoding", "*")], Forwarded),
    (&["accept-encoding"], &[("accept-encoding", "")], &[("accept-encoding", "identity")], Forwarded),
    (&["accept-language"], &[("accept-language", "de, en")], &[("accept-language", "en, de")], Forwarded),
    (&["accept-language"], &[("accept-language", "de")], &[("accept-language", "de-AT")], Forwarded),
    (&["accept-language"], &[("accept-language", "de, de;q=0")], &[("accept-language", "de;q=0, de")], Forwarded),
];

#[tokio::test]
async fn a_response_answers_requests_whose_nominated_fields_match() {
    for (vary, first, second, expected) in SIMPLE.iter().chain(SPELLINGS) {
        let mut said = vec![("cache-control", "max-age=60")];
        said.extend(vary.iter().map(|names| ("vary", *names)));
        let found = given(200, &said).asked("GET", first).then("GET", second).second().await;
        assert_eq!(found, *expected, "{vary:?}: {first:?} and then {second:?}");
        let found = given(200, &said).asked("GET", first).then("HEAD", second).second().await;
        assert_eq!(found, *expected, "{vary:?}: {first:?} and then a HEAD with {second:?}");
    }
}

const DE: Fields<'static> = &[("x-lang", "de")];
const EN: Fields<'static> = &[("x-lang", "en")];
const FR: Fields<'static> = &[("x-lang", "fr")];

#[tokio::test]
async fn each_variant_has_its_own_freshness() {
    let (mut cache, origin, clock) = cache(plain());
    origin.queue([reply(200, &[("cache-control", "max-age=10"), ("vary", "x-lang")], "de")]);
    origin.queue([reply(200, &[("cache-control", "max-age=60"), ("vary", "x-lang")], "en")]);
    ask(&mut cache, get_with("/", DE)).await;
    clock.advance(5 * SECOND);
    ask(&mut cache, get_with("/", EN)).await;

    assert_eq!(text(ask(&mut cache, get_with("/", DE)).await).await.unwrap(), "de");
    assert_eq!(text(ask(&mut cache, get_with("/", EN)).await).await.unwrap(), "en");
    clock.advance(5 * SECOND);
    assert_eq!(then(&mut cache, &origin, get_with("/", EN)).await, Stored);
    assert_eq!(then(&mut cache, &origin, get_with("/", DE)).await, Forwarded);
}

#[tokio::test]
async fn a_request_that_matches_none_is_forwarded_with_what_is_stored() {
    // §4.1, §4.3.1: with preconditions that describe it. Weak tags need not differ from one variant to another.
    let table: [(Fields<'_>, Fields<'_>, Then); 5] = [
        (&[("etag", "\"de\"")], &[("etag", "\"en\"")], Asked("if-none-match: \"de\", \"en\"")),
        (&[("etag", "\"de\"")], &[("etag", "W/\"en\"")], Asked("if-none-match: \"de\"")),
        (&[("etag", "\"de\"")], &[("etag", "\"de\"")], Asked("if-none-match: \"de\"")),
        (&[("etag", "\"de\"")], &[], Asked("if-none-match: \"de\"")),
        (&[], &[], Forwarded),
    ];
    for (de, en, expected) in table {
        let (mut cache, origin, clock) = cache(plain());
        let vary = [("cache-control", "max-age=60"), ("vary", "x-lang")];
        for (asked, said) in [(DE, de), (EN, en)] {
            origin.queue([reply(200, &[&vary, said].concat(), "one")]);
            ask(&mut cache, get_with("/", asked)).await;
            clock.advance(MILLI);
        }
        assert_eq!(then(&mut cache, &origin, get_with("/", FR)).await, expected, "{de:?} {en:?}");
    }
}

#[tokio::test]
async fn the_variant_that_a_304_names_answers_and_is_stored_for_both() {
    let (mut cache, origin, clock) = cache(plain());
    let variant = |tag| [("cache-control", "max-age=60"), ("vary", "x-lang"), ("etag", tag)];
    origin.queue([reply(200, &variant("\"de\""), "Birnen"), reply(200, &variant("\"en\""), "pears")]);
    ask(&mut cache, get_with("/", DE)).await;
    ask(&mut cache, get_with("/", EN)).await;
    clock.advance(MILLI);
    origin.queue([reply(304, &variant("\"en\""), "")]);
    assert_eq!(text(ask(&mut cache, get_with("/", FR)).await).await.unwrap(), "pears");
    for (asked, content) in [(FR, "pears"), (EN, "pears"), (DE, "Birnen")] {
        let hit = ask(&mut cache, get_with("/", asked)).await;
        assert_eq!((status(&hit).starts_with("hit"), text(hit).await.unwrap().as_str()), (true, content), "{asked:?}");
    }
}

#[tokio::test]
async fn a_response_that_begins_to_vary_no_longer_answers_everybody() {
    let (mut cache, origin, clock) = cache(plain());
    origin.queue([reply(200, &[("cache-control", "max-age=60")], "all")]);
    ask(&mut cache, get_with("/", DE)).await;
    assert_eq!(then(&mut cache, &origin, get_with("/", EN)).await, Stored);
    clock.advance(MINUTE);
    origin.queue([reply(200, &[("cache-control", "max-age=60"), ("vary", "x-lang")], "de")]);
    ask(&mut cache, get_with("/", DE)).await;
    clock.advance(MILLI);

    assert_eq!(then(&mut cache, &origin, get_with("/", DE)).await, Stored);
    assert_eq!(then(&mut cache, &origin, get_with("/", EN)).await, Forwarded);
}

#[tokio::test]
async fn a_response_that_varies_on_more_answers_fewer() {
    let (mut cache, origin, clock) = cache(plain());
    origin.queue([reply(200, &[("cache-control", "max-age=60"), ("vary", "x-lang")], "de")]);
    ask(&mut cache, get_with("/", DE)).await;
    clock.advance(MILLI);
    origin.queue([reply(200, &[("cache-control", "max-age=60"), ("vary", "x-lang, x-b")], "en")]);
    ask(&mut cache, get_with("/", EN)).await;
    clock.advance(MILLI);
    let other = get_with("/", &[("x-lang", "en"), ("x-b", "1")]);
    assert_eq!(then(&mut cache, &origin, other).await, Forwarded);
    assert_eq!(then(&mut cache, &origin, get_with("/", EN)).await, Stored);
}
