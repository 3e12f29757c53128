//! Purges, statistics and the dashboard over HTTP.

mod answer;
mod body;
mod problem;
mod purge;
mod source;
#[cfg(test)]
mod tests;
mod token;

use std::{
    convert::Infallible,
    error::Error,
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Method, Request, Response, StatusCode, header::ALLOW};
use http_body::Body;
use tokio::sync::Semaphore;
use tower_service::Service;

pub use self::body::AdminBody;
use self::{body::EventStream, problem::Problem, purge::PurgeRequest, source::Source, token::Token};
use crate::{handle::CacheHandle, layers::ConfigError};

/// Lets an operator see what a cache does, and purge it, over HTTP.
///
/// | request | answer |
/// |---|---|
/// | `GET /` | the dashboard, one page that loads nothing else and asks for the token |
/// | `GET /stats` | the counters, as JSON |
/// | `GET /events` | the counters each second, and what happens as it happens, as server-sent events |
/// | `POST /purge` | purges what its JSON says: `{"url":..}`, `{"tag":..}`, `{"tenant":..}` or `{"all":true}` |
///
/// A URL and a tag can have a `"tenant"` beside them, everything `"soft":true`. What goes wrong is said as problem
/// details (RFC 9457), and then nothing is changed.
///
/// All but the page itself, which holds no data, need `Authorization: Bearer` and the token. No cookie and no query is
/// looked at, so a page of somebody else can not make a browser purge. Keys of stored responses are shown, and they
/// may hold personal data: give the token to those who may see it, and put TLS in front. Purges and the stream of
/// events need a tokio runtime with its timer.
///
/// ```
/// use axum::{Router, routing::get};
/// use microcache::{AdminService, CacheLayer, MemoryStore};
///
/// let cache = CacheLayer::new(MemoryStore::with_max_bytes(64 << 20));
/// # let token = "an-example-of-a-token";
/// let admin = AdminService::builder(cache.handle()).bearer_token(token).build()?;
/// let app: Router = Router::new()
///     .route("/products", get(async || "a list"))
///     .layer(cache)
///     .nest_service("/-/cache", admin); // after the layer: not cached
/// # let _ = app;
/// # Ok::<(), microcache::ConfigError>(())
/// ```
#[derive(Clone)]
pub struct AdminService {
    shared: Arc<Shared>,
}

struct Shared {
    source: Box<dyn Source>,
    token: Token,
    /// A permit for each stream of events.
    streams: Arc<Semaphore>,
}

impl AdminService {
    /// For the cache of this handle.
    pub fn builder(handle: CacheHandle) -> AdminServiceBuilder {
        AdminServiceBuilder { handle, token: None }
    }

    fn over(source: impl Source, token: Token) -> Self {
        let streams = Arc::new(Semaphore::new(MAX_STREAMS));
        Self { shared: Arc::new(Shared { source: Box::new(source), token, streams }) }
    }
}

impl<B> Service<Request<B>> for AdminService
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    type Response = Response<AdminBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<AdminBody>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move { Ok(shared.answer(request).await.unwrap_or_else(|problem| problem.response())) })
    }
}

impl Shared {
    async fn answer<B>(&self, request: Request<B>) -> Result<Response<AdminBody>, Problem>
    where
        B: Body,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let place = Place::of(request.uri().path());
        let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
        let is_page = place == Some(Place::Page) && is_read;
        // Whoever has no token learns nothing, not even what there is.
        if !is_page && !self.token.is_in(request.headers()) {
            return Err(token::challenge());
        }
        // The server leaves the body of an answer to HEAD out.
        match place {
            Some(Place::Page) if is_read => Ok(answer::page()),
            Some(Place::Stats) if is_read => Ok(answer::json(&self.source.stats())),
            Some(Place::Events) if is_read => self.events(),
            Some(Place::Purge) if *request.method() == Method::POST => self.purge(request).await,
            // RFC 9110 §15.5.6: says which methods there are.
            Some(place) => {
                let detail = format!("{} is not among the methods of this resource", request.method());
                Err(Problem::new(StatusCode::METHOD_NOT_ALLOWED, detail).with(ALLOW, place.methods()))
            }
            None => Err(Problem::new(StatusCode::NOT_FOUND, "there is /, /stats, /events and /purge".to_owned())),
        }
    }

    fn events(&self) -> Result<Response<AdminBody>, Problem> {
        let Ok(permit) = Arc::clone(&self.streams).try_acquire_owned() else {
            let detail = format!("{MAX_STREAMS} streams of events are open, and there are no more");
            return Err(Problem::unavailable(detail));
        };
        Ok(answer::events(EventStream::new(self.source.watch(), permit)))
    }

    async fn purge<B>(&self, request: Request<B>) -> Result<Response<AdminBody>, Problem>
    where
        B: Body,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let content = purge::content(request).await?;
        let asked = PurgeRequest::read(&content)?;
        let purged = asked.described();
        let reach = self.source.purge(asked).await?;
        Ok(answer::json(&serde_json::json!({ "purged": purged, "reach": reach })))
    }
}

/// What there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Page,
    Stats,
    Events,
    Purge,
}

impl Place {
    /// By what is left of the path where the service is nested, with or without a slash at its end.
    fn of(path: &str) -> Option<Self> {
        let path = path.strip_prefix('/').unwrap_or(path);
        match path.strip_suffix('/').unwrap_or(path) {
            "" => Some(Self::Page),
            "stats" => Some(Self::Stats),
            "events" => Some(Self::Events),
            "purge" => Some(Self::Purge),
            _ => None,
        }
    }

    fn methods(self) -> &'static str {
        match self {
            Self::Page | Self::Stats | Self::Events => "GET, HEAD",
            Self::Purge => "POST",
        }
    }
}

impl fmt::Debug for AdminService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminService").finish_non_exhaustive()
    }
}

/// Builds an [`AdminService`].
///
/// ```
/// use microcache::{AdminService, CacheLayer, MemoryStore};
///
/// let handle = CacheLayer::new(MemoryStore::with_max_bytes(1 << 20)).handle();
/// let error = AdminService::builder(handle.clone()).build().unwrap_err();
/// assert_eq!(error.setting(), "bearer_token");
/// assert!(AdminService::builder(handle.clone()).bearer_token("too short").build().is_err());
/// assert!(AdminService::builder(handle).bearer_token("sixteen-or-more.").build().is_ok());
/// ```
#[must_use]
pub struct AdminServiceBuilder {
    handle: CacheHandle,
    token: Option<Result<Token, ConfigError>>,
}

impl AdminServiceBuilder {
    /// Sets what a client has to know: at least 16 characters out of letters, digits and `-._~+/`, with `=` at the
    /// end (RFC 6750 §2.1). There is no default.
    #[doc(alias = "password")]
    pub fn bearer_token(mut self, token: impl AsRef<str>) -> Self {
        self.token = Some(Token::new(token.as_ref()));
        self
    }

    /// The service.
    ///
    /// # Errors
    ///
    /// A token that is missing, too short, or that no request can carry.
    pub fn build(self) -> Result<AdminService, ConfigError> {
        let missing = || ConfigError::new("bearer_token", "missing; without one anybody could purge".to_owned());
        let token = self.token.unwrap_or_else(|| Err(missing()))?;
        Ok(AdminService::over(self.handle, token))
    }
}

impl fmt::Debug for AdminServiceBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminServiceBuilder").field("handle", &self.handle).finish_non_exhaustive()
    }
}

/// Streams of events at a time, of all clients together.
const MAX_STREAMS: usize = 32;
