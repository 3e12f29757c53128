//! Builders for the tests of the cache as a service: a request, a reply, a cache over an origin that the test
//! holds in its hands. No assertions in here.

pub(crate) mod late;

use std::{
    collections::VecDeque,
    fmt,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Empty};
use microcache::{
    BodyError, Cache, CacheBody, CacheKey, CacheLayer, CacheStatus, Fence, Lease, ManualClock, MemoryStore, Peek,
    Policy, Put, Reach, Store, StoreError, Stored,
};
use tokio::sync::Semaphore;
use tokio_test::task::Spawn;
use tower::{Layer, Service};

pub(crate) type Ask = Request<Empty<Bytes>>;
pub(crate) type Reply = Response<TestBody>;
pub(crate) type Answer = Response<CacheBody<TestBody>>;
pub(crate) type TestCache = Cache<Origin>;

/// A GET for `path` at shop.example.
pub(crate) fn get(path: &str) -> Ask {
    request("GET", path, &[])
}

/// A GET with these fields.
pub(crate) fn get_with(path: &str, fields: &[(&str, &str)]) -> Ask {
    request("GET", path, fields)
}

pub(crate) fn request(method: &str, path: &str, fields: &[(&str, &str)]) -> Ask {
    let mut builder = Request::builder().method(method).uri(path).header("host", "shop.example");
    for (name, value) in fields {
        builder = builder.header(*name, *value);
    }
    builder.body(Empty::new()).unwrap()
}

/// A 200 with this body and no fields.
pub(crate) fn ok(body: &'static str) -> Reply {
    reply(200, &[], body)
}

pub(crate) fn reply(status: u16, fields: &[(&str, &str)], body: impl Into<TestBody>) -> Reply {
    let mut builder = Response::builder().status(status);
    for (name, value) in fields {
        builder = builder.header(*name, *value);
    }
    builder.body(body.into()).unwrap()
}

/// A cache with this policy over an origin in the test's hands, and the clock that it asks.
pub(crate) fn cache(policy: Policy) -> (TestCache, Origin, ManualClock) {
    cache_on(MemoryStore::with_max_bytes(64 << 20), policy)
}

pub(crate) fn cache_on(store: impl Store, policy: Policy) -> (TestCache, Origin, ManualClock) {
    let clock = ManualClock::new();
    let layer = CacheLayer::builder(store).policy(policy).clock(clock.clone()).build().unwrap();
    let origin = Origin::default();
    (layer.layer(origin.clone()), origin, clock)
}

/// What `Cache-Status` says after the name of the cache.
pub(crate) fn status<B>(response: &Response<B>) -> String {
    let field = response.headers().get_all("cache-status").iter().next_back();
    let text = field.map_or("", |field| field.to_str().unwrap());
    let said = CacheStatus::of(response).map(|status| status.to_string()).unwrap_or_default();
    let text = text.strip_prefix("microcache; ").unwrap_or(text);
    if text == said { said } else { format!("field {text:?} but status {said:?}") }
}

pub(crate) fn field<'a, B>(response: &'a Response<B>, name: &str) -> &'a str {
    response.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

/// The whole body as text, or the error it ended in.
pub(crate) async fn text(answer: Answer) -> Result<String, BodyError> {
    let body = answer.into_body().collect().await?.to_bytes();
    Ok(String::from_utf8(body.to_vec()).unwrap())
}

/// One request, answered by an origin that replies at once.
pub(crate) async fn ask(cache: &mut TestCache, request: Ask) -> Answer {
    cache.call(request).await.unwrap()
}

/// A request in flight, to be polled by hand.
pub(crate) fn send(
    cache: &mut TestCache,
    request: Ask,
) -> Spawn<impl Future<Output = Result<Answer, OriginFailed>> + use<>> {
    tokio_test::task::spawn(cache.call(request))
}

/// An origin in the test's hands: replies are queued ahead, or sent to a request that waits.
#[derive(Clone, Default)]
pub(crate) struct Origin {
    state: Arc<Mutex<OriginState>>,
}

#[derive(Default)]
struct OriginState {
    requests: Vec<(http::request::Parts, Slot)>,
    seen: usize,
    queued: VecDeque<Does>,
    is_busy: bool,
    waiting: Vec<Waker>,
}

type Slot = Arc<Mutex<Pending>>;

#[derive(Default)]
struct Pending {
    does: Option<Does>,
    waker: Option<Waker>,
    is_gone: bool,
}

