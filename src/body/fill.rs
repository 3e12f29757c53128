//! The shared, growing body that a leader and its followers read, each at its own pace.
//!
//! The pump is the only reader of the origin's body. It is a future that every reader helps along: whoever
//! wants more than is there polls it, so a client that reads slowly slows nobody else, and when nobody reads
//! any more it is finished in the background.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use http_body::{Body, Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;

use super::{BodyError, stored_size};
use crate::{collapse::in_background, stored::StoredBody};

/// Reads the origin's body into a [`FillState`], stores the result, and says how it ended.
pub(crate) type Pump = BoxFuture<'static, ()>;

/// What has come so far.
pub(crate) struct FillState {
    so_far: Mutex<SoFar>,
    declared: Option<u64>,
}

struct SoFar {
    chunks: Vec<Bytes>,
    end: End,
    /// The origin's body past the limit, for the one reader that goes on with it.
    rest: Option<UnsyncBoxBody<Bytes, BodyError>>,
    readers: usize,
    is_pumped: bool,
    /// By reader: each waits at one place.
    waiting: HashMap<u64, Waker>,
    last_reader: u64,
}

/// How the body ended.
#[derive(Clone, Debug)]
pub(crate) enum End {
    /// Not yet.
    Filling,
    /// All of it came.
    Whole(StoredBody),
    /// It broke off.
    Failed(BodyError),
    /// It is larger than may be stored.
    Overflow,
}

impl FillState {
    /// `declared`: the length that the origin promised.
    pub(crate) fn new(chunks: Vec<Bytes>, declared: Option<u64>) -> Arc<Self> {
        let (end, rest, waiting) = (End::Filling, None, HashMap::new());
        let so_far = SoFar { chunks, end, rest, readers: 0, is_pumped: false, waiting, last_reader: 0 };
        Arc::new(Self { so_far: Mutex::new(so_far), declared })
    }

    pub(crate) fn push(&self, chunk: Bytes) {
        if chunk.is_empty() {
            return;
        }
        self.change(|so_far| so_far.chunks.push(chunk));
    }

    pub(crate) fn end(&self, end: End) {
        self.change(|so_far| so_far.end = end);
    }

    pub(crate) fn overflow(&self, rest: UnsyncBoxBody<Bytes, BodyError>) {
        self.change(|so_far| {
            so_far.end = End::Overflow;
            so_far.rest = Some(rest);
        });
    }

    pub(crate) fn chunks(&self) -> Vec<Bytes> {
        self.lock().chunks.clone()
    }

    fn change(&self, change: impl FnOnce(&mut SoFar)) {
        let mut so_far = self.lock();
        change(&mut so_far);
        let waiting = std::mem::take(&mut so_far.waiting);
        // A waker may run anything, this state included.
        drop(so_far);
        waiting.into_values().for_each(Waker::wake);
    }

    fn lock(&self) -> MutexGuard<'_, SoFar> {
        self.so_far.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A fill under way.
struct Filling {
    state: Arc<FillState>,
    pump: Shared<Pump>,
    finish_limit: Duration,
    /// How often a reader has looked whether the pump goes on.
    looks: AtomicU64,
}

/// Starts fills and hands out readers.
pub(crate) struct Fill;

impl Fill {
    /// Begins a fill and gives its first reader. Without readers the pump runs on for `finish_limit`.
    pub(crate) fn begin(state: Arc<FillState>, pump: Pump, finish_limit: Duration) -> FillReader {
        let watched = Arc::clone(&state);
        let pump = async move {
            // However the pump stops, by a panic in the origin's body too, readers learn of it.
            let _ = std::panic::AssertUnwindSafe(pump).catch_unwind().await;
            watched.change(|so_far| {
                so_far.is_pumped = true;
                if matches!(so_far.end, End::Filling) {
                    so_far.end = End::Failed(BodyError::new("the origin's body was not read to its end"));
                }
            });
        };
        FillReader::new(Arc::new(Filling {
            state,
            pump: pump.boxed().shared(),
            finish_limit,
            looks: AtomicU64::new(0),
        }))
    }
}

/// Finds a fill as long as somebody reads it or finishes it.
#[derive(Clone)]
pub(crate) struct WeakFill(Weak<Filling>);

impl WeakFill {
    pub(crate) fn reader(&self) -> Option<FillReader> {
        self.0.upgrade().map(FillReader::new)
    }
}

/// Reads a fill from its beginning.
pub(crate) struct FillReader {
    filling: Arc<Filling>,
    number: u64,
    pump: Option<Shared<Pump>>,
    next: usize,
    rest: Option<UnsyncBoxBody<Bytes, BodyError>>,
    is_done: bool,
}

impl FillReader {
    fn new(filling: Arc<Filling>) -> Self {
        let mut so_far = filling.state.lock();
        so_far.readers += 1;
        so_far.last_reader += 1;
        let number = so_far.last_reader;
        drop(so_far);
        let pump = Some(filling.pump.clone());
        Self { filling, number, pump, next: 0, rest: None, is_done: false }
    }

