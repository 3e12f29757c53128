//! The layer that finds out whose request it is, once, for the cache and the handlers inside.

use std::{
    error::Error,
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::Body;
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::ConfigError;
use crate::{
    body::CacheBody,
    key::{RequestHead, Tenancy, Tenant},
};

/// Finds the tenant of each request, and leaves it in the request's extensions, as a [`Tenant`].
///
/// A cache inside goes by it, whatever its own [`Tenancy`], and so can handlers: with axum, `Extension<Tenant>`. Put it
/// outside of nested routers where the tenant is in the path, and inside of authentication where that finds it out. If
/// there is a [`Tenant`] in the extensions already, that one stays.
///
/// Without being told otherwise it refuses nobody: a request of an unidentified tenant goes past the cache.
///
/// ```
/// use axum::{Extension, Router, http::StatusCode, routing::get};
/// use microcache::{CacheLayer, MemoryStore, Tenancy, Tenant, TenantLayer};
///
/// let tenants = TenantLayer::builder(Tenancy::host())
///     .refuse_unidentified(StatusCode::BAD_REQUEST)
///     .known(|tenant| matches!(tenant.name(), Some("acme.example" | "umbrella.example")))
///     .build()?;
/// let app: Router = Router::new()
///     .route("/", get(|Extension(tenant): Extension<Tenant>| async move { format!("{:?}", tenant.name()) }))
///     .layer(CacheLayer::new(MemoryStore::with_max_bytes(64 << 20)))
///     .layer(tenants);
/// # let _ = app;
/// # Ok::<(), microcache::ConfigError>(())
/// ```
#[derive(Clone)]
#[must_use]
pub struct TenantLayer {
    settings: Arc<Settings>,
}

#[derive(Clone)]
struct Settings {
    tenancy: Tenancy,
    known: Option<Arc<Known>>,
    /// Without it they are passed on.
    unidentified: Option<StatusCode>,
    unknown: StatusCode,
}

type Known = dyn Fn(&Tenant) -> bool + Send + Sync;

impl TenantLayer {
    /// Refuses nobody.
    pub fn new(tenancy: Tenancy) -> Self {
        Self::builder(tenancy).finish()
    }

    /// For a layer that refuses.
    pub fn builder(tenancy: Tenancy) -> TenantLayerBuilder {
        let settings = Settings { tenancy, known: None, unidentified: None, unknown: StatusCode::NOT_FOUND };
        TenantLayerBuilder { settings, error: None }
    }
}

impl<S> Layer<S> for TenantLayer {
    type Service = TenantService<S>;

    fn layer(&self, inner: S) -> TenantService<S> {
        TenantService { inner, settings: Arc::clone(&self.settings) }
    }
}

impl fmt::Debug for TenantLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TenantLayer").field("tenancy", &self.settings.tenancy).finish_non_exhaustive()
    }
}

/// Builds a [`TenantLayer`].
///
/// ```
/// use http::{HeaderName, StatusCode};
/// use microcache::{Tenancy, TenantLayer};
///
/// let by_field = Tenancy::header(HeaderName::from_static("x-tenant-id"));
/// let error = TenantLayer::builder(by_field).refuse_unidentified(StatusCode::OK).build().unwrap_err();
/// assert_eq!(error.setting(), "refuse_unidentified");
/// ```
#[must_use]
pub struct TenantLayerBuilder {
    settings: Settings,
    error: Option<ConfigError>,
}

impl TenantLayerBuilder {
    /// Answers requests of unidentified tenants with this status. Default: they are passed on, past the cache.
    ///
    /// 400 says that something is missing, 421 (RFC 9110 §15.5.20) that it is not for this host.
    pub fn refuse_unidentified(mut self, status: StatusCode) -> Self {
        self.check("refuse_unidentified", status);
        self.settings.unidentified = Some(status);
        self
    }

    /// Refuses the tenants that this does not hold for. Default: all are known.
    ///
    /// Whoever may choose the name of a tenant could else fill the store with as many as they like. It is asked for
    /// each request whose tenant is identified: have the answer at hand.
    pub fn known(mut self, is_known: impl Fn(&Tenant) -> bool + Send + Sync + 'static) -> Self {
        self.settings.known = Some(Arc::new(is_known));
        self
    }

