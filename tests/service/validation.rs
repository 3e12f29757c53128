//! What is stale is validated, and what the origin confirms is fresh again (RFC 9111 §4.3).

use bytes::Bytes;
use http_body_util::BodyExt;
use microcache::{Collapse, MemoryStore, Policy, Scope};
use tokio_test::{assert_pending, assert_ready_ok};

use crate::common::*;

const TAGGED: &[(&str, &str)] = &[("cache-control", "max-age=1"), ("etag", "\"a\""), ("x-kept", "old")];

fn not_modified(fields: &[(&str, &str)]) -> Reply {
    reply(304, fields, "")
}

fn variant(tag: &str) -> [(&str, &str); 3] {
    [("cache-control", "max-age=60"), ("vary", "x-lang"), ("etag", tag)]
}

#[tokio::test]
async fn a_304_makes_what_is_stale_fresh_again() {
    let (mut cache, origin, clock) = cache(Policy::new());
    origin.queue([reply(200, TAGGED, "page")]);
    ask(&mut cache, get("/")).await;
    clock.advance(SECOND);

    let mut asked = send(&mut cache, get("/"));
    assert_pending!(asked.poll());
    assert_eq!(origin.head().headers["if-none-match"], "\"a\"");
    origin.reply(not_modified(&[("etag", "\"a\""), ("cache-control", "max-age=5"), ("x-new", "1")]));
    let answer = assert_ready_ok!(asked.poll());

    assert_eq!(status(&answer), "fwd=stale; fwd-status=304; ttl=5; stored");
    assert_eq!(answer.status(), 200);
    assert_eq!((field(&answer, "x-new"), field(&answer, "x-kept")), ("1", "old"));
    assert_eq!(text(answer).await.unwrap(), "page");
    clock.advance(4 * SECOND);
    let hit = ask(&mut cache, get("/")).await;
    assert_eq!(status(&hit), "hit; ttl=1");
    assert_eq!(field(&hit, "x-new"), "1");
    assert_eq!(text(hit).await.unwrap(), "page");
}

#[tokio::test]
async fn those_that_wait_share_what_the_304_confirmed() {
    let (mut cache, origin, clock) = cache(Policy::new());
    origin.queue([reply(200, TAGGED, "page")]);
    ask(&mut cache, get("/")).await;
    clock.advance(SECOND);
    let mut asked: Vec<_> = (0..10).map(|_| send(&mut cache, get("/"))).collect();
    asked.iter_mut().for_each(|asked| assert!(asked.poll().is_pending()));

    origin.reply(not_modified(&[("etag", "\"a\"")]));

    for asked in &mut asked {
        assert_eq!(text(assert_ready_ok!(asked.poll())).await.unwrap(), "page");
    }
    assert_eq!(origin.forwards(), 2);
}

#[tokio::test]
async fn a_whole_answer_replaces_what_was_asked_about() {
    let (mut cache, origin, clock) = cache(Policy::new());
    origin.queue([reply(200, TAGGED, "old"), reply(200, &[("cache-control", "max-age=9"), ("etag", "\"b\"")], "new")]);
    ask(&mut cache, get("/")).await;
    clock.advance(SECOND);

    let answer = ask(&mut cache, get("/")).await;
    assert_eq!(status(&answer), "fwd=stale; fwd-status=200; ttl=9; stored");
    assert_eq!(text(answer).await.unwrap(), "new");
    assert_eq!(text(ask(&mut cache, get("/")).await).await.unwrap(), "new");
}

#[tokio::test]
async fn a_date_alone_is_asked_about_too() {
    let (mut cache, origin, clock) = cache(Policy::new());
    let modified = "Sun, 06 Nov 1994 08:49:37 GMT";
    origin.queue([reply(200, &[("cache-control", "max-age=1"), ("last-modified", modified)], "page")]);
    ask(&mut cache, get("/")).await;
    clock.advance(SECOND);

    let mut asked = send(&mut cache, get("/"));
    assert_pending!(asked.poll());
    assert_eq!(origin.head().headers["if-modified-since"], modified);
    origin.reply(not_modified(&[("last-modified", modified)]));
    assert_eq!(text(assert_ready_ok!(asked.poll())).await.unwrap(), "page");
}

