//! Bodies of responses that one request asks for.

use http_body::Body;
use http_body_util::BodyExt;
use microcache::Policy;
use tokio_test::{assert_ready, task};

use crate::common::*;

#[tokio::test]
async fn a_body_that_is_there_is_stored_at_once() {
    let (mut cache, origin, _) = cache(Policy::new());
    let (body, feed) = TestBody::streamed();
    feed.data("hello ");
    feed.data("world");
    feed.end();
    origin.queue([reply(200, &[], body)]);

    let first = ask(&mut cache, get("/")).await;
    let hit = ask(&mut cache, get("/")).await;

    assert_eq!(hit.body().size_hint().exact(), Some(11));
    assert_eq!(text(hit).await.unwrap(), "hello world");
    assert_eq!(text(first).await.unwrap(), "hello world");
}

#[tokio::test]
async fn a_body_that_comes_later_streams_through_and_is_stored_at_its_end() {
    let (mut cache, origin, _) = cache(Policy::new());
    let (body, feed) = TestBody::streamed();
    origin.queue([reply(200, &[], body), ok("fresh")]);
    let first = ask(&mut cache, get("/")).await;
    assert_eq!(status(&first), "fwd=uri-miss; fwd-status=200; ttl=1; stored");
    let mut body = first.into_body();
    let mut frame = task::spawn(body.frame());
    assert!(frame.poll().is_pending());
    feed.data("one");
    assert!(frame.is_woken());
    assert_eq!(assert_ready!(frame.poll()).unwrap().unwrap().into_data().unwrap(), "one");
    drop(frame);

    feed.data("two");
    feed.end();
    assert_eq!(body.collect().await.unwrap().to_bytes(), "two");

    assert_eq!(text(ask(&mut cache, get("/")).await).await.unwrap(), "onetwo");
}

#[tokio::test]
async fn trailers_are_kept() {
    let (mut cache, origin, _) = cache(Policy::new());
    for (path, is_late) in [("/now", false), ("/later", true)] {
        let (body, feed) = TestBody::streamed();
        origin.queue([reply(200, &[], body)]);
        let send = || {
            feed.data("page");
            feed.trailers("checksum", "7");
            feed.end();
        };
        if !is_late {
            send();
        }
        let first = ask(&mut cache, get(path)).await;
        if is_late {
            send();
        }
        for answer in [first, ask(&mut cache, get(path)).await] {
            assert_eq!(answer.body().size_hint().exact(), None, "{path}: HTTP/1.1 has no trailers after a length");
            let collected = answer.into_body().collect().await.unwrap();
            assert_eq!(collected.trailers().unwrap()["checksum"], "7", "{path}");
            assert_eq!(collected.to_bytes(), "page", "{path}");
        }
    }
}

#[tokio::test]
async fn what_is_too_large_passes_as_it_comes_and_is_not_buffered() {
    let (mut cache, origin, _) = cache(Policy::new().max_body_bytes(5));
    let (body, feed) = TestBody::declared(6);
    origin.queue([reply(200, &[], body)]);
    let answer = ask(&mut cache, get("/declared")).await;
    assert_eq!(status(&answer), "fwd=uri-miss; fwd-status=200; detail=too-large");
    assert_eq!(feed.polls(), 0, "nobody read it before the client");

    let (body, feed) = TestBody::streamed();
    for chunk in ["abc", "def"] {
        feed.data(chunk);
    }
    origin.queue([reply(200, &[], body)]);
    let answer = ask(&mut cache, get("/found-out-at-once")).await;
    assert_eq!(status(&answer), "fwd=uri-miss; fwd-status=200; detail=too-large");
    feed.data("ghi");
    feed.end();
    assert_eq!(text(answer).await.unwrap(), "abcdefghi");

    let (body, feed) = TestBody::streamed();
    feed.data("abc");
    origin.queue([reply(200, &[], body), ok("again")]);
    let answer = ask(&mut cache, get("/found-out-later")).await;
    feed.data("def");
    feed.data("ghi");
    feed.trailers("checksum", "7");
    feed.end();
    let collected = answer.into_body().collect().await.unwrap();
    assert_eq!(collected.trailers().unwrap()["checksum"], "7");
    assert_eq!(collected.to_bytes(), "abcdefghi");
    assert_eq!(text(ask(&mut cache, get("/found-out-later")).await).await.unwrap(), "again", "it was not stored");
}

