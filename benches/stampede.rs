//! When do the followers of a stampede get their answer?
//!
//! Identical misses all at once, on two worker threads. Target: one forward, and the last answer within 5 ms of the
//! origin's for 1,000 of them, within 20 ms for 10,000. The floor is what the runtime takes for as much: requests that
//! are held until there is a response, and answered with a clone of it. Both take turns. The time that the processors
//! worked is told apart, since it hardly depends on how busy they were with other things.

#![expect(clippy::unwrap_used, reason = "a bench may panic")]

mod common;

use std::{
    convert::Infallible,
    fs,
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use common::{
    exchange::{Ask, Reply, get, reply},
    table::Table,
    timing::{Times, argument},
};
use http::Response;
use http_body::Body;
use http_body_util::BodyExt;
use microcache::{CacheLayer, Collapse, MemoryStore, Policy};
use tokio::{
    runtime::Builder,
    sync::{Notify, watch},
};
use tower::{Layer, Service};

fn main() {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let only: Option<usize> = argument("--requests").map(|requests| requests.parse().unwrap());
    let mut table =
        Table::new(&["", "forwards", "collapsed", "hits", "last ms", "min", "max", "us of work", "x floor"]);
    for (requests, takes, rounds) in [(1_000, 50, 41), (10_000, 500, 21)] {
        if only.is_some_and(|only| only != requests) {
            continue;
        }
        let takes = Duration::from_millis(takes);
        let take_turns = |_| (runtime.block_on(cached(requests, takes)), runtime.block_on(floor(requests, takes)));
        let (rounds, floors): (Vec<Round>, Vec<Round>) = (0..rounds).map(take_turns).unzip();
        table.row(row(requests, "requests", &rounds, &floors));
        table.row(row(requests, "held, the floor", &floors, &floors));
    }
    table.print("from the origin's answer to the last of all (target: 5 ms for 1,000, 20 ms for 10,000; 1 forward)");
}

/// What came of one stampede.
struct Round {
    forwards: u64,
    collapsed: u64,
    hits: u64,
    /// Milliseconds from the origin's answer.
    last: f64,
    /// Microseconds for each request that all threads worked from then on.
    work: f64,
}

async fn cached(requests: usize, takes: Duration) -> Round {
    let origin = Slow { takes, answered: Arc::default() };
    let policy = Policy::new().collapse(Collapse::new().max_followers(requests));
    let layer = CacheLayer::new(MemoryStore::with_max_bytes(64 << 20)).with_policy(policy);
    let (last, work) = stampede(requests, layer.layer(origin.clone()), &origin).await;
    let stats = layer.handle().stats();
    Round { forwards: stats.forwards, collapsed: stats.collapsed, hits: stats.hits, last, work }
}

async fn floor(requests: usize, takes: Duration) -> Round {
    let origin = Slow { takes, answered: Arc::default() };
    let floor = Held { inner: origin.clone(), is_asked: Arc::default(), reply: watch::Sender::new(None) };
    let (last, work) = stampede(requests, floor, &origin).await;
    Round { forwards: 1, collapsed: 0, hits: 0, last, work }
}

/// When the last was answered, and how much work that was for each.
async fn stampede<S, B>(requests: usize, service: S, origin: &Slow) -> (f64, f64)
where
    S: Service<Ask, Response = Response<B>, Error = Infallible, Future: Send> + Clone + Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
{
    let (gate, open) = watch::channel(false);
    let (left, done) = (Arc::new(AtomicUsize::new(requests)), Arc::new(Notify::new()));
    let clients = (0..requests).map(|_| {
        let (service, mut open) = (service.clone(), open.clone());
        let (left, done) = (Arc::clone(&left), Arc::clone(&done));
        tokio::spawn(async move {
            open.wait_for(|is_open| *is_open).await.unwrap();
            let answered = client(service).await;
            if left.fetch_sub(1, Ordering::AcqRel) == 1 {
                done.notify_one();
            }
            answered
        })
    });
    let clients: Vec<_> = clients.collect();
    // They all wait at the gate before it opens.
    tokio::time::sleep(Duration::from_millis(20)).await;
    gate.send(true).unwrap();
    // This thread would be a third one for two cores if it saw each of them end.
    done.notified().await;
    // What a thread worked is known when it rests.
    tokio::time::sleep(Duration::from_millis(20)).await;
    let (origin_answered, worked_before) = origin.answered.lock().unwrap().unwrap();
    let work = (worked() - worked_before) / requests as f64 / 1e3;
    let mut last = 0.0_f64;
    for client in clients {
        let since = client.await.unwrap().saturating_duration_since(origin_answered);
        last = last.max(since.as_secs_f64() * 1e3);
    }
    (last, work)
}

/// One request, its body read to the end; when that was.
async fn client<S, B>(mut service: S) -> Instant
where
    S: Service<Ask, Response = Response<B>, Error = Infallible>,
    B: Body<Data = Bytes>,
{
    let response = service.call(get()).await.unwrap();
    let body = response.into_body().collect().await.unwrap_or_else(|_| panic!("the body broke off"));
    assert_eq!(body.to_bytes().len(), BODY_BYTES);
    Instant::now()
}

/// For how many nanoseconds the threads of this process had a core.
fn worked() -> f64 {
    let threads = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let worked = |text: String| text.split(' ').next().and_then(|worked| worked.parse::<f64>().ok());
    threads.filter_map(|thread| worked(fs::read_to_string(thread.path().join("schedstat")).ok()?)).sum()
}

/// Asks once, and holds the requests until there is a response.
#[derive(Clone)]
struct Held {
    inner: Slow,
    is_asked: Arc<AtomicBool>,
    reply: watch::Sender<Option<Arc<Reply>>>,
}

impl Service<Ask> for Held {
    type Response = Reply;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Reply, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Ask) -> Self::Future {
        let mut landed = self.reply.subscribe();
        if !self.is_asked.swap(true, Ordering::Relaxed) {
            let (forward, reply) = (self.inner.call(get()), self.reply.clone());
            tokio::spawn(async move { reply.send_replace(forward.await.ok().map(Arc::new)) });
        }
        Box::pin(async move {
            let reply = Arc::clone(landed.wait_for(Option::is_some).await.unwrap().as_ref().unwrap());
            drop(request);
            Ok((*reply).clone())
        })
    }
}

