//! The bodies of the origin: in pieces, late, broken off, too short, or in panic.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::Ordering::{Relaxed, SeqCst},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderMap, Method};
use http_body::{Body, Frame, SizeHint};
use tokio::time::Sleep;

use crate::{
    history::{History, Record, Ticks},
    leaks::Leak,
    origin::Failed,
    world::Dice,
};

/// A body on its way to the cache.
#[derive(Debug)]
pub(crate) struct Made {
    record: Arc<Record>,
    ticks: Ticks,
    left: Bytes,
    chunk: usize,
    /// How often it has nothing to give, between two chunks at most.
    pauses: u64,
    pause: u64,
    sleep: Option<Pin<Box<Sleep>>>,
    end: End,
    /// The length that the head says.
    promised: Option<u64>,
    knows_its_length: bool,
    trailers: Option<HeaderMap>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Whole,
    /// Ends as if that were all.
    Short,
    Breaks,
    Panics,
}

impl Made {
    /// A body with these bytes, or the beginning of them. Keeps the record before anybody can have it.
    pub(crate) fn draw(
        bytes: Bytes,
        mut record: Record,
        dice: &mut Dice,
        history: &History,
        leak: Option<Leak>,
    ) -> (Self, Arc<Record>) {
        let (mut left, mut end) = (bytes, End::Whole);
        let has_content = !left.is_empty();
        let length = left.len() as u64;
        if has_content {
            end = match dice.roll(96) {
                0..4 => End::Breaks,
                4 => End::Panics,
                5..7 => End::Short,
                _ => End::Whole,
            };
        }
        // Who sends too little has promised all.
        let promises = has_content && (end == End::Short || dice.one_in(2));
        if end != End::Whole {
            record.is_broken = true;
            left.truncate(usize::try_from(dice.roll(length)).unwrap());
        }
        let is_cut = leak == Some(Leak::TruncatedBodies) && end == End::Whole && !promises;
        if is_cut {
            left.truncate(left.len() / 2);
        }
        let trailers = (has_content && record.part.is_none() && dice.one_in(8)).then(|| {
            let mut trailers = HeaderMap::new();
            trailers.insert("x-trailer", record.number.into());
            trailers
        });
        record.has_trailers = trailers.is_some();
        let is_slow = dice.one_in(3);
        let made = Self {
            ticks: history.ticks.clone(),
            chunk: left.len() / usize::try_from(1 + dice.roll(4)).unwrap() + 1,
            pauses: if is_slow { 1 + dice.roll(3) } else { 0 },
            pause: 0,
            sleep: dice.one_in(400).then(|| Box::pin(tokio::time::sleep(Duration::from_millis(1 + dice.roll(12))))),
            promised: promises.then_some(length),
            knows_its_length: end == End::Whole && !is_cut && trailers.is_none() && dice.one_in(2),
            record: history.keep(record),
            left,
            end,
            trailers,
        };
        let record = Arc::clone(&made.record);
        (made, record)
    }

    /// The length that the head says, where it says it.
    pub(crate) fn promised(&self) -> Option<u64> {
        self.promised
    }

    /// The cache has read its clock for this response by now.
    fn arrive(&self) {
        if self.record.arrived.load(Relaxed) == 0 {
            let now = self.ticks.tick();
            let _ = self.record.arrived.compare_exchange(0, now, SeqCst, SeqCst);
        }
    }

    fn is_late(&mut self, cx: &mut Context<'_>) -> bool {
        if let Some(sleep) = &mut self.sleep {
            if sleep.as_mut().poll(cx).is_pending() {
                return true;
            }
            self.sleep = None;
        }
        if self.pause == 0 {
            return false;
        }
        self.pause -= 1;
        cx.waker().wake_by_ref();
        true
    }
}

impl Body for Made {
    type Data = Bytes;
    type Error = Failed;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Failed>>> {
        self.arrive();
        if self.is_late(cx) {
            return Poll::Pending;
        }
        self.pause = self.pauses;
        let length = self.chunk.min(self.left.len());
        let chunk = self.left.split_to(length);
        if !chunk.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(chunk))));
        }
        match self.end {
            End::Whole => Poll::Ready(self.trailers.take().map(|trailers| Ok(Frame::trailers(trailers)))),
            End::Short => Poll::Ready(None),
            End::Breaks => Poll::Ready(Some(Err(Failed))),
            End::Panics => std::panic::panic_any(crate::run::Expected),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty() && self.end == End::Whole && self.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let is_content = self.record.saw.method != Method::HEAD && self.record.status != 304;
        if self.knows_its_length && is_content { SizeHint::with_exact(self.left.len() as u64) } else { SizeHint::new() }
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        self.arrive();
        let _ = self.record.ended_at.set(Instant::now());
    }
}
