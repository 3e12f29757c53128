//! The body of every answer, and the shared body that a leader and its followers read.

mod collect;
mod fill;
mod part;
mod request;

use std::{
    error::Error,
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use self::part::Part;
pub use self::request::RequestContent;
pub(crate) use self::request::{Read, read_content};
pub(crate) use self::{
    collect::{Collected, Replay, collect_ready, concatenate},
    fill::{End, Fill, FillReader, FillState, WeakFill},
};
use crate::stored::StoredBody;

pin_project! {
    /// The body of a response that came through the cache: a stored one, the origin's own, or one that is
    /// being stored while it streams.
    ///
    /// Trailers are kept. A stored body can not fail, and has an exact size if no trailers follow it.
    pub struct CacheBody<B> {
        #[pin]
        kind: Kind<B>,
    }
}

pin_project! {
    #[project = KindProjection]
    enum Kind<B> {
        // The body of a message that has none: a 304, the answer to a HEAD. Without a length, so that no server
        // takes it for an empty one and says so.
        None,
        // Bytes that are here, then trailers.
        Stored { body: StoredBody },
        // The origin's, as it comes.
        Origin { #[pin] body: B },
        // The origin's, of which some was already read, or pieces that are all here.
        Replay { replay: Box<Replay<B>> },
        // One that others read, too.
        Fill { reader: Box<FillReader> },
        // Some bytes out of the middle of another.
        Part { part: Box<Part<B>> },
    }
}

impl<B> CacheBody<B> {
    pub(crate) fn stored(body: StoredBody) -> Self {
        Self { kind: Kind::Stored { body } }
    }

    pub(crate) fn origin(body: B) -> Self {
        Self { kind: Kind::Origin { body } }
    }

    pub(crate) fn replay(replay: Replay<B>) -> Self {
        Self { kind: Kind::Replay { replay: Box::new(replay) } }
    }

    /// These bytes, one after the other, without trailers.
    pub(crate) fn pieces(pieces: Vec<Bytes>) -> Self {
        Self::replay(Replay::whole(pieces))
    }

    pub(crate) fn fill(reader: FillReader) -> Self {
        Self { kind: Kind::Fill { reader: Box::new(reader) } }
    }

    /// The bytes `first..=last` of `body`, as they come.
    pub(crate) fn part(body: Self, first: u64, last: u64) -> Self {
        Self { kind: Kind::Part { part: Box::new(Part::new(body, first, last)) } }
    }

    /// The whole body, if it is here.
    pub(crate) fn bytes(&self) -> Option<&Bytes> {
        match &self.kind {
            Kind::Stored { body } => Some(&body.bytes),
            Kind::None | Kind::Origin { .. } | Kind::Replay { .. } | Kind::Fill { .. } | Kind::Part { .. } => None,
        }
    }

    pub(crate) fn none() -> Self {
        Self { kind: Kind::None }
    }

    pub(crate) fn empty() -> Self {
        Self::stored(StoredBody::default())
    }
}

impl<B> Default for CacheBody<B> {
    fn default() -> Self {
        Self::empty()
    }
}

impl<B> From<Bytes> for CacheBody<B> {
    fn from(bytes: Bytes) -> Self {
        Self::stored(StoredBody { bytes, trailers: None })
    }
}

impl<B> Body for CacheBody<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.project().kind.project() {
            KindProjection::None => Poll::Ready(None),
            KindProjection::Stored { body } => Poll::Ready(next_stored(body).map(Ok)),
            KindProjection::Origin { body } => body.poll_frame(cx).map_err(BodyError::new),
            KindProjection::Replay { replay } => replay.poll_frame(cx),
            KindProjection::Fill { reader } => reader.poll_frame(cx),
            KindProjection::Part { part } => part.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::None => true,
            Kind::Stored { body } => body.bytes.is_empty() && body.trailers.is_none(),
            Kind::Origin { body } => body.is_end_stream(),
            Kind::Replay { replay } => replay.is_end_stream(),
            Kind::Fill { reader } => reader.is_end_stream(),
            Kind::Part { part } => part.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::None => SizeHint::new(),
            Kind::Stored { body } => stored_size(body.bytes.len() as u64, body.trailers.is_some()),
            Kind::Origin { body } => body.size_hint(),
            Kind::Replay { replay } => replay.size_hint(),
            Kind::Fill { reader } => reader.size_hint(),
            Kind::Part { part } => part.size_hint(),
        }
    }
}

/// With trailers the length is not exact: a server that knows it sends `Content-Length`, and HTTP/1.1 has room
/// for trailers only in a chunked message.
fn stored_size(length: u64, has_trailers: bool) -> SizeHint {
    if !has_trailers {
        return SizeHint::with_exact(length);
    }
    let mut hint = SizeHint::new();
    hint.set_lower(length);
    hint
}

fn next_stored(body: &mut StoredBody) -> Option<Frame<Bytes>> {
    if !body.bytes.is_empty() {
        return Some(Frame::data(std::mem::take(&mut body.bytes)));
    }
    body.trailers.take().map(|trailers| Frame::trailers((*trailers).clone()))
}

impl<B> fmt::Debug for CacheBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.kind {
            Kind::None => "None",
            Kind::Stored { .. } => "Stored",
            Kind::Origin { .. } => "Origin",
            Kind::Replay { .. } => "Replay",
            Kind::Fill { .. } => "Fill",
            Kind::Part { .. } => "Part",
        };
        f.debug_tuple("CacheBody").field(&kind).finish()
    }
}

/// The origin's body failed. Every reader of a shared body gets it, so it can be cloned; the cause is its
/// source.
///
/// ```
/// fn log(error: &microcache::BodyError) -> String {
///     std::error::Error::source(error).map_or_else(|| error.to_string(), |cause| cause.to_string())
/// }
/// # let _ = log;
/// ```
#[derive(Clone, Debug)]
pub struct BodyError {
    source: Arc<dyn Error + Send + Sync>,
}

impl BodyError {
    pub(crate) fn new(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { source: source.into().into() }
    }
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the body of the origin's response failed")
    }
}

impl Error for BodyError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.source)
    }
}
