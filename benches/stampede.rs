//! When do the followers of a stampede get their answer?
//!
//! Identical misses all at once, on two worker threads. Target: one forward, and for 1,000 of them the last answer
//! within 5 ms of the origin's.

#![expect(clippy::unwrap_used, reason = "a bench may panic")]

mod common;

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use common::{
    exchange::{Ask, Reply, get, reply},
    table::Table,
    timing::Times,
};
use http_body_util::BodyExt;
use microcache::{Cache, CacheLayer, CacheStatus, Collapse, MemoryStore, Policy};
use tokio::{runtime::Builder, sync::watch, task::JoinSet};
use tower::{Layer, Service};

fn main() {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut table = Table::new(&["requests", "forwards", "collapsed", "hits", "last ms", "min", "max", "leader ms"]);
    for (requests, takes, rounds) in [(1_000, Duration::from_millis(50), 21), (10_000, Duration::from_millis(500), 9)] {
        let rounds: Vec<Round> = (0..rounds).map(|_| runtime.block_on(stampede(requests, takes))).collect();
        table.row(row(requests, &rounds));
    }
    table.print("from the origin's answer to the last of all, over several rounds (target: 5 ms for 1,000; 1 forward)");
}

/// What came of one stampede. The times are in milliseconds, from the origin's answer.
struct Round {
    forwards: u32,
    collapsed: usize,
    hits: usize,
    leader: f64,
    last: f64,
}

async fn stampede(requests: usize, takes: Duration) -> Round {
    let origin = Slow { takes, forwards: Arc::default(), answered: Arc::default() };
    let policy = Policy::new().collapse(Collapse::new().max_followers(requests));
    let layer = CacheLayer::new(MemoryStore::with_max_bytes(64 << 20)).with_policy(policy);
    let cache = layer.layer(origin.clone());
    let (gate, open) = watch::channel(false);
    let mut clients = JoinSet::new();
    for _ in 0..requests {
        let (cache, mut open) = (cache.clone(), open.clone());
        clients.spawn(async move {
            open.wait_for(|is_open| *is_open).await.unwrap();
            client(cache).await
        });
    }
    // They all wait at the gate before it opens.
    tokio::time::sleep(Duration::from_millis(20)).await;
    gate.send(true).unwrap();
    let answers = clients.join_all().await;

    let origin_answered = origin.answered.lock().unwrap().unwrap();
    let since = |at: Instant| at.duration_since(origin_answered).as_secs_f64() * 1e3;
    let is_leader = |status: &CacheStatus| !status.is_collapsed() && !status.is_hit();
    Round {
        forwards: origin.forwards.load(Ordering::Relaxed),
        collapsed: answers.iter().filter(|(status, _)| status.is_collapsed()).count(),
        hits: answers.iter().filter(|(status, _)| status.is_hit()).count(),
        leader: answers.iter().filter(|(status, _)| is_leader(status)).map(|(_, at)| since(*at)).fold(0.0, f64::max),
        last: answers.iter().map(|(_, at)| since(*at)).fold(0.0, f64::max),
    }
}

/// One request, its body read to the end; how it was answered, and when.
async fn client(mut cache: Cache<Slow>) -> (CacheStatus, Instant) {
    let response = cache.call(get()).await.unwrap();
    let status = CacheStatus::of(&response).unwrap();
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes().len(), BODY_BYTES);
    (status, Instant::now())
}

/// An origin that takes its time, and notes when it was done.
#[derive(Clone)]
struct Slow {
    takes: Duration,
    forwards: Arc<AtomicU32>,
    answered: Arc<Mutex<Option<Instant>>>,
}

impl Service<Ask> for Slow {
    type Response = Reply;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Reply, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Ask) -> Self::Future {
        let origin = self.clone();
        Box::pin(async move {
            origin.forwards.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(origin.takes).await;
            let reply = reply(Bytes::from(vec![b'x'; BODY_BYTES]));
            *origin.answered.lock().unwrap() = Some(Instant::now());
            Ok(reply)
        })
    }
}

fn row(requests: usize, rounds: &[Round]) -> Vec<String> {
    let forwards = rounds.iter().map(|round| round.forwards).max().unwrap_or(0);
    let mean = |count: fn(&Round) -> usize| rounds.iter().map(count).sum::<usize>() / rounds.len();
    let last = Times::new(rounds.iter().map(|round| round.last).collect());
    let leader = Times::new(rounds.iter().map(|round| round.leader).collect());
    vec![
        requests.to_string(),
        forwards.to_string(),
        mean(|round| round.collapsed).to_string(),
        mean(|round| round.hits).to_string(),
        format!("{:.2}", last.median()),
        format!("{:.2}", last.percentile(0)),
        format!("{:.2}", last.percentile(100)),
        format!("{:.2}", leader.median()),
    ]
}

const BODY_BYTES: usize = 1 << 10;
