//! The service over a cache that does what the test says.

use std::{
    convert::Infallible,
    pin::pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{
    StreamExt,
    future::{BoxFuture, FutureExt},
};
use http::{Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use serde_json::{Value, json};
use tower::ServiceExt;

use super::{
    AdminBody, AdminService, MAX_STREAMS,
    problem::Problem,
    purge::{PurgeRequest, Target},
    source::{Source, Watch},
    token::Token,
};

const TOKEN: &str = "correct-horse-battery";

/// A cache that remembers what it was asked to purge.
#[derive(Clone, Default)]
struct Scripted {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    hits: u64,
    purged: Vec<PurgeRequest>,
    events: Vec<Value>,
    waiting: Vec<Waker>,
}

impl Scripted {
    fn happens(&self, event: Value) {
        let mut state = self.state.lock().unwrap();
        state.events.push(event);
        state.waiting.drain(..).for_each(Waker::wake);
    }

    fn service(&self) -> AdminService {
        AdminService::over(self.clone(), Token::new(TOKEN).unwrap())
    }
}

impl Source for Scripted {
    fn stats(&self) -> Value {
        json!({ "requests": { "hits": self.state.lock().unwrap().hits } })
    }

    fn watch(&self) -> Box<dyn Watch> {
        Box::new(Watched { cache: self.clone(), seen: 0 })
    }

    fn purge(&self, asked: PurgeRequest) -> BoxFuture<'static, Result<String, Problem>> {
        let known = match &asked.target {
            Target::Tenant(tenant) if tenant != "acme" => Err(Problem::unprocessable(format!("no tenant {tenant}"))),
            _ => Ok("this process now, others within 1 s".to_owned()),
        };
        if known.is_ok() {
            self.state.lock().unwrap().purged.push(asked);
        }
        std::future::ready(known).boxed()
    }
}

struct Watched {
    cache: Scripted,
    seen: usize,
}

impl Watch for Watched {
    fn stats(&self) -> Value {
        self.cache.stats()
    }

    fn poll_events(&mut self, cx: &mut Context<'_>) -> Poll<Vec<Value>> {
        let mut state = self.cache.state.lock().unwrap();
        let new = state.events.split_at(self.seen).1.to_vec();
        self.seen += new.len();
        if new.is_empty() {
            state.waiting.push(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(new)
    }
}

fn ask(method: &str, path: &str) -> http::request::Builder {
    Request::builder().method(method).uri(path).header("authorization", format!("Bearer {TOKEN}"))
}

async fn send(service: &AdminService, request: http::request::Builder, body: &str) -> Response<AdminBody> {
    service.clone().oneshot(request.body(Full::new(Bytes::copy_from_slice(body.as_bytes()))).unwrap()).await.unwrap()
}

async fn purge(service: &AdminService, body: &str) -> (StatusCode, Value) {
    let response = send(service, ask("POST", "/purge").header("content-type", "application/json"), body).await;
    let status = response.status();
    (status, serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap())
}

async fn watch(service: &AdminService) -> Response<AdminBody> {
    send(service, ask("GET", "/events"), "").await
}

/// The next event of a stream, if it is there.
fn next(body: &mut AdminBody) -> Option<String> {
    let frame = pin!(body.frame()).now_or_never()?;
    Some(String::from_utf8(frame.unwrap().unwrap().into_data().unwrap().to_vec()).unwrap())
}

fn stats(hits: u64) -> Option<String> {
    Some(format!("event: stats\ndata: {{\"requests\":{{\"hits\":{hits}}}}}\n\n"))
}

#[tokio::test]
async fn a_purge_is_done_and_says_how_far_it_reaches() {
    let cache = Scripted::default();

    let (status, said) = purge(&cache.service(), r#"{"tag":"product:7","tenant":"acme","soft":true}"#).await;

    let purged = json!({ "tag": "product:7", "tenant": "acme", "soft": true });
    assert_eq!(status, 200);
    assert_eq!(said, json!({ "purged": purged, "reach": "this process now, others within 1 s" }));
    let target = Target::Tag { tag: "product:7".to_owned(), tenant: Some("acme".to_owned()) };
    assert_eq!(cache.state.lock().unwrap().purged, [PurgeRequest { target, is_soft: true }]);
}

#[tokio::test]
async fn a_purge_that_makes_no_sense_changes_nothing_and_says_why() {
    let cache = Scripted::default();
    let service = cache.service();
    let many = format!(r#"{{"tag":"{}"}}"#, "x".repeat(1 << 20));
    let table = [
        (r#"{"all":"#, 400, "Bad Request"),
        (r#"{"url":"no url"}"#, 422, "Unprocessable Content"),
        (r#"{"tenant":"nobody"}"#, 422, "Unprocessable Content"),
        (r#"{"all":true,"more":1}"#, 422, "Unprocessable Content"),
        (many.as_str(), 413, "Content Too Large"),
    ];
    for (body, expected, title) in table {
        let (status, problem) = purge(&service, body).await;

        let said = [&problem["type"], &problem["title"], &problem["status"]];
        assert_eq!(status.as_u16(), expected, "{problem}");
        assert_eq!(said, [&json!("about:blank"), &json!(title), &json!(expected)]);
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.len() > 10), "{problem}");
    }
    assert_eq!(cache.state.lock().unwrap().purged, []);
}

#[tokio::test(start_paused = true)]
async fn a_purge_that_comes_too_slowly_is_given_up() {
    let cache = Scripted::default();
    let bytes = br#"{"all":true}"#.iter().enumerate();
    let slow = futures_util::stream::iter(bytes).then(async |(at, byte)| {
        tokio::time::sleep(Duration::from_secs(if at == 0 { 0 } else { 1 })).await;
        Ok::<_, Infallible>(Frame::data(Bytes::copy_from_slice(&[*byte])))
    });
    let body = StreamBody::new(Box::pin(slow));
    let request = ask("POST", "/purge").header("content-type", "application/json").body(body).unwrap();

    let response = cache.service().oneshot(request).await.unwrap();

    assert_eq!(response.status(), 408);
    assert_eq!(cache.state.lock().unwrap().purged, []);
}

#[tokio::test(start_paused = true)]
async fn counters_come_each_second_and_events_as_they_happen() {
    let cache = Scripted::default();
    cache.happens(json!({ "event": "purge" }));
    let response = watch(&cache.service()).await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut body = response.into_body();

    assert_eq!(next(&mut body), stats(0), "at once");
    assert_eq!(next(&mut body).unwrap(), "event: cache\ndata: {\"event\":\"purge\"}\n\n", "what is remembered");
    assert_eq!(next(&mut body), None);

    cache.state.lock().unwrap().hits = 7;
    tokio::time::advance(Duration::from_millis(999)).await;
    assert_eq!(next(&mut body), None);
    tokio::time::advance(Duration::from_millis(1)).await;
    assert_eq!(next(&mut body), stats(7));

    // Lines and the like in what a client made up stay inside of the event.
    cache.happens(json!({ "event": "overflow", "key": "a\n\nevent: x" }));
    cache.happens(json!({ "event": "purge" }));
    let (first, second) = (next(&mut body).unwrap(), next(&mut body).unwrap());
    assert_eq!((first.matches('\n').count(), second.matches('\n').count()), (3, 3), "{first}{second}");
    assert_eq!(next(&mut body), None);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_waits_is_woken() {
    let cache = Scripted::default();
    let mut body = watch(&cache.service()).await.into_body();
    assert_eq!(next(&mut body), stats(0));

    let mut waits = tokio_test::task::spawn(body.frame());
    assert!(waits.poll().is_pending());
    cache.happens(json!({}));
    assert!(waits.is_woken());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_is_not_written_to() {
    let cache = Scripted::default();
    let mut body = watch(&cache.service()).await.into_body();
    assert_eq!(next(&mut body), stats(0));

    tokio::time::advance(Duration::from_secs(600)).await;

    assert_eq!(next(&mut body), stats(0));
    assert_eq!(next(&mut body), None, "one for all that was missed");
}

#[tokio::test]
async fn streams_are_bounded_and_end_when_their_clients_leave() {
    let service = Scripted::default().service();
    let mut open = Vec::new();
    for _ in 0..MAX_STREAMS {
        let response = watch(&service).await;
        assert_eq!(response.status(), 200);
        open.push(response);
    }

    let refused = watch(&service.clone()).await;
    assert_eq!((refused.status().as_u16(), &refused.headers()["retry-after"]), (503, &"5".parse().unwrap()));

    open.pop();
    assert_eq!(watch(&service).await.status(), 200);
}
