//! A reader that leaves just after something has come for the body that it was reading on.

use std::{
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use bytes::Bytes;
use http::Response;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use microcache::{CacheLayer, MemoryStore};
use tokio_test::{assert_pending, assert_ready, task};
use tower::{Layer, Service, service_fn};

use crate::common::get;

/// What happens elsewhere while the body is polled.
type Meanwhile = Arc<Mutex<Option<Box<dyn FnOnce(&mut Context<'_>) + Send>>>>;

/// Four bytes that are there once something has happened.
struct Late {
    meanwhile: Meanwhile,
    is_here: Arc<Mutex<bool>>,
    is_over: bool,
}

impl Body for Late {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::convert::Infallible>>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        if *self.is_here.lock().unwrap() {
            self.is_over = true;
            return Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"data")))));
        }
        // It has looked, and there was nothing. Now something comes, before this poll returns.
        let meanwhile = self.meanwhile.lock().unwrap().take();
        if let Some(meanwhile) = meanwhile {
            *self.is_here.lock().unwrap() = true;
            cx.waker().wake_by_ref();
            meanwhile(cx);
        }
        Poll::Pending
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(4)
    }
}

#[tokio::test]
async fn a_reader_that_leaves_while_it_is_woken_does_not_take_the_news_with_it() {
    let meanwhile = Meanwhile::default();
    let hook = Arc::clone(&meanwhile);
    let origin = service_fn(move |_| {
        let body = Late { meanwhile: Arc::clone(&hook), is_here: Arc::default(), is_over: false };
        async { Ok::<_, std::convert::Infallible>(Response::new(body)) }
    });
    let mut cache = CacheLayer::new(MemoryStore::with_max_bytes(1 << 20)).layer(origin);
    let mut one = cache.call(get("/")).await.unwrap().into_body();
    let mut other = cache.call(get("/")).await.unwrap().into_body();
    let other = Arc::new(Mutex::new(task::spawn(async move { other.frame().await.unwrap().unwrap() })));
    assert_pending!(other.lock().unwrap().poll());

    // The other reader is woken, and looks: one is just about to look, so it leaves that to it.
    let reader = Arc::clone(&other);
    *meanwhile.lock().unwrap() = Some(Box::new(move |_| {
        assert!(reader.lock().unwrap().is_woken());
        assert_pending!(reader.lock().unwrap().poll());
    }));
    {
        let mut frame = task::spawn(one.frame());
        assert_pending!(frame.poll());
    }
    // And leaves.
    drop(one);
    tokio::task::yield_now().await;

    assert!(other.lock().unwrap().is_woken(), "nobody reads on, and nobody will");
    let frame = assert_ready!(other.lock().unwrap().poll());
    assert_eq!(frame.into_data().unwrap(), "data");
}