#[tokio::test]
async fn a_304_about_something_else_is_a_bad_answer_and_forgets_what_was_stored() {
    let (mut cache, origin, clock) = cache(Policy::new());
    origin.queue([reply(200, TAGGED, "page"), not_modified(&[("etag", "\"other\"")]), ok("whole")]);
    ask(&mut cache, get("/")).await;
    clock.advance(SECOND);

    let answer = ask(&mut cache, get("/")).await;
    assert_eq!(answer.status(), 502);
    assert_eq!(status(&answer), "fwd=stale; fwd-status=304; detail=not-asked");
    assert_eq!(text(ask(&mut cache, get("/")).await).await.unwrap(), "whole");
}

#[tokio::test]
async fn no_cache_is_stored_and_confirmed_for_each_request_on_its_own() {
    let (mut cache, origin, _) = cache(Policy::new());
    origin.queue([reply(200, &[("cache-control", "no-cache"), ("etag", "\"a\"")], "page")]);
    assert_eq!(status(&ask(&mut cache, get("/")).await), "fwd=uri-miss; fwd-status=200; ttl=0; stored");

    let mut asked: Vec<_> = (0..3).map(|_| send(&mut cache, get("/"))).collect();
    asked.iter_mut().for_each(|asked| assert!(asked.poll().is_pending()));
    assert_eq!(origin.waiting(), 3, "nobody waits for the confirmation of another");
    for asked in &mut asked {
        assert_eq!(origin.head().headers["if-none-match"], "\"a\"");
        origin.reply(not_modified(&[("etag", "\"a\""), ("cache-control", "no-cache")]));
        assert_eq!(text(assert_ready_ok!(asked.poll())).await.unwrap(), "page");
    }
}

#[tokio::test]
async fn what_the_304_makes_private_is_forgotten() {
    let (mut cache, origin, clock) = cache(Policy::new());
    let private = not_modified(&[("etag", "\"a\""), ("cache-control", "private")]);
    origin.queue([reply(200, TAGGED, "page"), private, ok("whole")]);
    ask(&mut cache, get("/")).await;
    clock.advance(SECOND);

    let answer = ask(&mut cache, get("/")).await;
    assert_eq!(status(&answer), "fwd=stale; fwd-status=304; detail=private");
    assert_eq!(text(answer).await.unwrap(), "page");
    let mut asked = send(&mut cache, get("/"));
    let answer = assert_ready_ok!(asked.poll());
    assert_eq!(text(answer).await.unwrap(), "whole");
}

#[tokio::test]
async fn the_clients_own_conditions_are_answered_from_what_was_confirmed() {
    let (mut cache, origin, clock) = cache(Policy::new());
    origin.queue([reply(200, TAGGED, "page")]);
    ask(&mut cache, get("/")).await;
    for (asked_with, expected) in [("\"a\"", 304), ("\"b\"", 200)] {
        clock.advance(SECOND);
        let mut asked = send(&mut cache, get_with("/", &[("if-none-match", asked_with)]));
        assert_pending!(asked.poll());
        assert_eq!(origin.head().headers.get_all("if-none-match").iter().collect::<Vec<_>>(), ["\"a\""]);
        origin.reply(not_modified(&[("etag", "\"a\"")]));
        assert_eq!(assert_ready_ok!(asked.poll()).status(), expected, "{asked_with}");
    }
}

#[tokio::test]
async fn the_tags_of_other_variants_are_asked_about_and_one_may_be_the_answer() {
    let (mut cache, origin, clock) = cache(Policy::new());
    origin.queue([reply(200, &variant("\"de\""), "Birnen"), reply(200, &variant("\"en\""), "pears")]);
    ask(&mut cache, get_with("/", &[("x-lang", "de")])).await;
    ask(&mut cache, get_with("/", &[("x-lang", "en")])).await;
    clock.advance(MILLI);

    let mut asked = send(&mut cache, get_with("/", &[("x-lang", "en-GB")]));
    assert_pending!(asked.poll());
    assert_eq!(origin.head().headers["if-none-match"], "\"de\", \"en\"");
    origin.reply(not_modified(&variant("\"en\"")));
    let answer = assert_ready_ok!(asked.poll());
    assert_eq!(status(&answer), "fwd=vary-miss; fwd-status=304; ttl=60; stored");
    assert_eq!(text(answer).await.unwrap(), "pears");
    let hit = ask(&mut cache, get_with("/", &[("x-lang", "en-GB")])).await;
    assert_eq!((status(&hit).as_str(), text(hit).await.unwrap().as_str()), ("hit; ttl=60", "pears"));
}

