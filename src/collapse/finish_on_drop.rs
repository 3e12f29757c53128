//! A future that outlives whoever polled it.
//!
//! Polled in place, so that spans and task-locals stay; handed to the runtime only when it is dropped
//! unfinished. Alone because it is subtle.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{runtime::Handle, time::Instant};

use crate::clock::{later, monotonic};

/// Runs `future` on in the background, for at most `limit`. Without a runtime it is dropped.
pub(crate) fn in_background<F>(future: F, limit: Duration)
where
    F: Future + Send + 'static,
{
    if let Ok(runtime) = Handle::try_current() {
        let limit = later(monotonic(), limit);
        // What is left behind in the background stays within the time that was given to it there.
        let until = UNTIL.try_with(|until| limit.min(*until)).unwrap_or(limit);
        runtime.spawn(UNTIL.scope(until, async move {
            // Past the limit the future is dropped, and its guards report it as abandoned.
            let _ = tokio::time::timeout_at(until, future).await;
        }));
    }
}

tokio::task_local! {
    /// When the background task that this runs in ends.
    static UNTIL: Instant;
}

/// Finishes `future` in the background, for at most `limit`, if it is dropped before it is done.
pub(crate) struct FinishOnDrop<T: Send + 'static> {
    state: State<T>,
    limit: Duration,
}

enum State<T> {
    Running(Pin<Box<dyn Future<Output = T> + Send>>),
    Done,
}

impl<T: Send + 'static> FinishOnDrop<T> {
    pub(crate) fn new(future: impl Future<Output = T> + Send + 'static, limit: Duration) -> Self {
        Self { state: State::Running(Box::pin(future)), limit }
    }
}

impl<T: Send + 'static> Future for FinishOnDrop<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        // Taken out while it is polled: if the poll panics, the future unwinds here and is not run again.
        match std::mem::replace(&mut self.state, State::Done) {
            State::Running(mut future) => {
                let poll = future.as_mut().poll(cx);
                if poll.is_pending() {
                    self.state = State::Running(future);
                }
                poll
            }
            State::Done => Poll::Pending,
        }
    }
}

impl<T: Send + 'static> Drop for FinishOnDrop<T> {
    fn drop(&mut self) {
        if let State::Running(future) = std::mem::replace(&mut self.state, State::Done) {
            in_background(future, self.limit);
        }
    }
}

impl<T: Send + 'static> fmt::Debug for FinishOnDrop<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FinishOnDrop").field("limit", &self.limit).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
        time::Duration,
    };

    use tokio::sync::oneshot;
    use tokio_test::{assert_pending, assert_ready, task};

    use super::FinishOnDrop;

    const LIMIT: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn a_dropped_future_is_finished_in_the_background() {
        let (go, gone) = oneshot::channel::<()>();
        let (done, finished) = oneshot::channel();
        let mut future = task::spawn(FinishOnDrop::new(
            async move {
                gone.await.unwrap();
                done.send("finished").unwrap();
            },
            LIMIT,
        ));
        assert_pending!(future.poll());

        drop(future);
        go.send(()).unwrap();

        assert_eq!(finished.await.unwrap(), "finished");
    }

    #[tokio::test]
    async fn a_finished_future_is_not_run_again() {
        let runs = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&runs);
        let mut future = task::spawn(FinishOnDrop::new(
            async move {
                count.fetch_add(1, Ordering::SeqCst);
            },
            LIMIT,
        ));
        assert_ready!(future.poll());
        drop(future);
        tokio::task::yield_now().await;

        assert_eq!(runs.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn a_panicked_future_is_not_run_again() {
        let future = FinishOnDrop::new(async { panic!("origin") }, LIMIT);
        let spawned = tokio::runtime::Handle::current().spawn(future);

        assert!(spawned.await.unwrap_err().is_panic());
    }

    #[tokio::test(start_paused = true)]
    async fn the_background_has_a_limit() {
        let (alive, ended) = oneshot::channel::<()>();
        let future = FinishOnDrop::new(
            async move {
                std::future::pending::<()>().await;
                drop(alive);
            },
            LIMIT,
        );
        drop(future);

        // The sender is dropped with the future.
        assert!(ended.await.is_err());
    }

    #[test]
    fn without_a_runtime_the_future_is_dropped() {
        let (alive, mut ended) = oneshot::channel::<()>();
        drop(FinishOnDrop::new(
            async move {
                std::future::pending::<()>().await;
                drop(alive);
            },
            LIMIT,
        ));

        assert_eq!(ended.try_recv(), Err(oneshot::error::TryRecvError::Closed));
    }
}
