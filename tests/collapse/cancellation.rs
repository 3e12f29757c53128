//! Rule 4: clients leave, at any poll.

use std::task::Poll;

use http_body_util::BodyExt;
use microcache::Policy;
use tokio::time::advance;
use tokio_test::assert_ready_ok;

use crate::common::*;

/// What the origin does, one step between two polls of the leader.
#[derive(Clone, Copy, Debug)]
enum Step {
    Nothing,
    Ready,
    Head,
    Chunk,
    End,
}

const STEPS: [Step; 6] = [Step::Ready, Step::Head, Step::Chunk, Step::Chunk, Step::Chunk, Step::End];

/// Sends a leader and followers, drops the leader before its poll number `leave_at` (over the head and the
/// body alike), and lets the origin go on to its end. Gives back whether the leader was still there at the end.
async fn sweep(leave_at: usize, declared: bool) -> bool {
    let (mut cache, origin, _) = cache(Policy::new());
    origin.busy(true);
    let mut leader = Some(send(&mut cache, get("/")));
    let mut leaders_body = None;
    let mut followers: Vec<_> = (0..9).map(|_| Some(send(&mut cache, get("/")))).collect();
    let mut answers = Vec::new();
    let (body, feed) = if declared { TestBody::declared(12) } else { TestBody::streamed() };
    let mut body = Some(body);

    for (polls, step) in [Step::Nothing].into_iter().chain(STEPS).enumerate() {
        match step {
            Step::Nothing => {}
            Step::Ready => origin.busy(false),
            Step::Head => drop(origin.reply(reply(200, &[], body.take().unwrap()))),
            Step::Chunk => feed.data("page"),
            Step::End => feed.end(),
        }
        settle().await;
        if polls == leave_at {
            (leader, leaders_body) = (None, None);
            settle().await;
        }
        if let Some(asked) = &mut leader
            && let Poll::Ready(answer) = asked.poll()
        {
            leaders_body = Some(answer.unwrap().into_body());
            leader = None;
        }
        if let Some(body) = &mut leaders_body {
            drop(tokio_test::task::spawn(body.frame()).poll());
        }
        for slot in &mut followers {
            if let Some(asked) = slot
                && let Poll::Ready(answer) = asked.poll()
            {
                answers.push(answer.unwrap());
                *slot = None;
            }
        }
    }
    for asked in followers.into_iter().flatten() {
        answers.push(asked.await.unwrap());
    }

    assert_eq!(answers.len(), 9);
    for answer in answers {
        assert_eq!(answer.status(), 200);
        assert_eq!(text(answer).await.unwrap(), "pagepagepage", "left at {leave_at}");
    }
    assert!(origin.forwards() <= 2, "left at {leave_at}: {} forwards", origin.forwards());
    settle().await;
    let hit = assert_ready_ok!(send(&mut cache, get("/")).poll());
    assert_eq!(status(&hit), "hit; ttl=1", "left at {leave_at}");
    assert_eq!(text(hit).await.unwrap(), "pagepagepage", "nothing truncated is stored");
    leader.is_some() || leaders_body.is_some()
}

#[tokio::test]
async fn whenever_the_leader_leaves_all_followers_get_the_whole_answer() {
    for declared in [true, false] {
        let mut leave_at = 0;
        while !sweep(leave_at, declared).await {
            leave_at += 1;
        }
        assert_eq!(leave_at, STEPS.len() + 1, "every poll of the leader was tried");
    }
}

#[tokio::test]
async fn a_leader_that_leaves_alone_is_finished_for_whoever_comes() {
    let (mut cache, origin, _) = cache(Policy::new());
    let mut leader = send(&mut cache, get("/"));
    assert!(leader.poll().is_pending());
    drop(leader);
    settle().await;
    let mut follower = send(&mut cache, get("/"));
    assert!(follower.poll().is_pending());
    assert_eq!(origin.forwards(), 1);

    origin.reply(ok("page"));
    settle().await;

    assert_eq!(text(assert_ready_ok!(follower.poll())).await.unwrap(), "page");
    assert_eq!(origin.forwards(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_forward_that_nobody_waits_for_any_more_has_a_limit() {
    let (mut cache, origin, _) = cache(Policy::new());
    let mut leader = send(&mut cache, get("/"));
    assert!(leader.poll().is_pending());
    drop(leader);
    settle().await;
    assert_eq!(origin.waiting(), 1);

    tokio::time::sleep(30 * SECOND + MILLI).await;
    settle().await;

    assert_eq!(origin.waiting(), 0, "it was given up");
}

#[tokio::test]
async fn a_follower_that_leaves_is_not_missed() {
    let (mut cache, origin, _) = cache(Policy::new());
    let mut asked: Vec<_> = (0..10).map(|_| send(&mut cache, get("/"))).collect();
    asked.iter_mut().for_each(|asked| assert!(asked.poll().is_pending()));
    drop(asked.drain(1..5));

    origin.reply(ok("page"));

    for asked in &mut asked {
        assert_eq!(text(assert_ready_ok!(asked.poll())).await.unwrap(), "page");
    }
    assert_eq!(origin.forwards(), 1);
}

#[tokio::test]
async fn a_successor_that_leaves_is_finished_like_any_leader() {
    let (mut cache, origin, _) = cache(Policy::new());
    let mut asked: Vec<_> = (0..3).map(|_| send(&mut cache, get("/"))).collect();
    asked.iter_mut().for_each(|asked| assert!(asked.poll().is_pending()));
    origin.reply(reply(500, &[], "sick"));
    asked.iter_mut().for_each(|asked| drop(asked.poll()));
    assert_eq!(origin.waiting(), 1);

    let last = asked.pop().unwrap();
    drop(asked);
    settle().await;
    origin.reply(ok("page"));
    settle().await;

    assert_eq!(text(last.await.unwrap()).await.unwrap(), "page");
    assert_eq!(origin.forwards(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_forward_whose_client_left_ends_at_the_limit_body_and_all() {
    let (mut cache, origin, _) = cache(Policy::new());
    let mut leader = send(&mut cache, get("/"));
    assert!(leader.poll().is_pending());
    drop(leader);
    settle().await;
    advance(29 * SECOND).await;
    settle().await;
    let (body, feed) = TestBody::declared(8);
    origin.reply(reply(200, &[], body));
    settle().await;
    advance(2 * SECOND).await;
    settle().await;
    assert!(feed.is_gone(), "31 s after the client left");
}
