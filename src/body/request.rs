//! The content of a request: read up to a bound before the origin sees it, then replayed.

use std::{
    collections::VecDeque,
    error::Error,
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, combinators::UnsyncBoxBody};

use super::stored_size;

/// The body of a request that the cache has read, in whole or in part, as the origin gets it.
///
/// Its bytes, trailers and errors are those that the client sent. Its size is exact where that of the client's was.
pub struct RequestContent {
    ready: VecDeque<Bytes>,
    rest: Rest,
}

type BoxError = Box<dyn Error + Send + Sync>;

/// What comes after the bytes that were read.
enum Rest {
    /// The end, perhaps with trailers.
    Ended(Option<HeaderMap>),
    /// The client's error, then nothing.
    Failed(Option<BoxError>),
    /// The client's body, as it comes.
    Body(UnsyncBoxBody<Bytes, BoxError>),
}

/// What came of reading a request's body.
#[derive(Debug)]
pub(crate) enum Read {
    /// All of it.
    Whole { bytes: Bytes, trailers: Option<HeaderMap> },
    /// It is over the limit: nothing of it is lost.
    Over(RequestContent),
    /// It failed: what came before, then the same error.
    Failed(RequestContent),
}

/// Reads a body until it ends, fails, or passes `limit` bytes. One that declares more is not read at all.
///
/// What was read is one `Bytes` of its own, so that a body in many small chunks takes no more than the limit.
pub(crate) async fn read_content<B>(body: B, limit: usize) -> Read
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let mut body = body.map_err(Into::into).boxed_unsync();
    if body.size_hint().lower() > limit as u64 {
        return Read::Over(RequestContent::new([], Rest::Body(body)));
    }
    let mut read = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = match frame {
            Ok(frame) => frame,
            Err(error) => return Read::Failed(RequestContent::new([read.freeze()], Rest::Failed(Some(error)))),
        };
        match frame.into_data() {
            Ok(chunk) if chunk.len() > limit.saturating_sub(read.len()) => {
                return Read::Over(RequestContent::new([read.freeze(), chunk], Rest::Body(body)));
            }
            Ok(chunk) => read.extend_from_slice(&chunk),
            // Nothing follows trailers (RFC 9110 §6.5), so that they need not wait for the end to be told.
            Err(frame) => {
                if let Ok(trailers) = frame.into_trailers() {
                    return Read::Whole { bytes: read.freeze(), trailers: Some(trailers) };
                }
            }
        }
    }
    Read::Whole { bytes: read.freeze(), trailers: None }
}

impl RequestContent {
    /// All that was read. It can be made again from the same bytes, for each forward.
    pub(crate) fn whole(bytes: Bytes, trailers: Option<HeaderMap>) -> Self {
        Self::new([bytes], Rest::Ended(trailers))
    }

    fn new(ready: impl IntoIterator<Item = Bytes>, rest: Rest) -> Self {
        Self { ready: ready.into_iter().filter(|chunk| !chunk.is_empty()).collect(), rest }
    }
}

impl Body for RequestContent {
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Some(chunk) = self.ready.pop_front() {
            return Poll::Ready(Some(Ok(Frame::data(chunk))));
        }
        match &mut self.rest {
            Rest::Ended(trailers) => Poll::Ready(trailers.take().map(|trailers| Ok(Frame::trailers(trailers)))),
            Rest::Failed(error) => Poll::Ready(error.take().map(Err)),
            Rest::Body(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ready.is_empty()
            && match &self.rest {
                Rest::Ended(trailers) => trailers.is_none(),
                Rest::Failed(error) => error.is_none(),
                Rest::Body(body) => body.is_end_stream(),
            }
    }

    fn size_hint(&self) -> SizeHint {
        let ready = self.ready.iter().map(|chunk| chunk.len() as u64).sum();
        let rest = match &self.rest {
            Rest::Ended(trailers) => return stored_size(ready, trailers.is_some()),
            // How much would have come is not known.
            Rest::Failed(_) => SizeHint::new(),
            Rest::Body(body) => body.size_hint(),
        };
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower().saturating_add(ready));
        if let Some(upper) = rest.upper().and_then(|upper| upper.checked_add(ready)) {
            hint.set_upper(upper);
        }
        hint
    }
}