    /// Sets the status for tenants that are not [known](Self::known). Default: 404, which does not tell who is.
    pub fn refuse_unknown(mut self, status: StatusCode) -> Self {
        self.check("refuse_unknown", status);
        self.settings.unknown = status;
        self
    }

    /// The layer.
    ///
    /// # Errors
    ///
    /// The first setting that can not work: a status that is no error.
    pub fn build(self) -> Result<TenantLayer, ConfigError> {
        match self.error {
            Some(error) => Err(error),
            None => Ok(self.finish()),
        }
    }

    fn finish(self) -> TenantLayer {
        TenantLayer { settings: Arc::new(self.settings) }
    }

    fn check(&mut self, setting: &'static str, status: StatusCode) {
        if !status.is_client_error() && !status.is_server_error() {
            let message = format!("{} is no error; give it a 4xx or a 5xx", status.as_u16());
            self.error.get_or_insert(ConfigError::new(setting, message));
        }
    }
}

impl fmt::Debug for TenantLayerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TenantLayerBuilder")
            .field("tenancy", &self.settings.tenancy)
            .field("error", &self.error)
            .finish_non_exhaustive()
    }
}

/// What [`TenantLayer`] makes of a service.
#[derive(Clone)]
pub struct TenantService<S> {
    inner: S,
    settings: Arc<Settings>,
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for TenantService<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    ResBody: Body<Data = Bytes>,
    ResBody::Error: Into<Box<dyn Error + Send + Sync>>,
{
    type Response = Response<CacheBody<ResBody>>;
    type Error = S::Error;
    type Future = TenantFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        let tenant = self.settings.tenancy.of(RequestHead::of(&request));
        if let Some((status, text)) = self.settings.refusal(&tenant) {
            let text = if *request.method() == Method::HEAD { None } else { Some(text) };
            return TenantFuture { kind: Kind::Refused { refusal: Some((status, text)) } };
        }
        request.extensions_mut().insert(tenant);
        TenantFuture { kind: Kind::Passed { answer: self.inner.call(request) } }
    }
}

impl Settings {
    fn refusal(&self, tenant: &Tenant) -> Option<(StatusCode, &'static str)> {
        if tenant.is_unidentified() {
            return self.unidentified.map(|status| (status, "unidentified tenant\n"));
        }
        let is_unknown = self.known.as_ref().is_some_and(|is_known| !is_known(tenant));
        is_unknown.then_some((self.unknown, "unknown tenant\n"))
    }
}

impl<S: fmt::Debug> fmt::Debug for TenantService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TenantService").field("inner", &self.inner).finish_non_exhaustive()
    }
}

pin_project! {
    /// The future of [`TenantService`]: that of the service inside, or a refusal.
    pub struct TenantFuture<F> {
        #[pin]
        kind: Kind<F>,
    }
}

pin_project! {
    #[project = KindProjection]
    enum Kind<F> {
        Passed { #[pin] answer: F },
        // Without a text for HEAD (RFC 9110 §9.3.2).
        Refused { refusal: Option<(StatusCode, Option<&'static str>)> },
    }
}

impl<F, B, E> Future for TenantFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<CacheBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().kind.project() {
            KindProjection::Passed { answer } => Poll::Ready(Ok(ready!(answer.poll(cx))?.map(CacheBody::origin))),
            // Polled after it was done: there is nothing more to come.
            KindProjection::Refused { refusal } => match refusal.take() {
                Some((status, text)) => Poll::Ready(Ok(refused(status, text))),
                None => Poll::Pending,
            },
        }
    }
}

impl<F> fmt::Debug for TenantFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TenantFuture").finish_non_exhaustive()
    }
}

/// An answer of the layer's own, which nobody may keep.
fn refused<B>(status: StatusCode, text: Option<&'static str>) -> Response<CacheBody<B>> {
    let body = text.map_or(CacheBody::none(), |text| Bytes::from_static(text.as_bytes()).into());
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