#[tokio::test]
async fn a_body_that_breaks_off_is_an_error_and_is_not_stored() {
    for (declared, is_late) in [(false, false), (false, true), (true, true)] {
        let (mut cache, origin, _) = cache(Policy::new());
        let (body, feed) = if declared { TestBody::declared(8) } else { TestBody::streamed() };
        feed.data("half");
        if !is_late {
            feed.fail();
        }
        origin.queue([reply(200, &[], body), ok("whole")]);
        let answer = ask(&mut cache, get("/")).await;
        if is_late {
            feed.fail();
        }
        let error = text(answer).await.unwrap_err();
        assert_eq!(std::error::Error::source(&error).unwrap().to_string(), "origin failed");
        assert_eq!(text(ask(&mut cache, get("/")).await).await.unwrap(), "whole");
    }
}

#[tokio::test]
async fn a_body_that_is_not_as_long_as_declared_is_an_error_and_is_not_stored() {
    for sent in ["four", "four and more"] {
        let (mut cache, origin, _) = cache(Policy::new());
        let (body, feed) = TestBody::declared(8);
        origin.queue([reply(200, &[], body), ok("whole")]);
        let answer = ask(&mut cache, get("/")).await;
        feed.data(sent);
        feed.end();
        assert!(text(answer).await.is_err(), "{sent}");
        assert_eq!(text(ask(&mut cache, get("/")).await).await.unwrap(), "whole");
    }
}

#[tokio::test]
async fn a_body_that_panics_is_an_error_and_is_not_stored() {
    let (mut cache, origin, _) = cache(Policy::new());
    let (body, feed) = TestBody::streamed();
    origin.queue([reply(200, &[], body), ok("whole")]);
    let answer = ask(&mut cache, get("/")).await;
    feed.panic();
    assert!(text(answer).await.is_err());
    assert_eq!(text(ask(&mut cache, get("/")).await).await.unwrap(), "whole");
}

#[tokio::test]
async fn an_event_stream_is_not_touched() {
    let (mut cache, origin, _) = cache(Policy::new());
    let (body, feed) = TestBody::streamed();
    origin.queue([reply(200, &[("content-type", "text/event-stream"), ("cache-control", "max-age=60")], body)]);
    let answer = ask(&mut cache, get("/events")).await;
    assert_eq!(feed.polls(), 0);
    let mut body = answer.into_body();
    feed.data("data: 1\n\n");
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "data: 1\n\n");
    drop(body);
    assert!(feed.is_gone(), "the stream ends with its client");
}

#[tokio::test]
async fn a_client_that_leaves_mid_body_does_not_waste_what_came() {
    let (mut cache, origin, _) = cache(Policy::new());
    let (body, feed) = TestBody::streamed();
    origin.queue([reply(200, &[], body)]);
    let answer = ask(&mut cache, get("/")).await;
    feed.data("half and ");
    drop(answer);
    settle().await;
    feed.data("half");
    feed.end();
    settle().await;

    let hit = ask(&mut cache, get("/")).await;

    assert_eq!(text(hit).await.unwrap(), "half and half");
    assert_eq!(origin.forwards(), 1);
}

#[tokio::test]
async fn a_client_that_leaves_a_body_for_nobody_else_ends_it() {
    let (mut cache, origin, _) = cache(Policy::new());
    let (body, feed) = TestBody::streamed();
    origin.queue([reply(200, &[("cache-control", "private")], body)]);
    let answer = ask(&mut cache, get("/")).await;

    drop(answer);
    settle().await;

    assert!(feed.is_gone());
}

#[tokio::test]
async fn trailers_that_are_there_at_the_first_look_are_kept() {
    let (mut cache, origin, _) = cache(Policy::new());
    let (body, feed) = TestBody::streamed();
    feed.data("page");
    feed.trailers("checksum", "7");
    origin.queue([reply(200, &[], body)]);
    let answer = ask(&mut cache, get("/")).await;
    feed.end();
    let collected = answer.into_body().collect().await.unwrap();
    assert!(collected.trailers().is_some(), "the leader's trailers are gone");
}

#[tokio::test]
async fn a_body_that_is_there_at_once_and_too_short_is_an_error() {
    let (mut cache, origin, _) = cache(Policy::new());
    let (body, feed) = TestBody::declared(8);
    feed.data("page");
    feed.end();
    origin.queue([reply(200, &[], body)]);
    let answer = ask(&mut cache, get("/")).await;
    assert!(text(answer).await.is_err(), "a clean end");
}
