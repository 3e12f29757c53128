//! What is stale is validated, and what the origin confirms is fresh again (RFC 9111 §4.3).

use microcache::{Collapse, Policy};
use tokio_test::{assert_pending, assert_ready_ok};

use crate::common::{MILLI, Reply, SECOND, ask, cache, field, get, get_with, ok, reply, request, send, status, text};

const TAGGED: &[(&str, &str)] = &[("cache-control", "max-age=1"), ("etag", "\"a\""), ("x-kept", "old")];

fn not_modified(fields: &[(&str, &str)]) -> Reply {
    reply(304, fields, "")
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
    let variant = |tag| [("cache-control", "max-age=60"), ("vary", "x-lang"), ("etag", tag)];
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