    pub(crate) fn downgrade(&self) -> WeakFill {
        WeakFill(Arc::downgrade(&self.filling))
    }

    /// Waits for the end, helping the pump along, and reads nothing.
    pub(crate) async fn ended(&mut self) -> End {
        std::future::poll_fn(|cx| {
            for _ in 0..2 {
                let mut so_far = self.filling.state.lock();
                if !matches!(so_far.end, End::Filling) {
                    return Poll::Ready(so_far.end.clone());
                }
                so_far.waiting.insert(self.number, cx.waker().clone());
                drop(so_far);
                self.help(cx);
            }
            Poll::Pending
        })
        .await
    }

    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Poll::Ready(frame) = self.poll_next(cx) {
            return Poll::Ready(frame);
        }
        self.help(cx);
        self.poll_next(cx)
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(rest) = &mut self.rest {
            return Pin::new(rest).poll_frame(cx);
        }
        let mut so_far = self.filling.state.lock();
        if let Some(chunk) = so_far.chunks.get(self.next) {
            self.next += 1;
            return Poll::Ready(Some(Ok(Frame::data(chunk.clone()))));
        }
        if self.is_done {
            return Poll::Ready(None);
        }
        match &so_far.end {
            End::Filling => {
                so_far.waiting.insert(self.number, cx.waker().clone());
                return Poll::Pending;
            }
            End::Whole(body) => {
                self.is_done = true;
                let trailers = body.trailers.as_ref().map(|fields| Frame::trailers((**fields).clone()));
                return Poll::Ready(trailers.map(Ok));
            }
            End::Failed(error) => {
                self.is_done = true;
                return Poll::Ready(Some(Err(error.clone())));
            }
            End::Overflow => self.rest = so_far.rest.take(),
        }
        drop(so_far);
        match &mut self.rest {
            Some(rest) => Pin::new(rest).poll_frame(cx),
            None => {
                // Another reader went on with it: this one can not be given the rest.
                self.is_done = true;
                Poll::Ready(Some(Err(BodyError::new("the origin's body is larger than it declared"))))
            }
        }
    }

    fn help(&mut self, cx: &mut Context<'_>) {
        let Some(pump) = &mut self.pump else { return };
        let look = self.filling.looks.fetch_add(1, SeqCst) + 1;
        if Pin::new(pump).poll(cx).is_ready() {
            self.pump = None;
        } else if self.filling.looks.load(SeqCst) != look {
            // Somebody else has looked meanwhile, and left it to this one, which may be gone before it looks again.
            self.filling.state.change(|_| {});
        }
    }

    pub(super) fn is_end_stream(&self) -> bool {
        if let Some(rest) = &self.rest {
            return rest.is_end_stream();
        }
        let so_far = self.filling.state.lock();
        let is_read = self.next >= so_far.chunks.len();
        is_read && (self.is_done || matches!(&so_far.end, End::Whole(body) if body.trailers.is_none()))
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        if let Some(rest) = &self.rest {
            return rest.size_hint();
        }
        let so_far = self.filling.state.lock();
        let length = |chunks: &[Bytes]| chunks.iter().map(|chunk| chunk.len() as u64).sum::<u64>();
        let read = length(so_far.chunks.get(..self.next).unwrap_or_default());
        match (&so_far.end, self.filling.state.declared) {
            (End::Whole(body), _) => stored_size(length(&so_far.chunks).saturating_sub(read), body.trailers.is_some()),
            (End::Filling, Some(declared)) => SizeHint::with_exact(declared.saturating_sub(read)),
            _ => SizeHint::new(),
        }
    }
}