#[tokio::test]
async fn a_head_that_is_forwarded_as_it_is_updates_what_is_stored_or_shows_that_it_changed() {
    for (length, expected) in [("4", "page"), ("5", "new")] {
        let (mut cache, origin, clock) = cache(Policy::new().collapse(Collapse::off()));
        origin.queue([reply(200, &[("cache-control", "max-age=1")], "page")]);
        ask(&mut cache, get("/")).await;
        clock.advance(SECOND);
        let fields = [("cache-control", "max-age=60"), ("content-length", length)];
        origin.queue([reply(200, &fields, ""), ok("new")]);
        let answer = ask(&mut cache, request("HEAD", "/", &[])).await;
        assert_eq!(field(&answer, "content-length"), length);
        clock.advance(MILLI);

        assert_eq!(text(ask(&mut cache, get("/")).await).await.unwrap(), expected, "{length}");
    }
}

#[tokio::test]
async fn a_variant_that_is_not_there_is_not_asked_about() {
    let (mut cache, origin, clock) = cache_on(MemoryStore::with_max_bytes(6_000), Policy::new());
    let too_large = Bytes::from(vec![b'x'; 8_000]);
    origin.queue([reply(200, &variant("\"a\""), too_large)]);
    ask(&mut cache, get_with("/", &[("x-lang", "de")])).await;
    clock.advance(MILLI);

    let mut asked = send(&mut cache, get_with("/", &[("x-lang", "en")]));
    assert_pending!(asked.poll());
    assert!(!origin.head().headers.contains_key("if-none-match"));
    origin.reply(reply(200, &variant("\"a\""), "page"));
    assert_eq!(status(&assert_ready_ok!(asked.poll())), "fwd=vary-miss; fwd-status=200; ttl=60; stored");
    clock.advance(MILLI);

    let mut asked = send(&mut cache, get_with("/", &[("x-lang", "fr")]));
    assert_pending!(asked.poll());
    assert_eq!(origin.head().headers["if-none-match"], "\"a\"");
    origin.reply(not_modified(&variant("\"a\"")));
    assert_eq!(text(assert_ready_ok!(asked.poll())).await.unwrap(), "page", "of the two with this tag one is there");
}

#[tokio::test]
async fn other_variants_are_asked_about_by_strong_tags_alone_and_never_across_credentials() {
    let (strong, weak) = ("\"a\"", "W/\"a\"");
    let (gzip, alice, german) = (("accept-encoding", "gzip"), ("cookie", "user=alice"), ("x-lang", "de"));
    for (vary, tag, first, then, expected) in [
        ("accept-encoding", strong, gzip, vec![], true),
        ("accept-encoding", weak, gzip, vec![], false),
        ("accept-encoding", strong, gzip, vec![alice], false),
        ("x-lang", strong, german, vec![("x-lang", "en")], true),
        ("x-lang", strong, german, vec![("x-lang", "en"), ("authorization", "Basic YQ==")], false),
        ("cookie", strong, alice, vec![("cookie", "user=bob")], false),
        ("cookie", strong, alice, vec![], false),
        ("authorization", strong, gzip, vec![("authorization", "Basic YQ==")], false),
    ] {
        let (mut cache, origin, clock) = cache(Policy::new());
        let fields = [("cache-control", "public, max-age=60"), ("vary", vary), ("etag", tag)];
        origin.queue([reply(200, &fields, "page")]);
        ask(&mut cache, get_with("/", &[first])).await;
        clock.advance(MILLI);

        let mut asked = send(&mut cache, get_with("/", &then));
        assert_pending!(asked.poll());
        let is_conditional = origin.head().headers.contains_key("if-none-match");
        assert_eq!(is_conditional, expected, "{vary} {tag} {then:?}");
    }
}

#[tokio::test]
async fn what_is_stale_is_asked_about_alone_so_that_a_304_needs_no_tag() {
    let (mut cache, origin, clock) = cache(Policy::new());
    origin.queue([reply(200, &variant("\"de\""), "Birnen"), reply(200, &variant("\"en\""), "pears")]);
    ask(&mut cache, get_with("/", &[("x-lang", "de")])).await;
    ask(&mut cache, get_with("/", &[("x-lang", "en")])).await;
    clock.advance(60 * SECOND);

    let mut asked = send(&mut cache, get_with("/", &[("x-lang", "en")]));
    assert_pending!(asked.poll());
    assert_eq!(origin.head().headers["if-none-match"], "\"en\"");
    origin.reply(not_modified(&[]));
    assert_eq!(text(assert_ready_ok!(asked.poll())).await.unwrap(), "pears");
}