/// What the origin does with a request.
pub(crate) enum Does {
    Reply(Reply),
    Fail,
    Panic,
}

#[derive(Debug)]
pub(crate) struct OriginFailed;

impl fmt::Display for OriginFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("origin failed")
    }
}

impl std::error::Error for OriginFailed {}

impl Origin {
    /// The next requests are answered at once, in this order.
    pub(crate) fn queue(&self, replies: impl IntoIterator<Item = Reply>) {
        self.state.lock().unwrap().queued.extend(replies.into_iter().map(Does::Reply));
    }

    pub(crate) fn queue_does(&self, does: impl IntoIterator<Item = Does>) {
        self.state.lock().unwrap().queued.extend(does);
    }

    /// How many requests have come so far.
    pub(crate) fn forwards(&self) -> usize {
        self.state.lock().unwrap().seen
    }

    /// How many requests wait for a reply.
    pub(crate) fn waiting(&self) -> usize {
        let state = self.state.lock().unwrap();
        state.requests.iter().filter(|(_, slot)| !slot.lock().unwrap().is_gone).count()
    }

    /// The head of the request that has waited longest.
    pub(crate) fn head(&self) -> http::request::Parts {
        self.state.lock().unwrap().requests[0].0.clone()
    }

    /// Answers the request that has waited longest.
    pub(crate) fn reply(&self, reply: Reply) -> http::request::Parts {
        self.does(Does::Reply(reply))
    }

    /// Answers the request that came last.
    pub(crate) fn reply_last(&self, reply: Reply) -> http::request::Parts {
        let last = self.state.lock().unwrap().requests.len() - 1;
        self.at(last, Does::Reply(reply))
    }

    pub(crate) fn does(&self, does: Does) -> http::request::Parts {
        self.at(0, does)
    }

    fn at(&self, index: usize, does: Does) -> http::request::Parts {
        let (head, slot) = self.state.lock().unwrap().requests.remove(index);
        let mut pending = slot.lock().unwrap();
        pending.does = Some(does);
        let waker = pending.waker.take();
        drop(pending);
        if let Some(waker) = waker {
            waker.wake();
        }
        head
    }

    /// Refuses work until told otherwise.
    pub(crate) fn busy(&self, is_busy: bool) {
        let mut state = self.state.lock().unwrap();
        state.is_busy = is_busy;
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        waiting.into_iter().for_each(Waker::wake);
    }
}

impl Service<Ask> for Origin {
    type Response = Reply;
    type Error = OriginFailed;
    type Future = OriginFuture;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), OriginFailed>> {
        let mut state = self.state.lock().unwrap();
        if state.is_busy {
            state.waiting.push(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Ask) -> OriginFuture {
        let mut state = self.state.lock().unwrap();
        state.seen += 1;
        let slot = Slot::default();
        match state.queued.pop_front() {
            Some(does) => slot.lock().unwrap().does = Some(does),
            None => state.requests.push((request.into_parts().0, Arc::clone(&slot))),
        }
        OriginFuture { slot }
    }
}

pub(crate) struct OriginFuture {
    slot: Slot,
}

impl Future for OriginFuture {
    type Output = Result<Reply, OriginFailed>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut pending = self.slot.lock().unwrap();
        match pending.does.take() {
            None => {
                pending.waker = Some(cx.waker().clone());
                Poll::Pending
            }
            Some(Does::Reply(reply)) => Poll::Ready(Ok(reply)),
            Some(Does::Fail) => Poll::Ready(Err(OriginFailed)),
            Some(Does::Panic) => {
                drop(pending);
                panic!("the origin panicked")
            }
        }
    }
}

impl Drop for OriginFuture {
    fn drop(&mut self) {
        if let Ok(mut pending) = self.slot.lock() {
            pending.is_gone = true;
        }
    }
}

/// A body that the test feeds frame by frame, or one that is there at once.
pub(crate) struct TestBody {
    state: Arc<Mutex<BodyState>>,
    hint: SizeHint,
}

#[derive(Default)]
struct BodyState {
    frames: VecDeque<Step>,
    is_over: bool,
    waker: Option<Waker>,
    polls: usize,
    is_gone: bool,
}

enum Step {
    Data(Bytes),
    Trailers(HeaderMap),
    Fail,
    Panic,
}

/// Feeds a [`TestBody`].
#[derive(Clone)]
pub(crate) struct Feed {
    state: Arc<Mutex<BodyState>>,
}