impl Drop for FillReader {
    fn drop(&mut self) {
        let mut so_far = self.filling.state.lock();
        so_far.readers = so_far.readers.saturating_sub(1);
        so_far.waiting.remove(&self.number);
        let is_orphan = so_far.readers == 0 && !so_far.is_pumped;
        drop(so_far);
        if is_orphan {
            let filling = Arc::clone(&self.filling);
            in_background(async move { filling.pump.clone().await }, self.filling.finish_limit);
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use tokio::sync::mpsc;
    use tokio_test::{assert_pending, assert_ready, task};

    use super::*;
    use crate::body::CacheBody;

    type Chunks = mpsc::UnboundedSender<Option<&'static str>>;

    /// A fill whose pump passes on what is sent; `None` ends it whole, closing the channel breaks it off.
    fn fill() -> (Chunks, Arc<FillState>, FillReader) {
        let (send, mut receive) = mpsc::unbounded_channel::<Option<&'static str>>();
        let state = FillState::new(Vec::new(), None);
        let pumped = Arc::clone(&state);
        let pump = async move {
            while let Some(chunk) = receive.recv().await {
                match chunk {
                    Some(chunk) => pumped.push(Bytes::from_static(chunk.as_bytes())),
                    None => return pumped.end(End::Whole(StoredBody::default())),
                }
            }
        };
        let reader = Fill::begin(Arc::clone(&state), pump.boxed(), Duration::from_secs(30));
        (send, state, reader)
    }

    fn body(reader: FillReader) -> CacheBody<http_body_util::Empty<Bytes>> {
        CacheBody::fill(reader)
    }

    async fn text(reader: FillReader) -> Result<Bytes, BodyError> {
        body(reader).collect().await.map(http_body_util::Collected::to_bytes)
    }

    #[tokio::test]
    async fn a_slow_reader_slows_nobody() {
        let (origin, _, slow) = fill();
        let fast = slow.downgrade().reader().unwrap();
        origin.send(Some("a")).unwrap();
        origin.send(Some("b")).unwrap();
        origin.send(None).unwrap();

        assert_eq!(text(fast).await.unwrap(), "ab");
        assert_eq!(text(slow).await.unwrap(), "ab");
    }

    #[tokio::test]
    async fn a_chunk_that_one_reader_pumps_wakes_the_other() {
        let (origin, _, one) = fill();
        let other = one.downgrade().reader().unwrap();
        let (mut one, mut other) = (body(one), body(other));
        let mut one = task::spawn(one.frame());
        let mut other = task::spawn(other.frame());
        assert_pending!(one.poll());
        assert_pending!(other.poll());

        origin.send(Some("a")).unwrap();
        assert!(assert_ready!(one.poll()).is_some());

        assert!(other.is_woken());
        assert!(assert_ready!(other.poll()).is_some());
    }

    #[tokio::test]
    async fn a_reader_that_looks_while_another_pumps_does_not_miss_what_is_pumped() {
        let looker: Arc<Mutex<Option<task::Spawn<FillReader>>>> = Arc::default();
        let (state, others) = (FillState::new(Vec::new(), None), Arc::clone(&looker));
        let pumped = Arc::clone(&state);
        // As if on another thread: it looks when the pump is being polled, and before it has pushed anything.
        let pump = std::future::poll_fn(move |_| {
            if let Some(looker) = others.lock().unwrap().as_mut() {
                assert!(looker.enter(|cx, mut reader| reader.poll_frame(cx)).is_pending());
                pumped.push(Bytes::from_static(b"a"));
            }
            Poll::Pending
        });
        let pumping = Fill::begin(state, pump.boxed(), Duration::from_secs(30));
        *looker.lock().unwrap() = Some(task::spawn(pumping.downgrade().reader().unwrap()));
        let mut pumping = task::spawn(pumping);
        assert!(pumping.enter(|cx, mut reader| reader.poll_frame(cx)).is_ready());

        let mut looker = looker.lock().unwrap().take().unwrap();
        assert!(looker.is_woken());
        assert!(looker.enter(|cx, mut reader| reader.poll_frame(cx)).is_ready());
    }

    #[tokio::test]
    async fn a_fill_that_nobody_reads_is_finished_in_the_background() {
        let (origin, state, reader) = fill();
        origin.send(Some("a")).unwrap();
        drop(reader);
        origin.send(None).unwrap();
        tokio::task::yield_now().await;
        tokio::task::yield_now().await;

        assert!(matches!(state.lock().end, End::Whole(_)));
    }

    #[tokio::test]
    async fn a_pump_that_stops_early_gives_every_reader_an_error() {
        let (origin, _, one) = fill();
        let other = one.downgrade().reader().unwrap();
        origin.send(Some("half")).unwrap();
        drop(origin);

        assert!(text(one).await.is_err());
        assert!(text(other).await.is_err());
    }

    #[tokio::test]
    async fn a_pump_that_panics_gives_every_reader_an_error() {
        let state = FillState::new(vec![Bytes::from_static(b"half")], Some(8));
        let one = Fill::begin(state, async { panic!("origin") }.boxed(), Duration::from_secs(30));
        let other = one.downgrade().reader().unwrap();

        assert!(text(one).await.is_err());
        assert!(text(other).await.is_err());
    }

    #[tokio::test]
    async fn a_fill_that_is_over_can_not_be_joined_once_its_readers_left() {
        let (origin, _, reader) = fill();
        origin.send(None).unwrap();
        let weak = reader.downgrade();
        assert_eq!(text(reader).await.unwrap(), "");

        assert!(weak.reader().is_none());
    }

    #[tokio::test]
    async fn waiting_for_the_end_helps_it_along() {
        let (origin, _, mut reader) = fill();
        origin.send(Some("a")).unwrap();
        origin.send(None).unwrap();

        assert!(matches!(reader.ended().await, End::Whole(_)));
    }
}