#[tokio::test]
async fn a_tag_that_is_confirmed_weakly_answers_those_that_wait_and_updates_nothing() {
    let (mut cache, origin, clock) = cache(Policy::new());
    origin.queue([reply(200, &[("cache-control", "max-age=1"), ("etag", "W/\"a\"")], "page")]);
    ask(&mut cache, get("/")).await;
    clock.advance(SECOND);
    let mut asked: Vec<_> = (0..10).map(|_| send(&mut cache, get("/"))).collect();
    asked.iter_mut().for_each(|asked| assert!(asked.poll().is_pending()));

    origin.reply(not_modified(&[("etag", "\"a\""), ("cache-control", "max-age=60"), ("x-new", "1")]));

    for asked in &mut asked {
        let answer = assert_ready_ok!(asked.poll());
        assert_eq!((field(&answer, "etag"), field(&answer, "x-new")), ("W/\"a\"", ""));
        assert_eq!(text(answer).await.unwrap(), "page");
    }
    assert_eq!(origin.forwards(), 2);
    let mut late = send(&mut cache, get("/"));
    assert_pending!(late.poll());
    assert_eq!(origin.head().headers["if-none-match"], "W/\"a\"");
}

#[tokio::test]
async fn after_a_304_about_something_else_the_successor_asks_without_conditions() {
    let (mut cache, origin, clock) = cache(Policy::new());
    origin.queue([reply(200, TAGGED, "page")]);
    ask(&mut cache, get("/")).await;
    clock.advance(SECOND);
    let mut asked: Vec<_> = (0..2).map(|_| send(&mut cache, get("/"))).collect();
    asked.iter_mut().for_each(|asked| assert!(asked.poll().is_pending()));

    origin.reply(not_modified(&[("etag", "\"other\"")]));

    assert_eq!(assert_ready_ok!(asked[0].poll()).status(), 502);
    assert_pending!(asked[1].poll());
    assert!(!origin.head().headers.contains_key("if-none-match"));
    origin.reply(ok("whole"));
    assert_eq!(text(assert_ready_ok!(asked[1].poll())).await.unwrap(), "whole");
}

#[tokio::test]
async fn what_is_confirmed_for_one_alone_is_asked_for_anew_by_the_others() {
    let (mut cache, origin, clock) = cache(Policy::new());
    let lax = [("cache-control", "max-age=1, stale-if-error=600"), ("etag", "\"a\"")];
    origin.queue([reply(200, &lax, "page")]);
    ask(&mut cache, get("/")).await;
    clock.advance(SECOND);
    let strict = not_modified(&[("etag", "\"a\""), ("cache-control", "no-cache")]);
    origin.queue([strict, reply(503, &[], "sick"), reply(200, &lax, "new")]);

    let answer = ask(&mut cache, get_with("/", &[("authorization", "Basic YQ==")])).await;
    assert_eq!(text(answer).await.unwrap(), "page");
    // What the origin said to one is not written into what the others have, nor is that used any longer.
    assert_eq!(ask(&mut cache, get("/")).await.status(), 503);
    assert_eq!(text(ask(&mut cache, get("/")).await).await.unwrap(), "new");
}

#[tokio::test]
async fn a_variant_too_many_that_is_confirmed_as_another_takes_none_away() {
    let (mut cache, origin, clock) = cache(Policy::new());
    for number in 0..32 {
        origin.queue([reply(200, &variant(&format!("\"{number}\"")), "page")]);
        ask(&mut cache, get_with("/", &[("x-lang", &number.to_string())])).await;
        clock.advance(MILLI);
    }

    let mut asked = send(&mut cache, get_with("/", &[("x-lang", "32")]));
    assert_pending!(asked.poll());
    assert!(origin.head().headers.contains_key("if-none-match"));
    origin.reply(not_modified(&variant("\"5\"")));
    assert_eq!(text(assert_ready_ok!(asked.poll())).await.unwrap(), "page");

    for number in 0..32 {
        let hit = ask(&mut cache, get_with("/", &[("x-lang", &number.to_string())])).await;
        assert!(status(&hit).starts_with("hit"), "{number}");
    }
}