impl TestBody {
    /// A body of unknown length that the test feeds.
    pub(crate) fn streamed() -> (Self, Feed) {
        let state = Arc::new(Mutex::new(BodyState::default()));
        (Self { state: Arc::clone(&state), hint: SizeHint::new() }, Feed { state })
    }

    /// The same, declaring its length.
    pub(crate) fn declared(length: u64) -> (Self, Feed) {
        let (mut body, feed) = Self::streamed();
        body.hint = SizeHint::with_exact(length);
        (body, feed)
    }
}

impl From<&'static str> for TestBody {
    fn from(text: &'static str) -> Self {
        Bytes::from_static(text.as_bytes()).into()
    }
}

impl From<Bytes> for TestBody {
    fn from(bytes: Bytes) -> Self {
        let (mut body, feed) = Self::streamed();
        body.hint = SizeHint::with_exact(bytes.len() as u64);
        if !bytes.is_empty() {
            feed.step(Step::Data(bytes));
        }
        feed.end();
        body
    }
}

impl Feed {
    pub(crate) fn data(&self, text: &'static str) {
        self.step(Step::Data(Bytes::from_static(text.as_bytes())));
    }

    pub(crate) fn trailers(&self, name: &'static str, value: &'static str) {
        let mut trailers = HeaderMap::new();
        trailers.insert(name, value.parse().unwrap());
        self.step(Step::Trailers(trailers));
    }

    pub(crate) fn fail(&self) {
        self.step(Step::Fail);
    }

    pub(crate) fn panic(&self) {
        self.step(Step::Panic);
    }

    pub(crate) fn end(&self) {
        self.change(|state| state.is_over = true);
    }

    /// How often the body was polled.
    pub(crate) fn polls(&self) -> usize {
        self.state.lock().unwrap().polls
    }

    /// Whether nobody holds the body any more.
    pub(crate) fn is_gone(&self) -> bool {
        self.state.lock().unwrap().is_gone
    }

    fn step(&self, step: Step) {
        self.change(|state| state.frames.push_back(step));
    }

    fn change(&self, change: impl FnOnce(&mut BodyState)) {
        let mut state = self.state.lock().unwrap();
        change(&mut state);
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Body for TestBody {
    type Data = Bytes;
    type Error = OriginFailed;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, OriginFailed>>> {
        let mut state = self.state.lock().unwrap();
        state.polls += 1;
        match state.frames.pop_front() {
            Some(Step::Data(bytes)) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
            Some(Step::Trailers(trailers)) => Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
            Some(Step::Fail) => Poll::Ready(Some(Err(OriginFailed))),
            Some(Step::Panic) => {
                drop(state);
                panic!("the origin's body panicked")
            }
            None if state.is_over => Poll::Ready(None),
            None => {
                state.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        let state = self.state.lock().unwrap();
        state.is_over && state.frames.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        self.hint
    }
}

impl Drop for TestBody {
    fn drop(&mut self) {
        if let Ok(mut state) = self.state.lock() {
            state.is_gone = true;
        }
    }
}

/// A store whose puts wait while it is closed.
pub(crate) struct Gated<S>(pub(crate) S, pub(crate) Arc<Semaphore>);

impl<S: Store> Store for Gated<S> {
    fn peek(&self, key: &CacheKey) -> Peek {
        self.0.peek(key)
    }
    async fn get(&self, key: &CacheKey) -> Result<Option<Stored>, StoreError> {
        self.0.get(key).await
    }
    async fn put(&self, key: &CacheKey, stored: Stored) -> Result<Put, StoreError> {
        let _permit = self.1.acquire().await;
        self.0.put(key, stored).await
    }
    async fn remove(&self, key: &CacheKey) -> Result<(), StoreError> {
        self.0.remove(key).await
    }
    async fn fence(&self, fence: &Fence) -> Result<(), StoreError> {
        self.0.fence(fence).await
    }
    fn is_shared(&self) -> bool {
        self.0.is_shared()
    }
    fn reach(&self) -> Reach {
        self.0.reach()
    }
    async fn is_fenced(&self, key: &CacheKey, stored: &Stored) -> Result<bool, StoreError> {
        self.0.is_fenced(key, stored).await
    }
    async fn lease(&self, key: &CacheKey, lifetime: Duration) -> Result<Lease, StoreError> {
        self.0.lease(key, lifetime).await
    }
}

/// Lets background tasks run until they wait.
pub(crate) async fn settle() {
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
}

pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const MILLI: Duration = Duration::from_millis(1);
