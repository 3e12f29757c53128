//! Stale responses: served where somebody who may allows it, and never else (RFC 9111 §4.2.4, RFC 5861).

use std::time::Duration;

use microcache::{Collapse, ManualClock, Overflow, Policy};
use tokio_test::{assert_pending, assert_ready, assert_ready_ok};

use crate::common::*;

fn wide() -> Policy {
    Policy::new().stale_while_revalidate(10 * SECOND)
}

fn swr() -> Policy {
    Policy::new().stale_while_revalidate(SECOND)
}

#[tokio::test]
async fn within_the_window_everybody_is_served_stale_while_one_refresh_runs() {
    let (mut cache, origin, clock) = cache(swr());
    origin.queue([ok("old")]);
    ask(&mut cache, get("/")).await;
    clock.advance(SECOND + 500 * MILLI);

    for _ in 0..10 {
        let answer = assert_ready_ok!(send(&mut cache, get("/")).poll());
        assert_eq!(status(&answer), "hit; ttl=-1");
        assert_eq!(text(answer).await.unwrap(), "old");
        settle().await;
    }
    assert_eq!((origin.forwards(), origin.waiting()), (2, 1));

    origin.reply(ok("new"));
    settle().await;
    let answer = assert_ready_ok!(send(&mut cache, get("/")).poll());
    assert_eq!((status(&answer).as_str(), text(answer).await.unwrap().as_str()), ("hit; ttl=1", "new"));
    assert_eq!(origin.forwards(), 2);
}

#[tokio::test]
async fn past_the_window_the_request_waits() {
    let (mut cache, origin, clock) = cache(swr());
    origin.queue([ok("old")]);
    ask(&mut cache, get("/")).await;
    clock.advance(2 * SECOND);

    let mut asked = send(&mut cache, get("/"));
    assert_pending!(asked.poll());
    origin.reply(ok("new"));
    assert_eq!(text(assert_ready_ok!(asked.poll())).await.unwrap(), "new");
}

#[tokio::test]
async fn who_can_not_be_served_stale_joins_the_refresh() {
    let (mut cache, origin, clock) = cache(swr());
    origin.queue([ok("old")]);
    ask(&mut cache, get("/")).await;
    clock.advance(SECOND + 900 * MILLI);
    assert_eq!(text(ask(&mut cache, get("/")).await).await.unwrap(), "old");
    settle().await;
    clock.advance(100 * MILLI);

    let mut late = send(&mut cache, get("/"));
    assert_pending!(late.poll());
    assert_eq!(origin.forwards(), 2);
    origin.reply(ok("new"));
    settle().await;
    assert_eq!(text(assert_ready_ok!(late.poll())).await.unwrap(), "new");
}

#[tokio::test(start_paused = true)]
async fn a_refresh_that_fails_leaves_what_is_there_and_is_tried_again_a_second_later() {
    let (mut cache, origin, clock) = cache(wide());
    origin.queue([ok("old")]);
    ask(&mut cache, get("/")).await;
    clock.advance(SECOND);
    for does in [Does::Fail, Does::Panic, Does::Reply(reply(500, &[], "sick"))] {
        origin.queue_does([does]);
        for _ in 0..10 {
            assert_eq!(text(ask(&mut cache, get("/")).await).await.unwrap(), "old");
            settle().await;
        }
        tokio::time::advance(SECOND).await;
    }
    assert_eq!(origin.forwards(), 4);
}

#[tokio::test]
async fn the_refresh_asks_only_for_what_has_changed() {
    let (mut cache, origin, clock) = cache(Policy::new());
    origin.queue([reply(200, &[("cache-control", "max-age=1, stale-while-revalidate=5"), ("etag", "\"a\"")], "page")]);
    ask(&mut cache, get("/")).await;
    clock.advance(2 * SECOND);
    ask(&mut cache, get("/")).await;
    settle().await;

    assert_eq!(origin.head().headers["if-none-match"], "\"a\"");
    origin.reply(reply(304, &[("etag", "\"a\""), ("cache-control", "max-age=9")], ""));
    settle().await;
    assert_eq!(status(&ask(&mut cache, get("/")).await), "hit; ttl=9");
}

/// What `Cache-Control` says, and whether the response is served stale within a window of the policy's, and of the
/// policy that overrides the origin.
const WINDOWS: &[(&str, bool, bool)] = &[
    ("max-age=1", true, true),
    ("max-age=1, stale-while-revalidate=0, stale-if-error=0", false, false),
    ("max-age=1, must-revalidate", false, true),
    ("max-age=1, proxy-revalidate", false, true),
    ("s-maxage=1", false, true),
    ("max-age=1, no-cache", false, true),
    ("max-age=1, must-revalidate, stale-while-revalidate=60, stale-if-error=60", false, true),
];

