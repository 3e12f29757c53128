//! Real threads, clients that leave at any moment, and an origin that does everything: each answer is one that
//! its request could have had, and nobody waits for ever.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use fastrand::Rng;
use futures_util::{StreamExt, stream};
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, Empty, StreamBody};
use microcache::{CacheLayer, CacheStatus, MemoryStore, Policy};
use tokio::task::JoinSet;
use tower::{Layer, Service, service_fn};

use crate::common::get_with;

type Chunk = Result<Frame<Bytes>, std::io::Error>;

/// Says in every chunk for whom it was made; what it does besides is chance.
async fn answer(
    request: Request<Empty<Bytes>>,
    mut dice: Rng,
) -> Result<Response<impl http_body::Body<Data = Bytes, Error = std::io::Error>>, Infallible> {
    for _ in 0..dice.u64(..4) {
        tokio::task::yield_now().await;
    }
    let field = |name| request.headers().get(name).map_or("-", |value| value.to_str().unwrap());
    let (code, control) = match dice.u64(..12) {
        0 => (500, "max-age=60"),
        1 => (200, "private"),
        2 => (200, "max-age=0"),
        3 => (404, "max-age=1"),
        _ => (200, ""),
    };
    let (language, cookie) = (field("accept-language"), field("cookie"));
    let line = format!("{} {language} {cookie} {control};", request.uri().path());
    let (is_broken, is_late) = (dice.u64(..12) == 0, dice.u64(..2) == 0);
    let mut response = Response::builder().status(code).header("vary", "accept-language");
    if !control.is_empty() {
        response = response.header("cache-control", control);
    }
    if dice.u64(..2) == 0 {
        response = response.header("content-length", line.len() * 3);
    }
    let chunks = stream::iter(0..3).then(move |index| {
        let line = line.clone();
        async move {
            if is_late {
                tokio::task::yield_now().await;
            }
            if is_broken && index == 2 {
                return Chunk::Err(std::io::Error::other("broken"));
            }
            Ok(Frame::data(Bytes::from(line)))
        }
    });
    Ok(response.body(StreamBody::new(Box::pin(chunks))).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whatever_happens_each_answer_is_legal_and_comes() {
    let seeds = Arc::new(AtomicU64::new(0x5eed));
    let origin = service_fn(move |request| answer(request, Rng::with_seed(seeds.fetch_add(1, Ordering::Relaxed))));
    let layer = CacheLayer::builder(MemoryStore::with_max_bytes(1 << 20))
        .policy(Policy::new().default_freshness(Duration::from_millis(2)))
        .build()
        .unwrap();
    let cache = layer.layer(origin);
    let mut clients = JoinSet::new();
    for client in 1..=32 {
        let (mut cache, mut dice) = (cache.clone(), Rng::with_seed(client));
        clients.spawn(async move {
            for _ in 0..2_000 {
                let path = format!("/{}", dice.u64(..3));
                let language = if dice.bool() { "de" } else { "en" };
                let user = if dice.bool() { "a=1" } else { "a=2" };
                let mut fields = vec![("accept-language", language)];
                if dice.u64(..4) == 0 {
                    fields.push(("cookie", user));
                }
                let asked = cache.call(get_with(&path, &fields));
                if dice.u64(..4) == 0 {
                    // A client that leaves at its first wait.
                    let _ = tokio::time::timeout(Duration::ZERO, asked).await;
                    continue;
                }
                let answer = tokio::time::timeout(Duration::from_secs(60), asked).await.unwrap().unwrap();
                check(answer, &path, &fields).await;
            }
        });
    }
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }
    let stats = layer.handle().stats();
    assert!(stats.hits > 0 && stats.collapsed > 0 && stats.stored > 0, "{stats:?}");
}

async fn check<B>(answer: Response<B>, path: &str, fields: &[(&str, &str)])
where
    B: http_body::Body<Data = Bytes>,
{
    let status = CacheStatus::of(&answer).unwrap();
    let cookie = fields.iter().find(|(name, _)| *name == "cookie").map_or("-", |(_, cookie)| *cookie);
    let is_error = answer.status() == 503;
    let Ok(body) = tokio::time::timeout(Duration::from_secs(60), answer.into_body().collect()).await.unwrap() else {
        return;
    };
    let body = String::from_utf8(body.to_bytes().to_vec()).unwrap();
    if is_error && body.is_empty() {
        return;
    }
    let made_for = body.split_inclusive(';').next().unwrap();
    assert_eq!(body, made_for.repeat(3), "{status}: never a part of an answer");
    let [from_path, from_language, from_cookie, control] = made_for.splitn(4, ' ').collect::<Vec<_>>()[..] else {
        panic!("{status}: {made_for}");
    };
    assert_eq!((from_path, from_language), (path, fields[0].1), "{status}: its path and its variant");
    if status.is_hit() || status.is_collapsed() {
        assert_ne!(control, "private;", "{status}");
        let is_explicit = control.starts_with("max-age");
        assert!(is_explicit || (from_cookie, cookie) == ("-", "-"), "{status}: {made_for} for {cookie}");
    } else {
        assert_eq!(from_cookie, cookie, "{status}: a forward is one's own");
    }
}
