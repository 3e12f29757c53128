//! The page in front of a cache that says what the test wants.

use std::sync::{Arc, Mutex};

use axum::{
    Router,
    body::Body,
    routing::{get, post},
};
use bytes::Bytes;
use http::Response;
use http_body_util::StreamBody;
use hyper::body::Frame;
use microcache::{AdminService, CacheLayer, MemoryStore};
use serde_json::Value;
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
    task::JoinHandle,
};

use crate::service::TOKEN;

/// A server on a port of its own, ended when it is dropped.
pub(crate) struct Server {
    pub(crate) origin: String,
    task: JoinHandle<()>,
}

impl Server {
    pub(crate) async fn start(app: Router) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let task = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { origin, task }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What the page is told.
#[derive(Clone)]
pub(crate) struct Script {
    events: watch::Sender<Vec<String>>,
    purges: Arc<Mutex<Vec<Value>>>,
    answer: Arc<Mutex<(u16, String)>>,
}

impl Script {
    /// With the page on a server.
    pub(crate) async fn start() -> (Self, Server) {
        let script = Self {
            events: watch::Sender::new(Vec::new()),
            purges: Arc::default(),
            answer: Arc::new(Mutex::new((200, String::new()))),
        };
        let admin = AdminService::builder(CacheLayer::new(MemoryStore::with_max_bytes(1)).handle());
        let admin = admin.bearer_token(TOKEN).build().unwrap();
        let (watched, asked) = (script.clone(), script.clone());
        let app = Router::new()
            .route("/-/cache/events", get(async move || watched.stream()))
            .route("/-/cache/purge", post(async move |body: Bytes| asked.purge(&body)))
            .nest_service("/-/cache", admin);
        (script, Server::start(app).await)
    }

    /// Sends an event to whoever watches, now and later.
    pub(crate) fn says(&self, name: &str, data: &Value) {
        self.events.send_modify(|events| events.push(format!("event: {name}\ndata: {data}\n\n")));
    }

    /// What the next purges are answered.
    pub(crate) fn answers(&self, status: u16, body: &Value) {
        *self.answer.lock().unwrap() = (status, body.to_string());
    }

    /// What was to be purged.
    pub(crate) fn purges(&self) -> Vec<Value> {
        self.purges.lock().unwrap().clone()
    }

    fn stream(&self) -> Response<Body> {
        let mut events = self.events.subscribe();
        let (send, receive) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let mut sent = 0;
            loop {
                let new = events.borrow_and_update().split_at(sent).1.to_vec();
                sent += new.len();
                // Fails when the page has left.
                if new.into_iter().any(|event| send.send(event).is_err()) || events.changed().await.is_err() {
                    return;
                }
            }
        });
        let frames = futures_util::stream::unfold(receive, async |mut receive| {
            let event = receive.recv().await?;
            Some((Ok::<_, std::io::Error>(Frame::data(Bytes::from(event))), receive))
        });
        let body = Body::new(StreamBody::new(frames));
        Response::builder().header("content-type", "text/event-stream").body(body).unwrap()
    }

    fn purge(&self, body: &[u8]) -> Response<Body> {
        self.purges.lock().unwrap().push(serde_json::from_slice(body).unwrap());
        let (status, said) = self.answer.lock().unwrap().clone();
        Response::builder().status(status).header("content-type", "application/json").body(said.into()).unwrap()
    }
}