#[tokio::test]
async fn the_origin_can_forbid_stale_service_and_only_the_operator_can_overrule_it() {
    for &(said, by_policy, by_override) in WINDOWS {
        for (policy, expected) in [(wide(), by_policy), (wide().stale_despite_origin(), by_override)] {
            let (mut cache, origin, clock) = cache(policy);
            origin.queue([reply(200, &[("cache-control", said), ("etag", "\"a\"")], "old")]);
            ask(&mut cache, get("/")).await;
            clock.advance(SECOND + MILLI);

            let mut asked = send(&mut cache, get("/"));
            let is_served = asked.poll().is_ready();
            assert_eq!(is_served, expected, "{said}");
        }
    }
}

#[tokio::test]
async fn when_the_origin_fails_what_is_stale_is_served_if_that_is_allowed() {
    let sie = || Policy::new().stale_if_error(10 * SECOND);
    for code in [500, 502, 503, 504] {
        let (mut cache, origin, clock) = cache(sie());
        origin.queue([ok("old"), reply(code, &[], "sick")]);
        ask(&mut cache, get("/")).await;
        clock.advance(2 * SECOND);

        let answer = ask(&mut cache, get("/")).await;
        assert_eq!(status(&answer), format!("fwd=stale; fwd-status={code}; ttl=-1; detail=stale-if-error"));
        assert_eq!((answer.status().as_u16(), text(answer).await.unwrap().as_str()), (200, "old"));
    }
    for (does, after) in [(Does::Fail, Duration::ZERO), (Does::Fail, 9 * SECOND)] {
        let (mut cache, origin, clock) = cache(sie());
        origin.queue([ok("old")]);
        origin.queue_does([does]);
        ask(&mut cache, get("/")).await;
        clock.advance(SECOND + after);
        assert_eq!(text(ask(&mut cache, get("/")).await).await.unwrap(), "old", "{after:?}");
    }
}

#[tokio::test]
async fn what_is_too_stale_or_another_failure_is_the_origins_own() {
    for (code, after) in [(500, 11), (501, 2), (505, 2), (404, 2)] {
        let (mut cache, origin, clock) = cache(Policy::new().stale_if_error(10 * SECOND));
        origin.queue([ok("old"), reply(code, &[], "sick")]);
        ask(&mut cache, get("/")).await;
        clock.advance(after * SECOND);
        assert_eq!(ask(&mut cache, get("/")).await.status().as_u16(), code, "after {after} s");
    }
}

#[tokio::test]
async fn all_that_wait_are_served_stale_after_one_failure() {
    let (mut cache, origin, clock) = cache(Policy::new().stale_if_error(10 * SECOND));
    origin.queue([ok("old")]);
    ask(&mut cache, get("/")).await;
    clock.advance(SECOND);
    let mut asked: Vec<_> = (0..10).map(|_| send(&mut cache, get("/"))).collect();
    asked.iter_mut().for_each(|asked| assert!(asked.poll().is_pending()));

    origin.does(Does::Fail);

    for asked in &mut asked {
        assert_eq!(text(assert_ready_ok!(asked.poll())).await.unwrap(), "old");
    }
    assert_eq!(origin.forwards(), 2);
}

#[tokio::test(start_paused = true)]
async fn who_has_waited_long_enough_is_served_stale() {
    let collapse = Collapse::new().wait_at_most(SECOND).overflow(Overflow::Unavailable);
    let (mut cache, origin, clock) = cache(Policy::new().stale_if_error(10 * SECOND).collapse(collapse));
    origin.queue([ok("old")]);
    ask(&mut cache, get("/")).await;
    clock.advance(SECOND);
    let mut leader = send(&mut cache, get("/"));
    assert_pending!(leader.poll());

    let answer = ask(&mut cache, get("/")).await;

    assert_eq!(text(answer).await.unwrap(), "old");
    assert_eq!(origin.forwards(), 2);
}

#[tokio::test]
async fn nothing_is_served_stale_of_itself() {
    let (mut cache, origin, clock) = cache(Policy::new());
    origin.queue([reply(200, &[("cache-control", "max-age=1")], "old"), reply(503, &[], "sick")]);
    ask(&mut cache, get("/")).await;
    clock.advance(SECOND);
    assert_eq!(ask(&mut cache, get("/")).await.status(), 503);
}

#[tokio::test]
async fn a_strangers_stale_page_is_not_for_one_with_a_cookie() {
    let (mut cache, origin, clock) = cache(swr().stale_if_error(10 * SECOND));
    origin.queue([ok("old"), reply(503, &[], "sick")]);
    ask(&mut cache, get("/")).await;
    clock.advance(SECOND);

    let mut asked = send(&mut cache, get_with("/", &[("cookie", "session=1")]));
    let answer = assert_ready!(asked.poll()).unwrap();
    assert_eq!(answer.status(), 503);
}