impl fmt::Debug for RequestContent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestContent").field("size_hint", &self.size_hint()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, sync::Arc};

    use futures_util::stream;
    use http::HeaderValue;
    use http_body_util::{Empty, Full, StreamBody};
    use proptest::prelude::*;
    use tokio_test::{assert_pending, task};

    use super::*;

    type Sent = Result<Frame<Bytes>, &'static str>;

    fn data(chunk: &'static str) -> Sent {
        Ok(Frame::data(Bytes::from_static(chunk.as_bytes())))
    }

    fn some_trailers() -> HeaderMap {
        HeaderMap::from_iter([(http::header::ETAG, HeaderValue::from_static("\"a\""))])
    }

    fn client(frames: Vec<Sent>) -> impl Body<Data = Bytes, Error = &'static str> + Send + 'static {
        StreamBody::new(stream::iter(frames))
    }

    /// Each data frame as text, trailers and errors by name, then what is left after the end.
    async fn replayed(mut content: RequestContent) -> Vec<String> {
        let mut seen = Vec::new();
        while let Some(frame) = content.frame().await {
            seen.push(match frame.map(Frame::into_data) {
                Ok(Ok(chunk)) => String::from_utf8(chunk.to_vec()).unwrap(),
                Ok(Err(frame)) => format!("trailers of {}", frame.into_trailers().unwrap().len()),
                Err(error) => format!("error: {error}"),
            });
        }
        assert!(content.frame().await.is_none());
        seen
    }

    #[tokio::test]
    async fn a_body_within_the_limit_is_read_whole() {
        let table: [(&[&'static str], usize, &str); 6] = [
            (&[], 0, ""),
            (&["", ""], 0, ""),
            (&["abc"], 3, "abc"),
            (&["a", "", "bc"], 3, "abc"),
            (&["ab", "c"], 4, "abc"),
            (&["ab", "c"], usize::MAX, "abc"),
        ];
        for (chunks, limit, expected) in table {
            let read = read_content(client(chunks.iter().map(|chunk| data(chunk)).collect()), limit).await;

            let Read::Whole { bytes, trailers: None } = read else { panic!("{chunks:?}") };
            assert_eq!(bytes, expected, "{chunks:?}");
        }
    }

    #[tokio::test]
    async fn a_body_over_the_limit_is_passed_on_byte_by_byte() {
        let table: [(&[&'static str], usize, &[&str]); 4] = [
            (&["a"], 0, &["a"]),
            (&["abcd", "ef"], 3, &["abcd", "ef"]),
            (&["ab", "c", "d", "", "ef"], 3, &["abc", "d", "", "ef"]),
            (&["ab", "", "cdef"], 3, &["ab", "cdef"]),
        ];
        for (chunks, limit, expected) in table {
            let frames = chunks.iter().map(|chunk| data(chunk)).chain([Ok(Frame::trailers(some_trailers()))]);
            let read = read_content(client(frames.collect()), limit).await;

            let Read::Over(content) = read else { panic!("{chunks:?}") };
            assert_eq!(replayed(content).await, [expected, &["trailers of 1"]].concat(), "{chunks:?}");
        }
    }

    #[tokio::test]
    async fn a_body_that_declares_more_than_the_limit_is_not_read() {
        struct Unread;
        impl Body for Unread {
            type Data = Bytes;
            type Error = Infallible;

            fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
                panic!("it was read")
            }

            fn size_hint(&self) -> SizeHint {
                SizeHint::with_exact(4)
            }
        }

        let Read::Over(content) = read_content(Unread, 3).await else { panic!("it is over the limit") };

        assert_eq!(content.size_hint().exact(), Some(4));
        assert!(!content.is_end_stream());
    }

    #[tokio::test]
    async fn a_body_that_fails_gives_what_came_and_then_the_same_error() {
        let read = read_content(client(vec![data("a"), data("b"), Err("reset"), data("c")]), 9).await;

        let Read::Failed(content) = read else { panic!("it failed") };
        assert_eq!((content.size_hint().lower(), content.size_hint().upper()), (2, None));
        assert!(!content.is_end_stream());
        assert_eq!(replayed(content).await, ["ab", "error: reset"]);
    }

    #[tokio::test]
    async fn a_body_that_fails_over_the_limit_fails_the_origin_too() {
        let read = read_content(client(vec![data("ab"), data("c"), Err("reset")]), 2).await;

        let Read::Over(content) = read else { panic!("it is over the limit") };
        assert_eq!(replayed(content).await, ["ab", "c", "error: reset"]);
    }

    #[tokio::test]
    async fn trailers_are_kept_and_leave_the_size_open() {
        let read = read_content(client(vec![data("a"), data("b"), Ok(Frame::trailers(some_trailers()))]), 9).await;

        let Read::Whole { bytes, trailers } = read else { panic!("it is within the limit") };
        assert_eq!(trailers, Some(some_trailers()));
        for _ in 0..2 {
            let content = RequestContent::whole(bytes.clone(), trailers.clone());
            assert_eq!((content.size_hint().lower(), content.size_hint().upper()), (2, None));
            assert_eq!(replayed(content).await, ["ab", "trailers of 1"]);
        }
    }

    #[tokio::test]
    async fn trailers_after_no_content_are_not_the_end() {
        let mut content = RequestContent::whole(Bytes::new(), Some(some_trailers()));
        assert!(!content.is_end_stream());

        assert!(content.frame().await.unwrap().unwrap().is_trailers());
        assert!(content.is_end_stream());
        assert_eq!(content.size_hint().exact(), Some(0));
    }

    #[tokio::test]
    async fn content_without_trailers_has_an_exact_size_and_a_known_end() {
        let mut content = RequestContent::whole(Bytes::from_static(b"ab"), None);
        assert_eq!(content.size_hint().exact(), Some(2));
        assert!(!content.is_end_stream());

        assert_eq!(content.frame().await.unwrap().unwrap().into_data().unwrap(), "ab");
        assert_eq!(content.size_hint().exact(), Some(0));
        assert!(content.is_end_stream());

        let empty = RequestContent::whole(Bytes::new(), None);
        assert!(empty.is_end_stream());
        assert_eq!(empty.size_hint().exact(), Some(0));
        assert!(matches!(read_content(Empty::new(), 0).await, Read::Whole { bytes, .. } if bytes.is_empty()));
    }

    #[tokio::test]
    async fn a_declared_size_stays_exact_when_a_part_was_read() {
        let rest = Full::new(Bytes::from_static(b"cd")).map_err(Into::into).boxed_unsync();
        let mut content = RequestContent::new([Bytes::from_static(b"ab")], Rest::Body(rest));
        assert_eq!(content.size_hint().exact(), Some(4));

        content.frame().await.unwrap().unwrap();
        assert_eq!(content.size_hint().exact(), Some(2));
        content.frame().await.unwrap().unwrap();
        assert!(content.is_end_stream());
    }

    #[test]
    fn dropping_the_reading_drops_the_body() {
        let held = Arc::new(());
        let guard = Arc::clone(&held);
        let frames = stream::poll_fn(move |_| {
            let _guard = &guard;
            Poll::<Option<Sent>>::Pending
        });
        let mut reading = task::spawn(read_content(StreamBody::new(frames), 9));
        assert_pending!(reading.poll());
        assert_eq!(Arc::strong_count(&held), 2);

        drop(reading);
        assert_eq!(Arc::strong_count(&held), 1);
    }

    #[test]
    fn content_and_its_reading_may_change_threads() {
        fn is_send(_: &impl Send) {}

        let reading = read_content(Empty::new(), 0);
        is_send(&reading);
        is_send(&RequestContent::whole(Bytes::new(), None));
    }

    proptest! {
        #[test]
        fn no_byte_is_lost_and_none_is_added(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..9), 0..9),
            limit in 0..40_usize,
            fails: bool,
        ) {
            let all = chunks.concat();
            let frames = chunks.into_iter().map(|chunk| Ok(Frame::data(Bytes::from(chunk))));
            let body = client(frames.chain(fails.then_some(Err("reset"))).collect());
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();

            let (mut content, was_over) = match runtime.block_on(read_content(body, limit)) {
                Read::Whole { bytes, trailers } => (RequestContent::whole(bytes, trailers), false),
                Read::Failed(content) => (content, false),
                Read::Over(content) => (content, true),
            };
            prop_assert_eq!(was_over, all.len() > limit);
            let mut seen = Vec::new();
            let failed = loop {
                match runtime.block_on(content.frame()) {
                    None => break false,
                    Some(Err(error)) => break error.to_string() == "reset",
                    Some(Ok(frame)) => seen.extend_from_slice(&frame.into_data().unwrap()),
                }
            };
            prop_assert_eq!(seen, all);
            prop_assert_eq!(failed, fails);
        }
    }
}
