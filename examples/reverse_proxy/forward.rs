//! One forward: address the request, ask the upstream, pass on what comes.

use std::{
    convert::Infallible,
    error::Error,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{
    HeaderValue, Method, Request, Response, StatusCode, Uri, Version, header,
    uri::{Authority, PathAndQuery, Scheme},
};
use http_body_util::{Either, Empty, Full};
use hyper::{
    body::{Body, Incoming},
    rt::Executor,
    upgrade::{self, OnUpgrade},
};
use hyper_util::{
    client::legacy::{self, Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use tower::Service;

use crate::{flags::Upstream, proxy::Refusal};

/// What goes to the upstream: the client's content as it comes, or none.
type Sent = Either<Incoming, Empty<Bytes>>;

/// The upstream's body, or a line of ours.
pub(crate) type Content = Either<Incoming, Full<Bytes>>;

/// The origin, as the cache sees it. Never fails: what the upstream does not answer is a 502.
#[derive(Clone)]
pub(crate) struct Forwarder {
    client: Client<Connector, Sent>,
    upstream: Upstream,
}

impl Service<Request<Incoming>> for Forwarder {
    type Response = Response<Content>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Content>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        let forwarder = self.clone();
        Box::pin(async move {
            let answer = forwarder.forward(request).await;
            Ok(answer.unwrap_or_else(|refusal| refusal.response(|text| Either::Right(Full::new(text)))))
        })
    }
}

impl Forwarder {
    pub(crate) fn new(upstream: Upstream) -> Self {
        let mut http = HttpConnector::new();
        http.set_connect_timeout(Some(CONNECT_TIMEOUT));
        http.set_nodelay(true);
        let connector = Connector { http, authority: upstream.authority.clone() };
        let client = Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .http2_only(upstream.is_h2)
            .build(connector);
        Self { client, upstream }
    }

    async fn forward(&self, mut request: Request<Incoming>) -> Result<Response<Content>, Refusal> {
        let wants_upgrade = request.headers().contains_key(header::UPGRADE);
        let client_side = wants_upgrade.then(|| upgrade::on(&mut request));
        self.address(&mut request)?;
        let mut response = self.send(request).await.map_err(|error| bad_gateway(&error))?;
        check_framing(&mut response)?;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            let Some(client_side) = client_side else {
                return Err(Refusal::new(StatusCode::BAD_GATEWAY, "the upstream switched protocols unasked"));
            };
            tunnel(client_side, upgrade::on(&mut response));
        }
        Ok(response.map(Either::Left))
    }

    /// Sends a request; one without content once more, if the connection that was kept for it turned out to be closed
    /// (RFC 9112 §9.3.1).
    async fn send(&self, request: Request<Incoming>) -> Result<Response<Incoming>, legacy::Error> {
        let (head, body) = request.into_parts();
        let may_repeat = matches!(head.method, Method::GET | Method::HEAD) && body.is_end_stream();
        if !may_repeat || head.headers.contains_key(header::UPGRADE) {
            return self.client.request(Request::from_parts(head, Either::Left(body))).await;
        }
        let request = || Request::from_parts(head.clone(), Either::Right(Empty::new()));
        match self.client.request(request()).await {
            Err(error) if was_closed(&error) => self.client.request(request()).await,
            sent => sent,
        }
    }

    /// Makes of a request one on the upstream's connection.
    fn address(&self, request: &mut Request<Incoming>) -> Result<(), Refusal> {
        let via = match request.version() {
            Version::HTTP_10 => "1.0 microcache",
            Version::HTTP_2 => "2.0 microcache",
            _ => "1.1 microcache",
        };
        request.headers_mut().append(header::VIA, HeaderValue::from_static(via));
        let authority = if self.upstream.is_h2 { self.address_h2(request)? } else { self.address_h1(request) };

        let mut target = http::uri::Parts::default();
        target.scheme = Some(Scheme::HTTP);
        target.authority = Some(authority);
        target.path_and_query = Some(self.path(request.uri())?);
        *request.uri_mut() = Uri::from_parts(target).map_err(|_| bad_target())?;
        Ok(())
    }

    fn address_h1(&self, request: &mut Request<Incoming>) -> Authority {
        *request.version_mut() = Version::HTTP_11;
        let has_unsized_body = !request.body().is_end_stream() && request.body().size_hint().exact().is_none();
        let headers = request.headers_mut();
        for name in [header::UPGRADE, header::TE] {
            if headers.contains_key(&name) {
                headers.append(header::CONNECTION, name.into());
            }
        }
        if has_unsized_body {
            // Without the field hyper takes a GET for one without content, and drops what there is.
            headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        self.upstream.authority.clone()
    }

    /// RFC 9113 §8.3.1: in HTTP/2, `:authority` says what `Host` said.
    fn address_h2(&self, request: &mut Request<Incoming>) -> Result<Authority, Refusal> {
        *request.version_mut() = Version::HTTP_2;
        match request.headers_mut().remove(header::HOST) {
            Some(host) => Authority::try_from(host.as_bytes()).map_err(|_| bad_target()),
            None => Ok(self.upstream.authority.clone()),
        }
    }

    fn path(&self, uri: &Uri) -> Result<PathAndQuery, Refusal> {
        let path = uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        if self.upstream.base.is_empty() || path == "*" {
            return Ok(path);
        }
        format!("{}{path}", self.upstream.base).try_into().map_err(|_| bad_target())
    }
}

/// Goes to the upstream whatever the request's authority is, which is the client's where HTTP/2 is spoken.
#[derive(Clone)]
struct Connector {
    http: HttpConnector,
    authority: Authority,
}

impl Service<Uri> for Connector {
    type Response = <HttpConnector as Service<Uri>>::Response;
    type Error = <HttpConnector as Service<Uri>>::Error;
    type Future = <HttpConnector as Service<Uri>>::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.http.poll_ready(context)
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let mut target = http::uri::Parts::default();
        target.scheme = Some(Scheme::HTTP);
        target.authority = Some(self.authority.clone());
        target.path_and_query = Some(PathAndQuery::from_static("/"));
        self.http.call(Uri::from_parts(target).unwrap_or_default())
    }
}

/// Copies both ways until both sides are done.
fn tunnel(client: OnUpgrade, upstream: OnUpgrade) {
    TokioExecutor::new().execute(async move {
        if let Ok((client, upstream)) = tokio::try_join!(client, upstream) {
            // Whoever breaks off ends it for both, and there is nobody left to tell.
            let _ = tokio::io::copy_bidirectional(&mut TokioIo::new(client), &mut TokioIo::new(upstream)).await;
        }
    });
}

fn bad_target() -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, "the target or Host can not be forwarded")
}

/// Whether the connection ended before any of the response was there.
fn was_closed(error: &legacy::Error) -> bool {
    let cause = error.source().and_then(|cause| cause.downcast_ref::<hyper::Error>());
    cause.is_some_and(hyper::Error::is_incomplete_message)
}

/// RFC 9112 §6.1, §6.3: hyper has undone `chunked` and nothing else, and next to that a length means nothing.
fn check_framing(response: &mut Response<Incoming>) -> Result<(), Refusal> {
    let headers = response.headers_mut();
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => {}
        (Some(only), None) if only.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked") => {
            headers.remove(header::CONTENT_LENGTH);
        }
        _ => return Err(Refusal::new(StatusCode::BAD_GATEWAY, "the upstream coded its answer in an unknown way")),
    }
    Ok(())
}

fn bad_gateway(error: &legacy::Error) -> Refusal {
    let mut cause: &dyn Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    let what = if error.is_connect() { "the upstream can not be reached" } else { "the upstream did not answer" };
    Refusal::new(StatusCode::BAD_GATEWAY, &format!("{what}: {cause}"))
}

/// A server that is there answers much sooner; a client that waits longer has left.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