/// An origin that takes its time, and notes when it was done, and how much was worked until then.
#[derive(Clone)]
struct Slow {
    takes: Duration,
    answered: Arc<Mutex<Option<(Instant, f64)>>>,
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
            tokio::time::sleep(origin.takes).await;
            let reply = reply(Bytes::from(vec![b'x'; BODY_BYTES]));
            let worked = worked();
            *origin.answered.lock().unwrap() = Some((Instant::now(), worked));
            Ok(reply)
        })
    }
}

fn row(requests: usize, name: &str, rounds: &[Round], floors: &[Round]) -> Vec<String> {
    let times = |rounds: &[Round], of: fn(&Round) -> f64| Times::new(rounds.iter().map(of).collect());
    let (last, work) = (times(rounds, |round| round.last), times(rounds, |round| round.work).median());
    let mean = |count: fn(&Round) -> u64| (rounds.iter().map(count).sum::<u64>() / rounds.len() as u64).to_string();
    vec![
        format!("{requests} {name}"),
        rounds.iter().map(|round| round.forwards).max().unwrap_or(0).to_string(),
        mean(|round| round.collapsed),
        mean(|round| round.hits),
        format!("{:.2}", last.median()),
        format!("{:.2}", last.percentile(0)),
        format!("{:.2}", last.percentile(100)),
        format!("{work:.2}"),
        format!("{:.2}", work / times(floors, |round| round.work).median()),
    ]
}

const BODY_BYTES: usize = 1 << 10;