#[tokio::test]
async fn an_origin_that_adds_fields_with_each_304_does_not_make_a_response_grow_for_ever() {
    let (mut cache, origin, clock) = cache(Policy::new());
    origin.queue([reply(200, TAGGED, "page")]);
    ask(&mut cache, get("/")).await;
    for round in 0..10 {
        clock.advance(SECOND);
        let names: Vec<_> = (0..100).map(|number| format!("x-{round}-{number}")).collect();
        let fields: Vec<_> = names.iter().map(|name| (name.as_str(), "1")).chain([("etag", "\"a\"")]).collect();
        let mut asked = send(&mut cache, get("/"));
        assert_pending!(asked.poll());
        let is_conditional = origin.head().headers.contains_key("if-none-match");
        origin.reply(if is_conditional { not_modified(&fields) } else { reply(200, TAGGED, "page") });

        let answer = assert_ready_ok!(asked.poll());
        assert!(answer.headers().len() < 300, "{} fields", answer.headers().len());
        assert_eq!(text(answer).await.unwrap(), "page", "{round}");
    }
}

#[tokio::test]
async fn lines_and_trailers_are_the_same_however_often_they_are_confirmed() {
    let (mut cache, origin, clock) = cache(Policy::new());
    let (body, feed) = TestBody::streamed();
    feed.data("page");
    feed.trailers("x-sum", "1");
    feed.end();
    let fields = [("cache-control", "max-age=1"), ("etag", "\"a\""), ("link", "<a>"), ("link", "<b>"), ("age", "0")];
    origin.queue([reply(200, &fields, body)]);
    ask(&mut cache, get("/")).await;
    let news = [("etag", "\"a\""), ("x-two", "1"), ("x-two", "2"), ("content-length", "0"), ("cache-status", "inner")];
    for round in 0..5 {
        clock.advance(2 * SECOND);
        let mut asked = send(&mut cache, get("/"));
        assert_pending!(asked.poll());
        assert_eq!(origin.head().headers["if-none-match"], "\"a\"", "{round}");
        origin.reply(not_modified(&news));
        drop(assert_ready_ok!(asked.poll()));

        let hit = ask(&mut cache, get("/")).await;
        for (name, lines) in [("link", 2), ("x-two", 2), ("age", 1), ("date", 1), ("cache-status", 2)] {
            assert_eq!(hit.headers().get_all(name).iter().count(), lines, "{name} in round {round}");
        }
        assert_ne!(field(&hit, "content-length"), "0", "{round}");
        let whole = hit.into_body().collect().await.unwrap();
        assert_eq!(whole.trailers().unwrap()["x-sum"], "1", "{round}");
        assert_eq!(whole.to_bytes(), "page", "{round}");
    }
}

#[tokio::test]
async fn a_head_of_which_nothing_may_be_kept_updates_nothing() {
    let cases = [(Some(("cache-control", "no-store")), None), (None, Some(Scope::Private))];
    for (wish, scope) in cases {
        let (mut cache, origin, clock) = cache(Policy::new().collapse(Collapse::off()).honour_request_directives());
        origin.queue([reply(200, &[("cache-control", "max-age=1")], "page")]);
        ask(&mut cache, get("/")).await;
        clock.advance(SECOND);
        let mut head = send(&mut cache, request("HEAD", "/", wish.as_slice()));
        assert_pending!(head.poll());
        let mut news = reply(200, &[("cache-control", "max-age=60"), ("content-length", "4")], "");
        if let Some(scope) = scope {
            news.extensions_mut().insert(scope);
        }
        assert_eq!(origin.reply(news).method, "HEAD");
        drop(assert_ready_ok!(head.poll()));
        clock.advance(MILLI);

        let mut asked = send(&mut cache, get("/"));
        assert_pending!(asked.poll());
    }
}

#[tokio::test]
async fn a_head_with_a_cookie_says_nothing_of_the_page_of_strangers() {
    let policy = || Policy::new().default_freshness(60 * SECOND).collapse(Collapse::off());
    let cookie = [("cookie", "session=1")];
    for fields in [&[("content-length", "5")][..], &[("cache-control", "max-age=60")], &[]] {
        let (mut cache, origin, clock) = cache(policy());
        origin.queue([ok("page of strangers"), reply(200, fields, "")]);
        ask(&mut cache, get("/")).await;
        clock.advance(MILLI);
        ask(&mut cache, request("HEAD", "/", &cookie)).await;
        assert_eq!(origin.forwards(), 2);
        clock.advance(MILLI);

        let hit = ask(&mut cache, get("/")).await;
        assert_eq!(text(hit).await.unwrap(), "page of strangers", "{fields:?}");
        origin.queue([ok("mine")]);
        let answer = ask(&mut cache, get_with("/", &cookie)).await;
        assert_eq!(text(answer).await.unwrap(), "mine", "{fields:?}");
    }
}
