//! Leader and followers read one growing body, each at its own pace.

use http_body::Body;
use http_body_util::BodyExt;
use microcache::{Collapse, CollapseLayer, MemoryStore, Policy};
use tokio::time::advance;
use tokio_test::{assert_ready, assert_ready_ok, task};
use tower::Layer;

use crate::common::*;

#[tokio::test]
async fn with_a_known_length_followers_stream_along() {
    let (mut cache, origin, _) = cache(Policy::new());
    let mut leader = send(&mut cache, get("/"));
    let mut follower = send(&mut cache, get("/"));
    assert!(leader.poll().is_pending());
    assert!(follower.poll().is_pending());
    let (body, feed) = TestBody::declared(8);
    origin.reply(reply(200, &[], body));
    let slow = assert_ready_ok!(leader.poll());
    let fast = assert_ready_ok!(follower.poll());
    assert_eq!(status(&fast), "fwd=uri-miss; collapsed");
    assert_eq!(fast.body().size_hint().exact(), Some(8));

    feed.data("page");
    let mut fast = fast.into_body();
    assert_eq!(assert_ready!(task::spawn(fast.frame()).poll()).unwrap().unwrap().into_data().unwrap(), "page");
    let mut late = send(&mut cache, get("/"));
    let late = assert_ready_ok!(late.poll());
    feed.data("page");
    feed.end();

    assert_eq!(fast.collect().await.unwrap().to_bytes(), "page", "the leader has not read a byte");
    assert_eq!(text(ask(&mut cache, get("/")).await).await.unwrap(), "pagepage", "stored");
    assert_eq!(text(late).await.unwrap(), "pagepage", "who came in the middle has all of it");
    assert_eq!(text(slow).await.unwrap(), "pagepage");
    assert_eq!(origin.forwards(), 1);
}

#[tokio::test(start_paused = true)]
async fn who_comes_when_it_is_no_longer_fresh_does_not_stream_along() {
    let (mut cache, origin, clock) = cache(Policy::new());
    let (body, feed) = TestBody::declared(8);
    origin.queue([reply(200, &[], body)]);
    let first = ask(&mut cache, get("/")).await;
    advance(SECOND).await;
    clock.advance(SECOND);

    let mut late = send(&mut cache, get("/"));
    assert!(late.poll().is_pending());
    assert_eq!(origin.waiting(), 1, "a second flight");
    origin.reply(ok("new"));
    assert_eq!(text(assert_ready_ok!(late.poll())).await.unwrap(), "new");

    feed.data("old page");
    feed.end();
    assert_eq!(text(first).await.unwrap(), "old page");
    assert_eq!(text(ask(&mut cache, get("/")).await).await.unwrap(), "new", "the old one was fenced");
}

#[tokio::test]
async fn with_an_unknown_length_followers_wait_for_the_end_whatever_the_leader_reads() {
    let (mut cache, origin, _) = cache(Policy::new());
    let mut leader = send(&mut cache, get("/"));
    let mut follower = send(&mut cache, get("/"));
    assert!(leader.poll().is_pending());
    assert!(follower.poll().is_pending());
    let (body, feed) = TestBody::streamed();
    origin.reply(reply(200, &[], body));
    let slow = assert_ready_ok!(leader.poll());
    assert!(follower.poll().is_pending());
    feed.data("page");
    assert!(follower.poll().is_pending());
    feed.end();

    assert!(follower.is_woken());
    assert_eq!(text(assert_ready_ok!(follower.poll())).await.unwrap(), "page");
    assert_eq!(text(slow).await.unwrap(), "page");
}

#[tokio::test]
async fn past_the_limit_followers_forward_on_their_own_and_the_leader_misses_nothing() {
    let (mut cache, origin, _) = cache(Policy::new().max_body_bytes(6));
    let mut leader = send(&mut cache, get("/"));
    let mut followers: Vec<_> = (0..5).map(|_| send(&mut cache, get("/"))).collect();
    assert!(leader.poll().is_pending());
    followers.iter_mut().for_each(|asked| assert!(asked.poll().is_pending()));
    let (body, feed) = TestBody::streamed();
    origin.reply(reply(200, &[], body));
    let leader = assert_ready_ok!(leader.poll());
    followers.iter_mut().for_each(|asked| assert!(asked.poll().is_pending()));

    feed.data("page");
    feed.data("page");
    followers.iter_mut().for_each(|asked| assert!(asked.poll().is_pending()));

    assert_eq!(origin.waiting(), 5, "all at once");
    feed.data("page");
    feed.end();
    assert_eq!(text(leader).await.unwrap(), "pagepagepage");
    for asked in &mut followers {
        origin.reply(ok("own"));
        assert_eq!(text(assert_ready_ok!(asked.poll())).await.unwrap(), "own");
    }
}

