//! The request that is asked, the response that is answered, and a service that answers it at once.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    hint::black_box,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use http_body_util::Full;
use tower::Service;

pub type Ask = Request<Full<Bytes>>;
pub type Reply = Response<Full<Bytes>>;

/// A request with six fields and a query of four parameters, as a browser sends it.
pub fn request(method: &str, uri: &str) -> Ask {
    Request::builder()
        .method(method)
        .uri(uri)
        .header("host", "shop.example.com")
        .header("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0")
        .header("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8")
        .header("accept-encoding", "gzip, deflate, br, zstd")
        .header("accept-language", "en-GB,en;q=0.5")
        .header("x-request-id", "7f3c1f0e-6f3a-4a8e-9a1e-1b2c3d4e5f60")
        .body(Full::default())
        .unwrap()
}

pub fn get() -> Ask {
    request("GET", URI)
}

/// A response with twelve fields.
pub fn reply(body: Bytes) -> Reply {
    varied_reply(body, "public, max-age=60", "")
}

pub fn varied_reply(body: Bytes, cache_control: &'static str, vary: &'static str) -> Reply {
    Response::builder()
        .header("content-type", "application/json; charset=utf-8")
        .header("content-length", body.len())
        .header("cache-control", cache_control)
        .header("date", httpdate::fmt_http_date(std::time::SystemTime::now()))
        .header("etag", "\"33a64df551425fcc55e4d42a148795d9f25f89d4\"")
        .header("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT")
        .header("vary", vary)
        .header("server", "shop/1.0")
        .header("x-content-type-options", "nosniff")
        .header("strict-transport-security", "max-age=63072000; includeSubDomains")
        .header("content-security-policy", "default-src 'self'")
        .header("x-request-id", "7f3c1f0e-6f3a-4a8e-9a1e-1b2c3d4e5f60")
        .body(Full::new(body))
        .unwrap()
}

/// Answers each request with a clone of one response: what any service that has its answer ready must pay.
#[derive(Clone)]
pub struct Prepared {
    reply: Arc<Reply>,
}

impl Prepared {
    pub fn new(reply: Reply) -> Self {
        Self { reply: Arc::new(reply) }
    }
}

impl Service<Ask> for Prepared {
    type Response = Reply;
    type Error = Infallible;
    type Future = Ready<Result<Reply, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Ask) -> Self::Future {
        ready(Ok((*self.reply).clone()))
    }
}

/// Calls the service, polls it once, reads the body to its end, and drops it all.
pub fn exchange<S, Q, B>(service: &mut S, request: Q)
where
    S: Service<Q, Response = Response<B>>,
    B: Body<Data = Bytes>,
{
    black_box(consume(answered(service, request)));
}

/// The answer of a service that has it at the first poll.
pub fn answered<S: Service<Q>, Q>(service: &mut S, request: Q) -> S::Response {
    at_once(service.call(request)).unwrap_or_else(|_| panic!("the service failed"))
}

/// What a future that need not wait brings.
pub fn at_once<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("nothing to wait for, yet it waits"),
    }
}

fn consume<B: Body<Data = Bytes>>(response: Response<B>) -> usize {
    let (head, body) = response.into_parts();
    black_box(head);
    let (mut body, mut length) = (pin!(body), 0);
    while let Poll::Ready(Some(frame)) = body.as_mut().poll_frame(&mut Context::from_waker(Waker::noop())) {
        length += frame.ok().and_then(|frame| frame.into_data().ok()).map_or(0, |data| data.len());
    }
    length
}

pub const URI: &str = "/api/v1/products/search?category=books&page=3&per_page=50&sort=price_asc";
