//! Rules 5 and 6: lock age, wait limit, bounded followers.

use std::time::Duration;

use microcache::{Collapse, Overflow, Policy};
use tokio::time::advance;
use tokio_test::assert_ready_ok;

use crate::common::*;

fn policy(collapse: Collapse) -> Policy {
    Policy::new().collapse(collapse.wait_at_most(Duration::from_secs(60)))
}

#[tokio::test(start_paused = true)]
async fn after_the_lock_age_the_next_arrival_leads_and_what_the_first_brings_late_is_fenced() {
    let (mut cache, origin, clock) = cache(policy(Collapse::new()).default_freshness(60 * SECOND));
    let mut first = send(&mut cache, get("/"));
    let mut waiting = send(&mut cache, get("/"));
    assert!(first.poll().is_pending());
    assert!(waiting.poll().is_pending());
    advance(Duration::from_millis(4_999)).await;
    clock.advance(Duration::from_millis(4_999));
    let mut follows = send(&mut cache, get("/"));
    assert!(follows.poll().is_pending());
    assert_eq!(origin.waiting(), 1);
    advance(MILLI).await;
    clock.advance(MILLI);

    let mut second = send(&mut cache, get("/"));
    assert!(second.poll().is_pending());
    assert_eq!(origin.waiting(), 2, "a second leader");
    let first_request = origin.head();
    assert_eq!(first_request.uri, "/");

    // The second answers first.
    origin.reply_last(ok("second"));
    assert_eq!(text(assert_ready_ok!(second.poll())).await.unwrap(), "second");
    origin.reply(ok("first, late"));
    let answer = assert_ready_ok!(first.poll());
    assert_eq!(status(&answer), "fwd=uri-miss; fwd-status=200", "it was not stored");
    assert_eq!(text(answer).await.unwrap(), "first, late");
    assert_eq!(text(assert_ready_ok!(waiting.poll())).await.unwrap(), "first, late", "it waited for that one");

    let hit = ask(&mut cache, get("/")).await;
    assert_eq!(text(hit).await.unwrap(), "second");
}

#[tokio::test(start_paused = true)]
async fn past_the_wait_limit_a_follower_is_forwarded() {
    let (mut cache, origin, _) = cache(Policy::new());
    let mut leader = send(&mut cache, get("/"));
    let mut follower = send(&mut cache, get("/"));
    assert!(leader.poll().is_pending());
    assert!(follower.poll().is_pending());

    advance(Duration::from_secs(5) + MILLI).await;
    assert!(follower.is_woken());
    assert!(follower.poll().is_pending());

    assert_eq!(origin.waiting(), 2);
    origin.reply_last(ok("own"));
    let answer = assert_ready_ok!(follower.poll());
    assert!(status(&answer).contains("collapsed=?0"));
    assert_eq!(text(answer).await.unwrap(), "own");
}

#[tokio::test(start_paused = true)]
async fn past_the_wait_limit_a_follower_is_told_to_come_back_if_the_policy_says_so() {
    let (mut cache, origin, _) = cache(Policy::new().collapse(Collapse::new().overflow(Overflow::Unavailable)));
    let mut leader = send(&mut cache, get("/"));
    let mut follower = send(&mut cache, get("/"));
    assert!(leader.poll().is_pending());
    assert!(follower.poll().is_pending());

    advance(Duration::from_secs(5) + MILLI).await;
    let answer = assert_ready_ok!(follower.poll());

    assert_eq!(answer.status(), 503);
    assert_eq!(field(&answer, "retry-after"), "1");
    assert_eq!(status(&answer), "fwd=uri-miss; collapsed=?0; detail=overflow");
    assert_eq!(origin.forwards(), 1);
}