#[tokio::test]
async fn past_the_limit_a_leader_that_left_is_not_read_for() {
    let (mut cache, origin, _) = cache(Policy::new().max_body_bytes(6));
    let (body, feed) = TestBody::streamed();
    origin.queue([reply(200, &[], body)]);
    drop(ask(&mut cache, get("/")).await);
    feed.data("page");
    feed.data("page");
    settle().await;

    assert!(feed.is_gone());
}

#[tokio::test]
async fn an_origin_that_dies_mid_body_gives_every_reader_an_error_and_stores_nothing() {
    let (mut cache, origin, _) = cache(Policy::new());
    let mut asked: Vec<_> = (0..5).map(|_| send(&mut cache, get("/"))).collect();
    asked.iter_mut().for_each(|asked| assert!(asked.poll().is_pending()));
    let (body, feed) = TestBody::declared(8);
    origin.reply(reply(200, &[], body));
    let answers: Vec<_> = asked.iter_mut().map(|asked| assert_ready_ok!(asked.poll())).collect();
    feed.data("page");
    feed.fail();

    for answer in answers {
        let error = text(answer).await.unwrap_err();
        assert_eq!(std::error::Error::source(&error).unwrap().to_string(), "origin failed");
    }
    origin.queue([ok("whole")]);
    assert_eq!(text(ask(&mut cache, get("/")).await).await.unwrap(), "whole");
}

#[tokio::test]
async fn followers_that_have_read_nothing_of_a_body_that_dies_elect_one_successor() {
    let (mut cache, origin, _) = cache(Policy::new());
    let mut asked: Vec<_> = (0..5).map(|_| send(&mut cache, get("/"))).collect();
    asked.iter_mut().for_each(|asked| assert!(asked.poll().is_pending()));
    let (body, feed) = TestBody::streamed();
    origin.reply(reply(200, &[], body));
    let leader = assert_ready_ok!(asked.remove(0).poll());
    asked.iter_mut().for_each(|asked| assert!(asked.poll().is_pending()));
    feed.data("page");
    feed.fail();
    assert!(text(leader).await.is_err());

    asked.iter_mut().for_each(|asked| assert!(asked.poll().is_pending()));
    assert_eq!(origin.waiting(), 1);
    origin.reply(ok("whole"));
    for asked in &mut asked {
        assert_eq!(text(assert_ready_ok!(asked.poll())).await.unwrap(), "whole");
    }
}

#[tokio::test]
async fn a_body_that_panics_is_a_failure_like_any_other() {
    let (mut cache, origin, _) = cache(Policy::new());
    let mut asked: Vec<_> = (0..3).map(|_| send(&mut cache, get("/"))).collect();
    asked.iter_mut().for_each(|asked| assert!(asked.poll().is_pending()));
    let (body, feed) = TestBody::streamed();
    origin.reply(reply(200, &[], body));
    let leader = assert_ready_ok!(asked.remove(0).poll());
    asked.iter_mut().for_each(|asked| assert!(asked.poll().is_pending()));
    feed.panic();
    assert!(text(leader).await.is_err());

    asked.iter_mut().for_each(|asked| assert!(asked.poll().is_pending()));
    assert_eq!(origin.waiting(), 1);
}

#[tokio::test]
async fn a_shared_failure_may_stream_too() {
    let (mut cache, origin, _) = cache(Policy::new().collapse(Collapse::new().attempts(1)));
    let mut leader = send(&mut cache, get("/"));
    let mut follower = send(&mut cache, get("/"));
    assert!(leader.poll().is_pending());
    assert!(follower.poll().is_pending());
    let (body, feed) = TestBody::streamed();
    origin.reply(reply(500, &[], body));
    let leader = assert_ready_ok!(leader.poll());
    assert!(follower.poll().is_pending());
    feed.data("sick");
    feed.end();

    for answer in [assert_ready_ok!(follower.poll()), leader] {
        assert_eq!(answer.status(), 500);
        assert_eq!(text(answer).await.unwrap(), "sick");
    }
}

