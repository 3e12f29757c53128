//! Rule 3: one successor on a transient failure, with a budget; never N retries.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;
use microcache::{Collapse, Policy};
use tokio_test::assert_ready_ok;

use crate::common::*;

#[tokio::test]
async fn a_5xx_goes_to_the_leader_and_one_successor_tries_again() {
    let (mut cache, origin, _) = cache(Policy::new());
    let mut asked: Vec<_> = (0..10).map(|_| send(&mut cache, get("/"))).collect();
    asked.iter_mut().for_each(|asked| assert!(asked.poll().is_pending()));
    origin.reply(reply(503, &[], "sick"));
    assert_eq!(assert_ready_ok!(asked[0].poll()).status(), 503);

    let mut rest: Vec<_> = asked.drain(1..).collect();
    rest.iter_mut().for_each(|asked| assert!(asked.poll().is_pending()));
    assert_eq!(origin.waiting(), 1, "one successor");
    origin.reply(ok("well again"));
    for asked in &mut rest {
        assert_eq!(text(assert_ready_ok!(asked.poll())).await.unwrap(), "well again");
    }
    assert_eq!(origin.forwards(), 2);
}

#[tokio::test]
async fn a_thousand_requests_to_an_origin_that_always_fails_are_three_forwards_and_share_the_last_5xx() {
    let (mut cache, origin, _) = cache(Policy::new());
    let mut asked: Vec<_> = (0..1_000).map(|_| send(&mut cache, get("/"))).collect();
    asked.iter_mut().for_each(|asked| assert!(asked.poll().is_pending()));
    let mut bodies = Vec::new();
    for body in ["first", "second", "third"] {
        origin.reply(reply(500, &[], body));
        for asked in &mut asked {
            if asked.is_woken()
                && let std::task::Poll::Ready(answer) = asked.poll()
            {
                let answer = answer.unwrap();
                assert_eq!(answer.status(), 500);
                bodies.push(text(answer).await.unwrap());
            }
        }
    }
    assert_eq!(origin.forwards(), 3);
    let count = |body| bodies.iter().filter(|it| *it == body).count();
    assert_eq!((count("first"), count("second"), count("third")), (1, 1, 998));
}

#[tokio::test]
async fn an_origin_that_fails_at_once_is_not_asked_again_and_again() {
    let (mut cache, origin, _) = cache(Policy::new());
    let mut asked: Vec<_> = (0..100).map(|_| send(&mut cache, get("/"))).collect();
    asked.iter_mut().for_each(|asked| assert!(asked.poll().is_pending()));
    // Every further forward fails within its first poll.
    origin.queue((0..100).map(|_| reply(500, &[], "sick")));
    origin.reply(reply(500, &[], "sick"));

    for asked in &mut asked {
        assert_eq!(assert_ready_ok!(asked.poll()).status(), 500);
    }
    assert_eq!(origin.forwards(), 3);
}

#[tokio::test]
async fn a_5xx_that_is_for_one_alone_is_not_shared_even_then() {
    for fields in [[("set-cookie", "session=1")], [("cache-control", "private")], [("cache-control", "no-store")]] {
        let (mut cache, origin, _) = cache(Policy::new().collapse(Collapse::new().attempts(1)));
        let mut leader = send(&mut cache, get("/"));
        let mut follower = send(&mut cache, get("/"));
        assert!(leader.poll().is_pending());
        assert!(follower.poll().is_pending());
        origin.reply(reply(500, &fields, "leader's"));
        assert_eq!(assert_ready_ok!(leader.poll()).status(), 500);

        let answer = assert_ready_ok!(follower.poll());

        assert_eq!(answer.status(), 503);
        assert_eq!(field(&answer, "retry-after"), "1");
        assert_eq!(status(&answer), "fwd=uri-miss; collapsed; detail=origin-failed");
        assert_eq!(text(answer).await.unwrap(), "");
    }
}

#[tokio::test]
async fn an_error_is_the_leaders_and_one_successor_tries_again() {
    let (mut cache, origin, _) = cache(Policy::new());
    let mut leader = send(&mut cache, get("/"));
    let mut followers = [send(&mut cache, get("/")), send(&mut cache, get("/"))];
    assert!(leader.poll().is_pending());
    followers.iter_mut().for_each(|asked| assert!(asked.poll().is_pending()));
    origin.does(Does::Fail);
    let std::task::Poll::Ready(Err(OriginFailed)) = leader.poll() else { panic!("not the origin's error") };

    followers.iter_mut().for_each(|asked| assert!(asked.poll().is_pending()));
    assert_eq!(origin.waiting(), 1);
    origin.reply(ok("page"));
    for asked in &mut followers {
        assert_eq!(text(assert_ready_ok!(asked.poll())).await.unwrap(), "page");
    }
}

#[tokio::test]
async fn a_panic_is_the_leaders_and_one_successor_tries_again() {
    let (cache, origin, _) = cache(Policy::new());
    let mut leaders = cache.clone();
    let mut leader =
        tokio_test::task::spawn(AssertUnwindSafe(async move { ask(&mut leaders, get("/")).await }).catch_unwind());
    assert!(leader.poll().is_pending());
    let mut followers: Vec<_> = (0..2).map(|_| send(&mut cache.clone(), get("/"))).collect();
    followers.iter_mut().for_each(|asked| assert!(asked.poll().is_pending()));
    origin.does(Does::Panic);
    let std::task::Poll::Ready(Err(_)) = leader.poll() else { panic!("the panic was swallowed") };

    followers.iter_mut().for_each(|asked| assert!(asked.poll().is_pending()));
    assert_eq!(origin.waiting(), 1);
    origin.reply(ok("page"));
    for asked in &mut followers {
        assert_eq!(text(assert_ready_ok!(asked.poll())).await.unwrap(), "page");
    }
}

#[tokio::test]
async fn a_failure_leaves_no_marker_and_is_not_stored() {
    let (mut cache, origin, _) = cache(Policy::new());
    origin.queue([reply(500, &[], "sick")]);
    ask(&mut cache, get("/")).await;

    let mut asked: Vec<_> = (0..3).map(|_| send(&mut cache, get("/"))).collect();
    asked.iter_mut().for_each(|asked| assert!(asked.poll().is_pending()));

    assert_eq!(origin.waiting(), 1);
}

#[tokio::test]
async fn a_large_5xx_is_never_n_retries() {
    let (mut cache, origin, _) = cache(Policy::new().max_body_bytes(3));
    let mut asked: Vec<_> = (0..100).map(|_| send(&mut cache, get("/"))).collect();
    asked.iter_mut().for_each(|it| assert!(it.poll().is_pending()));
    origin.queue((0..200).map(|_| reply(500, &[], "sick")));
    origin.reply(reply(500, &[], "sick"));
    for it in &mut asked {
        drop(it.poll());
    }
    for it in &mut asked {
        if it.is_woken() {
            drop(it.poll());
        }
    }
    assert_eq!(origin.forwards(), 3);
}