#[tokio::test(start_paused = true)]
async fn past_the_wait_limit_the_store_is_asked_once_more() {
    let (mut cache, origin, _) = cache(Policy::new().collapse(Collapse::new().lock_age(SECOND)));
    let mut first = send(&mut cache, get("/"));
    let mut follower = send(&mut cache, get("/"));
    assert!(first.poll().is_pending());
    assert!(follower.poll().is_pending());
    advance(SECOND).await;
    let mut second = send(&mut cache, get("/"));
    assert!(second.poll().is_pending());
    origin.reply_last(ok("second"));
    assert_ready_ok!(second.poll());

    advance(Duration::from_secs(4) + MILLI).await;
    let answer = assert_ready_ok!(follower.poll());

    assert_eq!(status(&answer), "hit; ttl=1");
    assert_eq!(text(answer).await.unwrap(), "second");
}

#[tokio::test(start_paused = true)]
async fn the_wait_limit_is_one_for_all_waits_of_a_request() {
    let (mut cache, origin, _) = cache(Policy::new());
    let mut asked: Vec<_> = (0..3).map(|_| send(&mut cache, get("/"))).collect();
    asked.iter_mut().for_each(|asked| assert!(asked.poll().is_pending()));
    advance(Duration::from_secs(3)).await;
    origin.reply(reply(500, &[], "sick"));
    asked.iter_mut().for_each(|asked| drop(asked.poll()));
    assert_eq!(origin.waiting(), 1, "a successor");

    advance(Duration::from_secs(2) + MILLI).await;
    assert!(asked[2].is_woken());
    assert!(asked[2].poll().is_pending());

    assert_eq!(origin.waiting(), 2, "three seconds and two are five");
}

#[tokio::test]
async fn past_the_most_followers_a_request_is_forwarded_or_told_to_come_back() {
    for overflow in [Overflow::Forward, Overflow::Unavailable] {
        let (mut cache, origin, _) = cache(policy(Collapse::new().max_followers(100).overflow(overflow)));
        let mut asked: Vec<_> = (0..1_000).map(|_| send(&mut cache, get("/"))).collect();
        let refused = asked.iter_mut().filter_map(|asked| match asked.poll() {
            std::task::Poll::Ready(answer) => Some(answer.unwrap()),
            std::task::Poll::Pending => None,
        });
        let refused: Vec<_> = refused.collect();
        match overflow {
            Overflow::Unavailable => {
                assert_eq!((origin.waiting(), refused.len()), (1, 899));
                assert!(refused.iter().all(|answer| answer.status() == 503 && field(answer, "retry-after") == "1"));
            }
            _ => assert_eq!((origin.waiting(), refused.len()), (900, 0)),
        }
    }
}

#[tokio::test]
async fn without_collapsing_every_miss_is_a_forward() {
    let (mut cache, origin, _) = cache(Policy::new().collapse(Collapse::off()));
    let mut asked: Vec<_> = (0..10).map(|_| send(&mut cache, get("/"))).collect();
    asked.iter_mut().for_each(|asked| assert!(asked.poll().is_pending()));

    assert_eq!(origin.waiting(), 10);
}

#[tokio::test]
async fn a_wait_without_limit_is_no_panic() {
    let (mut cache, origin, _) = cache(Policy::new().collapse(Collapse::new().wait_at_most(Duration::MAX)));
    origin.queue([ok("page")]);
    assert_eq!(text(ask(&mut cache, get("/")).await).await.unwrap(), "page");
}

#[tokio::test]
async fn a_marker_for_ever_is_a_marker() {
    let (mut cache, origin, _) = cache(Policy::new().collapse(Collapse::new().marker_lifetime(Duration::MAX)));
    origin.queue([reply(200, &[("cache-control", "private")], "mine")]);
    ask(&mut cache, get("/")).await;
    let mut asked: Vec<_> = (0..3).map(|_| send(&mut cache, get("/"))).collect();
    asked.iter_mut().for_each(|asked| assert!(asked.poll().is_pending()));
    assert_eq!(origin.waiting(), 3);
}
