//! Clients that leave at any moment: nobody gets another's answer, and no connection is lost.

use std::{
    future::{Future, Ready, ready},
    hash::{BuildHasher, RandomState},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};

use http::Response;
use microcache::{CacheLayer, Collapse, Policy};
use tokio::time::{sleep, timeout};
use tower::{Layer, Service};

use crate::{
    common::{Ask, TestBody, get},
    memcached::Memcached,
    shared::{PATIENCE, far, settle_io},
};

/// Answers with the path that was asked for.
#[derive(Clone)]
pub(crate) struct Echo;

impl Service<Ask> for Echo {
    type Response = Response<TestBody>;
    type Error = std::convert::Infallible;
    type Future = Ready<Result<Response<TestBody>, std::convert::Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Ask) -> Self::Future {
        let path = bytes::Bytes::from(request.uri().path().to_owned());
        let response = Response::builder().header("cache-control", "max-age=1").body(path.into());
        ready(Ok(response.unwrap()))
    }
}

/// Gives a future up after so many polls.
struct PollsAtMost<F> {
    future: Pin<Box<F>>,
    left: u64,
}

impl<F: Future> Future for PollsAtMost<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<F::Output>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        self.left -= 1;
        let last = self.left == 0;
        match self.future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if last => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    }
}

async fn body(response: Response<microcache::CacheBody<TestBody>>) -> String {
    use http_body_util::BodyExt;
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

/// How many are dropped: `MICROCACHE_DROPS`, or 20,000.
fn drops() -> u64 {
    std::env::var("MICROCACHE_DROPS").map_or(20_000, |drops| drops.parse().expect("MICROCACHE_DROPS is a number"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_are_dropped_at_any_poll_mix_up_no_answers_and_leak_no_connections() {
    let memcached = Memcached::start(&[]);
    // Each waits for the other, or does not: both ways are taken.
    let caches: Vec<_> = [Collapse::new(), Collapse::new().without_leases()]
        .into_iter()
        .map(|collapse| {
            let policy = Policy::new().collapse(collapse);
            CacheLayer::builder(far(&memcached)).policy(policy).store_deadline(PATIENCE).build().unwrap().layer(Echo)
        })
        .collect();
    for cache in &caches {
        assert_eq!(body(cache.clone().call(get("/first")).await.unwrap()).await, "/first");
    }
    let (open, made) = (memcached.stat("curr_connections"), memcached.stat("total_connections"));

    let dropped = Arc::new(AtomicU64::new(0));
    let wanted = drops();
    let tasks: Vec<_> = (0..64_u64)
        .map(|task| {
            let (dropped, mut cache) = (Arc::clone(&dropped), caches[task as usize % 2].clone());
            tokio::spawn(async move {
                let random = RandomState::new();
                for round in 0_u64.. {
                    if dropped.load(Relaxed) >= wanted {
                        return;
                    }
                    let chance = random.hash_one(round);
                    // Few enough to be hits now and then, and new ones all the time.
                    let path = format!("/{}/{}", round / 50, chance % 40);
                    let future = Box::pin(cache.call(get(&path)));
                    match (PollsAtMost { future, left: 1 + (chance >> 32) % 8 }).await {
                        Some(response) => {
                            let response = response.unwrap();
                            assert_eq!(response.status(), 200, "{path}");
                            assert_eq!(body(response).await, path);
                        }
                        None => {
                            dropped.fetch_add(1, Relaxed);
                        }
                    }
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    settle_io().await;

    for (number, cache) in caches.iter().cycle().take(200).enumerate() {
        let path = format!("/after/{number}");
        for _ in 0..2 {
            let answer = timeout(Duration::from_secs(20), cache.clone().call(get(&path))).await.unwrap();
            assert_eq!(body(answer.unwrap()).await, path);
        }
    }
    sleep(Duration::from_millis(50)).await;
    assert_eq!(memcached.stat("curr_connections"), open);
    // That which asked for the numbers twice before, and the one that asks now.
    assert!(memcached.stat("total_connections") <= made + 3);
}