#[tokio::test]
async fn followers_that_want_a_part_of_a_fill_wait_for_the_whole() {
    let (mut cache, origin, _) = cache(Policy::new());
    let mut head = send(&mut cache, request("HEAD", "/", &[]));
    let mut part = send(&mut cache, get_with("/", &[("range", "bytes=2-5")]));
    assert!(head.poll().is_pending());
    assert!(part.poll().is_pending());
    let (body, feed) = TestBody::declared(8);
    origin.reply(reply(200, &[], body));
    assert_eq!(text(assert_ready_ok!(head.poll())).await.unwrap(), "");
    assert!(part.poll().is_pending());
    feed.data("0123");
    feed.data("4567");
    feed.end();

    let part = part.await.unwrap();
    assert_eq!(part.status(), 206);
    assert_eq!(text(part).await.unwrap(), "2345");
}

/// The leader reads a body to its end before any follower looks; nothing of it was stored.
async fn over_before_they_look(mut cache: TestCache, origin: Origin, (body, feed): (TestBody, Feed)) {
    let mut leader = send(&mut cache, get("/"));
    assert!(leader.poll().is_pending());
    let mut followers: Vec<_> = (0..10).map(|_| send(&mut cache, get("/"))).collect();
    followers.iter_mut().for_each(|it| assert!(it.poll().is_pending()));
    origin.reply(reply(200, &[], body));
    let answer = assert_ready_ok!(leader.poll());
    feed.data("page");
    feed.end();
    assert_eq!(text(answer).await.unwrap(), "page");
    for it in &mut followers {
        assert_eq!(text(assert_ready_ok!(it.poll())).await.unwrap(), "page");
    }
    assert_eq!(origin.forwards(), 1);
}

#[tokio::test]
async fn followers_share_a_streamed_body_that_is_over_before_they_look() {
    let origin = Origin::default();
    over_before_they_look(CollapseLayer::new().layer(origin.clone()), origin, TestBody::streamed()).await;
}

#[tokio::test]
async fn followers_share_a_streamed_body_that_is_over_and_could_not_be_stored() {
    let (cache, origin, _) = cache_on(MemoryStore::with_max_bytes(10), Policy::new());
    over_before_they_look(cache, origin, TestBody::declared(4)).await;
}

#[tokio::test]
async fn a_shared_failure_that_is_over_before_they_look_is_shared_all_the_same() {
    let (mut cache, origin, _) = cache(Policy::new().collapse(Collapse::new().attempts(1)));
    let mut leader = send(&mut cache, get("/"));
    let mut follower = send(&mut cache, get("/"));
    assert!(leader.poll().is_pending());
    assert!(follower.poll().is_pending());
    let (body, feed) = TestBody::streamed();
    origin.reply(reply(500, &[], body));
    let answer = assert_ready_ok!(leader.poll());
    feed.data("sick");
    feed.end();
    assert_eq!(text(answer).await.unwrap(), "sick");
    let answer = assert_ready_ok!(follower.poll());
    assert_eq!(answer.status(), 500);
}

#[tokio::test(start_paused = true)]
async fn a_range_that_waited_too_long_does_not_mark_what_others_can_stream() {
    let (mut cache, origin, clock) = cache(Policy::new());
    let fields = [("cache-control", "max-age=60")];
    let (body, feed) = TestBody::declared(8);
    let mut leader = send(&mut cache, get("/"));
    assert!(leader.poll().is_pending());
    origin.reply(reply(200, &fields, body));
    let leader = assert_ready_ok!(leader.poll());
    let mut part = send(&mut cache, get_with("/", &[("range", "bytes=0-1")]));
    assert!(part.poll().is_pending());
    advance(5 * SECOND + MILLI).await;
    clock.advance(5 * SECOND + MILLI);
    assert!(part.poll().is_pending());
    let mut asked: Vec<_> = (0..100).map(|_| send(&mut cache, get("/"))).collect();
    asked.iter_mut().for_each(|it| assert!(it.poll().is_pending()));
    // The part's own forward, and one second flight.
    assert_eq!(origin.waiting(), 2);
    drop((leader, feed));
}

#[tokio::test(start_paused = true)]
async fn a_range_leader_waits_no_longer_than_the_settings_say() {
    let (mut cache, origin, _) = cache(Policy::new());
    let (body, feed) = TestBody::streamed();
    let mut leader = send(&mut cache, get_with("/", &[("range", "bytes=0-1")]));
    assert!(leader.poll().is_pending());
    origin.reply(reply(200, &[], body));
    feed.data("drip");
    assert!(leader.poll().is_pending());
    advance(3600 * SECOND).await;
    assert!(leader.poll().is_ready(), "an hour without a byte");
}
