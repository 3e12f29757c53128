//! Reading as much of a body as is there now, up to a limit, without losing a byte of it.

use std::{
    collections::VecDeque,
    error::Error,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use super::BodyError;

/// What came of the first look at a body.
pub(crate) enum Collected<B> {
    /// All of it is here.
    Whole { chunks: Vec<Bytes>, trailers: Option<HeaderMap> },
    /// Some of it; the rest is yet to come.
    Begun { chunks: Vec<Bytes>, rest: Pin<Box<B>> },
    /// It is over the limit, or it failed: to be passed on as it comes.
    Spoilt { replay: Replay<B>, is_failed: bool },
}

/// Reads what is there of `body`, without waiting: until it is pending, ends, fails, or passes `limit` bytes.
pub(crate) fn collect_ready<B>(body: B, limit: u64, cx: &mut Context<'_>) -> Collected<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let mut body = Box::pin(body);
    let (mut chunks, mut bytes) = (Vec::new(), 0_u64);
    for _ in 0..MOST_FRAMES {
        match body.as_mut().poll_frame(cx) {
            Poll::Pending => return Collected::Begun { chunks, rest: body },
            Poll::Ready(None) => return Collected::Whole { chunks, trailers: None },
            Poll::Ready(Some(Err(error))) => {
                let replay = Replay::new(chunks, Rest::Failed(Some(BodyError::new(error))));
                return Collected::Spoilt { replay, is_failed: true };
            }
            Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                Ok(chunk) => {
                    bytes = bytes.saturating_add(chunk.len() as u64);
                    if !chunk.is_empty() {
                        chunks.push(chunk);
                    }
                    if bytes > limit {
                        let replay = Replay::new(chunks, Rest::Body(body));
                        return Collected::Spoilt { replay, is_failed: false };
                    }
                }
                // Nothing follows trailers, so that they need not wait for the end to be told.
                Err(frame) => {
                    if let Ok(trailers) = frame.into_trailers() {
                        return Collected::Whole { chunks, trailers: Some(trailers) };
                    }
                }
            },
        }
    }
    Collected::Begun { chunks, rest: body }
}

/// After so many frames the rest is read as it is asked for, so that a body that is always ready ends this look, too.
const MOST_FRAMES: usize = 256;

/// One `Bytes` of its own: what hyper reads is a slice of its whole read buffer, and would pin it in the store,
/// past every bound.
pub(crate) fn concatenate(chunks: &[Bytes]) -> Bytes {
    let length = chunks.iter().map(Bytes::len).sum();
    let mut whole = BytesMut::with_capacity(length);
    chunks.iter().for_each(|chunk| whole.extend_from_slice(chunk));
    whole.freeze()
}

/// A body of which some was read, or all: that first, then the rest as it comes.
pub(crate) struct Replay<B> {
    ready: VecDeque<Bytes>,
    rest: Rest<B>,
}

pub(crate) enum Rest<B> {
    Body(Pin<Box<B>>),
    Failed(Option<BodyError>),
    Nothing,
}

impl<B> Replay<B> {
    pub(crate) fn new(ready: Vec<Bytes>, rest: Rest<B>) -> Self {
        Self { ready: ready.into(), rest }
    }

    pub(crate) fn failed(ready: Vec<Bytes>, error: BodyError) -> Self {
        Self::new(ready, Rest::Failed(Some(error)))
    }

    pub(crate) fn whole(ready: Vec<Bytes>) -> Self {
        Self::new(ready, Rest::Nothing)
    }
}

impl<B> Replay<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(chunk) = self.ready.pop_front() {
            return Poll::Ready(Some(Ok(Frame::data(chunk))));
        }
        match &mut self.rest {
            Rest::Body(body) => body.as_mut().poll_frame(cx).map_err(BodyError::new),
            Rest::Failed(error) => Poll::Ready(error.take().map(Err)),
            Rest::Nothing => Poll::Ready(None),
        }
    }

    pub(super) fn is_end_stream(&self) -> bool {
        self.ready.is_empty()
            && match &self.rest {
                Rest::Body(body) => body.is_end_stream(),
                Rest::Failed(error) => error.is_none(),
                Rest::Nothing => true,
            }
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        let ready: u64 = self.ready.iter().map(|chunk| chunk.len() as u64).sum();
        match &self.rest {
            Rest::Nothing => SizeHint::with_exact(ready),
            // How much would have come is not known.
            Rest::Failed(_) => {
                let mut hint = SizeHint::new();
                hint.set_lower(ready);
                hint
            }
            Rest::Body(body) => {
                let rest = body.size_hint();
                let mut hint = SizeHint::new();
                hint.set_lower(rest.lower().saturating_add(ready));
                if let Some(upper) = rest.upper().and_then(|upper| upper.checked_add(ready)) {
                    hint.set_upper(upper);
                }
                hint
            }
        }
    }
}
