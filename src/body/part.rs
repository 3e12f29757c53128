//! Some bytes out of the middle of a body that is passed on as it comes.

use std::{
    error::Error,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::{BodyError, CacheBody};

/// Skips, then passes on, then lets go of the rest.
pub(super) struct Part<B> {
    body: Option<Pin<Box<CacheBody<B>>>>,
    skip: u64,
    left: u64,
}

impl<B> Part<B> {
    pub(super) fn new(body: CacheBody<B>, first: u64, last: u64) -> Self {
        Self { body: Some(Box::pin(body)), skip: first, left: last.saturating_sub(first).saturating_add(1) }
    }
}

impl<B> Part<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        while let Some(body) = &mut self.body {
            let Some(frame) = ready!(body.as_mut().poll_frame(cx)?) else {
                self.body = None;
                // Less than was promised is never a clean end.
                return Poll::Ready(Some(Err(BodyError::new("the origin sent less than it declared"))));
            };
            // Trailers are of the whole, and a part has none.
            let Ok(chunk) = frame.into_data() else { continue };
            let start = self.skip.min(chunk.len() as u64);
            let end = start.saturating_add(self.left).min(chunk.len() as u64);
            self.skip -= start;
            self.left -= end - start;
            if self.left == 0 {
                self.body = None;
            }
            if start < end {
                // Both are at most the length of the chunk.
                let bounds = usize::try_from(start).unwrap_or(0)..usize::try_from(end).unwrap_or(0);
                return Poll::Ready(Some(Ok(Frame::data(chunk.slice(bounds)))));
            }
        }
        Poll::Ready(None)
    }

    pub(super) fn is_end_stream(&self) -> bool {
        self.body.is_none()
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