#[tokio::test(start_paused = true)]
async fn a_refresh_that_brings_nothing_to_keep_is_not_tried_for_each_request() {
    let authorized = [("authorization", "Basic YQ==")];
    for (fields, said) in [(&[][..], "private"), (&authorized[..], "max-age=1")] {
        let (mut cache, origin, clock) = cache(wide());
        origin.queue([reply(200, &[("cache-control", "max-age=1")], "old")]);
        ask(&mut cache, get("/")).await;
        clock.advance(2 * SECOND);
        for forwards in 2..5 {
            origin.queue([reply(200, &[("cache-control", said)], "not kept")]);
            for _ in 0..10 {
                let answer = ask(&mut cache, get_with("/", fields)).await;
                assert_eq!(text(answer).await.unwrap(), "old", "{said}");
                settle().await;
            }
            assert_eq!(origin.forwards(), forwards, "{said}");
            tokio::time::advance(SECOND).await;
        }
    }
}

/// Something changes what is at `/`, and the clock moves on.
fn post(cache: &mut TestCache, origin: &Origin, clock: &ManualClock) {
    clock.advance(MILLI);
    let mut post = send(cache, request("POST", "/", &[]));
    assert_pending!(post.poll());
    origin.reply_last(reply(200, &[], "done"));
    drop(assert_ready_ok!(post.poll()));
    clock.advance(MILLI);
}

#[tokio::test]
async fn what_was_invalidated_meanwhile_is_not_served_when_the_origin_fails() {
    for code in [501, 503] {
        let (mut cache, origin, clock) = cache(Policy::new().stale_if_error(60 * SECOND));
        origin.queue([ok("old")]);
        ask(&mut cache, get("/")).await;
        clock.advance(SECOND);
        let mut early = send(&mut cache, get("/"));
        assert_pending!(early.poll());
        let mut successor = send(&mut cache, get("/"));
        assert_pending!(successor.poll());
        post(&mut cache, &origin, &clock);

        origin.reply(reply(code, &[], "sick"));
        assert_eq!(assert_ready_ok!(early.poll()).status(), code);
        assert_pending!(successor.poll());
        let mut late = send(&mut cache, get("/"));
        assert_pending!(late.poll());
        origin.reply(reply(503, &[], "sick"));
        assert_eq!(assert_ready_ok!(successor.poll()).status(), 503, "after {code}");
        assert_pending!(late.poll());
        origin.reply(ok("new"));
        assert_eq!(text(assert_ready_ok!(late.poll())).await.unwrap(), "new", "after {code}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_has_waited_long_enough_is_not_served_what_was_invalidated_meanwhile() {
    let collapse = Collapse::new().wait_at_most(SECOND).overflow(Overflow::Unavailable);
    let (mut cache, origin, clock) = cache(Policy::new().stale_if_error(10 * SECOND).collapse(collapse));
    origin.queue([ok("old")]);
    ask(&mut cache, get("/")).await;
    clock.advance(SECOND);
    let mut leader = send(&mut cache, get("/"));
    assert_pending!(leader.poll());
    let mut follower = send(&mut cache, get("/"));
    assert_pending!(follower.poll());
    post(&mut cache, &origin, &clock);

    tokio::time::advance(2 * SECOND).await;

    assert_eq!(assert_ready_ok!(follower.poll()).status(), 503);
}

#[tokio::test]
async fn a_request_too_many_for_a_flight_is_not_served_stale_for_that() {
    let fields = [("cache-control", "max-age=1, stale-if-error=60")];
    let (mut cache, origin, clock) = cache(Policy::new().collapse(Collapse::new().max_followers(0)));
    origin.queue([reply(200, &fields, "old")]);
    ask(&mut cache, get("/")).await;
    clock.advance(SECOND);
    let mut asked: Vec<_> = (0..2).map(|_| send(&mut cache, get("/"))).collect();
    asked.iter_mut().for_each(|asked| assert!(asked.poll().is_pending()));
    assert_eq!(origin.waiting(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_successor_that_would_take_what_is_stale_does_not_take_it_for_those_that_wait_with_it() {
    let collapse = Collapse::new().wait_at_most(60 * SECOND);
    let (mut cache, origin, clock) = cache(Policy::new().honour_request_directives().collapse(collapse));
    let mut first = send(&mut cache, get("/"));
    assert_pending!(first.poll());
    let mut lax = send(&mut cache, get_with("/", &[("cache-control", "max-stale")]));
    assert_pending!(lax.poll());
    let mut strict = send(&mut cache, get("/"));
    assert_pending!(strict.poll());
    // Past the age of the lock somebody else leads, and what that brings is stale before the first one fails.
    tokio::time::advance(6 * SECOND).await;
    let mut second = send(&mut cache, get("/"));
    assert_pending!(second.poll());
    origin.reply_last(reply(200, &[("cache-control", "max-age=1"), ("etag", "\"a\"")], "old"));
    drop(assert_ready_ok!(second.poll()));
    clock.advance(100 * SECOND);
    origin.reply(reply(503, &[], "sick"));
    drop(assert_ready_ok!(first.poll()));

    for asked in [&mut lax, &mut strict] {
        assert_pending!(asked.poll());
    }
    assert_eq!(origin.waiting(), 1);
    origin.reply(ok("new"));
    for mut asked in [lax, strict] {
        assert_eq!(text(assert_ready_ok!(asked.poll())).await.unwrap(), "new");
    }
}
