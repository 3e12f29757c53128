//! RFC 9111 §4.3.4: which stored response is a 304 about?

use crate::{
    common::{Ask, MILLI, SECOND, TestCache, ask, cache, field, get, get_with, reply, text},
    exchange::{A_MINUTE_AGO, Fields, NOW, TEN_HOURS_AGO, Then::*, plain, then},
};

/// The validators of what is stored, those of the 304, and whether it is about that response.
const TABLE: &[(Fields<'_>, Fields<'_>, bool)] = &[
    // §4.3.4: a strong validator is of those with the same one.
    (&[("etag", "\"a\"")], &[("etag", "\"a\"")], true),
    (&[("etag", "\"a\"")], &[("etag", "\"b\"")], false),
    (&[("etag", "\"a\"")], &[("etag", "\"A\"")], false),
    (&[("etag", "W/\"a\"")], &[("etag", "\"b\"")], false),
    (&[("last-modified", A_MINUTE_AGO)], &[("etag", "\"a\"")], false),
    (&[("etag", "\"a\""), ("last-modified", A_MINUTE_AGO)], &[("etag", "\"a\"")], true),
    (&[("etag", "\"a\"")], &[("etag", "\"a\""), ("last-modified", A_MINUTE_AGO)], true),
    (&[("etag", "\"a\"")], &[("etag", "\"b\""), ("last-modified", A_MINUTE_AGO)], false),
    // §4.3.4: a weak one corresponds to a stored one.
    (&[("etag", "W/\"a\"")], &[("etag", "W/\"a\"")], true),
    (&[("etag", "W/\"a\"")], &[("etag", "W/\"b\"")], false),
    (&[("etag", "\"a\"")], &[("etag", "W/\"b\"")], false),
    (&[("last-modified", A_MINUTE_AGO)], &[("last-modified", A_MINUTE_AGO)], true),
    (&[("last-modified", A_MINUTE_AGO)], &[("last-modified", "Sunday, 13-Sep-20 12:25:40 GMT")], true),
    (&[("last-modified", A_MINUTE_AGO)], &[("last-modified", TEN_HOURS_AGO)], false),
    (&[("last-modified", A_MINUTE_AGO)], &[("last-modified", NOW)], false),
    (&[("last-modified", A_MINUTE_AGO)], &[("last-modified", "0")], false),
    (
        &[("etag", "W/\"a\""), ("last-modified", A_MINUTE_AGO)],
        &[("etag", "W/\"a\""), ("last-modified", A_MINUTE_AGO)],
        true,
    ),
    // What can not be read is no validator of anything.
    (&[("etag", "\"a\"")], &[("etag", "a")], false),
    (&[("etag", "\"a\"")], &[("etag", "\"a\""), ("etag", "\"b\"")], false),
];

#[tokio::test]
async fn a_304_updates_what_its_validators_identify_and_nothing_else() {
    for (stored, news, is_about_it) in TABLE {
        let (mut cache, origin, clock) = cache(plain());
        origin.queue([reply(200, &[&[("cache-control", "max-age=60"), ("x-a", "old")], *stored].concat(), "one")]);
        ask(&mut cache, get("/")).await;
        clock.advance(60 * SECOND);
        origin.queue([reply(304, &[&[("cache-control", "max-age=60"), ("x-a", "new")], *news].concat(), "")]);
        let answer = ask(&mut cache, get("/")).await;
        clock.advance(MILLI);

        assert_eq!(answer.status() == 200 && field(&answer, "x-a") == "new", *is_about_it, "{stored:?} {news:?}");
        let next = then(&mut cache, &origin, get("/")).await;
        // What nobody has confirmed is not used, nor asked about again.
        assert_eq!(next, if *is_about_it { Stored } else { Forwarded }, "{stored:?} {news:?}");
    }
}

#[tokio::test]
async fn a_strong_tag_that_is_weakly_the_stored_one_confirms_it_once_and_updates_nothing() {
    let (mut cache, origin, clock) = cache(plain());
    origin.queue([reply(200, &[("cache-control", "max-age=60"), ("etag", "W/\"a\""), ("x-a", "old")], "one")]);
    ask(&mut cache, get("/")).await;
    clock.advance(60 * SECOND);
    origin.queue([reply(304, &[("cache-control", "max-age=60"), ("etag", "\"a\""), ("x-a", "new")], "")]);
    let answer = ask(&mut cache, get("/")).await;

    assert_eq!((answer.status().as_u16(), field(&answer, "x-a")), (200, "old"));
    assert_eq!(text(answer).await.unwrap(), "one");
    assert_eq!(then(&mut cache, &origin, get("/")).await, Asked("if-none-match: W/\"a\""));
}

fn lang(value: &'static str) -> Ask {
    get_with("/", &[("x-lang", value)])
}

async fn hit(cache: &mut TestCache, asked: Ask) -> (String, String) {
    let answer = ask(cache, asked).await;
    (field(&answer, "x-a").to_owned(), text(answer).await.unwrap())
}

#[tokio::test]
async fn of_several_variants_only_the_one_that_is_named_is_updated() {
    let (mut cache, origin, clock) = cache(plain());
    let variant = |tag, x| [("cache-control", "max-age=60"), ("vary", "x-lang"), ("etag", tag), ("x-a", x)];
    for (name, tag) in [("de", "\"de\""), ("en", "\"en\"")] {
        origin.queue([reply(200, &variant(tag, "old"), name)]);
        ask(&mut cache, lang(name)).await;
        clock.advance(MILLI);
    }
    clock.advance(30 * SECOND);
    origin.queue([reply(304, &variant("\"en\"", "new"), "")]);
    assert_eq!(hit(&mut cache, lang("fr")).await, ("new".into(), "en".into()));
    clock.advance(MILLI);

    assert_eq!(hit(&mut cache, lang("fr")).await, ("new".into(), "en".into()));
    assert_eq!(hit(&mut cache, lang("de")).await, ("old".into(), "de".into()));
    assert_eq!(origin.forwards(), 3);
}

#[tokio::test]
async fn a_304_that_names_none_of_the_variants_updates_none() {
    for tag in ["\"it\"", "W/\"it\"", "x"] {
        let (mut cache, origin, clock) = cache(plain());
        let variant = |tag| [("cache-control", "max-age=60"), ("vary", "x-lang"), ("etag", tag)];
        for (name, tag) in [("de", "\"de\""), ("en", "\"en\"")] {
            origin.queue([reply(200, &variant(tag), name)]);
            ask(&mut cache, lang(name)).await;
            clock.advance(MILLI);
        }
        origin.queue([reply(304, &variant(tag), "")]);
        let answer = ask(&mut cache, lang("fr")).await;
        assert!(answer.status().is_server_error(), "{tag}");
        clock.advance(MILLI);
        let next = then(&mut cache, &origin, lang("fr")).await;
        assert!(matches!(next, Forwarded | Asked(_)), "{tag}: {next:?}");
    }
}

#[tokio::test]
async fn a_304_without_any_validator_updates_the_only_response_if_that_has_none_either() {
    // §4.3.4. Such a response is never asked about, so that the 304 answers the client's own condition.
    let (mut cache, origin, clock) = cache(plain());
    origin.queue([reply(200, &[("cache-control", "max-age=60")], "one")]);
    ask(&mut cache, get("/")).await;
    clock.advance(60 * SECOND);
    assert_eq!(then(&mut cache, &origin, get("/")).await, Forwarded);
}
