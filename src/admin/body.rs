//! The body of an answer: bytes, or events as they come.

use std::{
    collections::VecDeque,
    convert::Infallible,
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::{
    sync::OwnedSemaphorePermit,
    time::{Interval, MissedTickBehavior, interval},
};

use super::source::Watch;

/// The body of every answer of an [`AdminService`](crate::AdminService).
pub struct AdminBody {
    kind: Kind,
}

enum Kind {
    Whole(Bytes),
    Events(Box<EventStream>),
}

impl AdminBody {
    pub(super) fn whole(bytes: Bytes) -> Self {
        Self { kind: Kind::Whole(bytes) }
    }

    pub(super) fn events(stream: EventStream) -> Self {
        Self { kind: Kind::Events(Box::new(stream)) }
    }
}

impl Body for AdminBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut self.kind {
            Kind::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Kind::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Kind::Events(stream) => stream.poll_next(cx).map(|event| Some(Ok(Frame::data(event)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(&self.kind, Kind::Whole(bytes) if bytes.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Events(_) => SizeHint::default(),
        }
    }
}

impl fmt::Debug for AdminBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminBody").finish_non_exhaustive()
    }
}

/// Server-sent events, without an end: the client leaves, and this is dropped.
///
/// Made one at a time as the client takes them. One that reads slowly gets fewer counters, and of what happened what is
/// still remembered.
pub(super) struct EventStream {
    watch: Box<dyn Watch>,
    second: Interval,
    unsent: VecDeque<Bytes>,
    _permit: OwnedSemaphorePermit,
}

impl EventStream {
    /// What is remembered comes first.
    pub(super) fn new(watch: Box<dyn Watch>, permit: OwnedSemaphorePermit) -> Self {
        let mut second = interval(Duration::from_secs(1));
        second.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { watch, second, unsent: VecDeque::new(), _permit: permit }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Bytes> {
        loop {
            if let Some(event) = self.unsent.pop_front() {
                return Poll::Ready(event);
            }
            // Before what happens, which may never pause.
            if self.second.poll_tick(cx).is_ready() {
                return Poll::Ready(event("stats", &self.watch.stats().to_string()));
            }
            let happened = ready!(self.watch.poll_events(cx));
            self.unsent.extend(happened.iter().map(|what| event("cache", &what.to_string())));
        }
    }
}

/// JSON has no line in it that would end an event.
fn event(name: &str, data: &str) -> Bytes {
    format!("event: {name}\ndata: {data}\n\n").into()
}
