//! The response future. Nothing but polling.

use std::{
    error::Error,
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use tower::util::{Oneshot, ServiceExt};
use tower_service::Service;

use super::{answer::stamp, invalidate::Invalidation, settings::Refused, shown::Shown};
use crate::{
    body::CacheBody,
    policy::{BypassReason, CacheStatusMode},
    status::{CacheStatus, ForwardReason},
};

pin_project! {
    /// The future of [`Cache`](crate::Cache).
    ///
    /// A memory hit is ready at once and boxes nothing; a bypass is the origin's own future; what has to wait
    /// is one box.
    pub struct ResponseFuture<S, ReqBody, ResBody>
    where
        S: Service<Request<ReqBody>>,
    {
        #[pin]
        kind: Kind<S, ReqBody, ResBody>,
    }
}

type Answer<S, ReqBody, ResBody> = Result<Response<CacheBody<ResBody>>, <S as Service<Request<ReqBody>>>::Error>;

pin_project! {
    #[project = KindProjection]
    enum Kind<S, ReqBody, ResBody>
    where
        S: Service<Request<ReqBody>>,
    {
        Ready { response: Option<Response<CacheBody<ResBody>>> },
        Bypass {
            #[pin]
            forward: Oneshot<S, Request<ReqBody>>,
            reason: BypassReason,
            mode: CacheStatusMode,
            invalidation: Option<Box<Invalidation>>,
        },
        Flow {
            flow: Pin<Box<dyn Future<Output = Answer<S, ReqBody, ResBody>> + Send>>,
            shown: Option<Box<Shown>>,
        },
    }
}

impl<S, ReqBody, ResBody> ResponseFuture<S, ReqBody, ResBody>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
{
    #[inline]
    pub(super) fn ready(response: Response<CacheBody<ResBody>>) -> Self {
        Self { kind: Kind::Ready { response: Some(response) } }
    }

    /// `invalidation`: what the response may make invalid.
    pub(super) fn bypass(
        inner: S,
        request: Request<ReqBody>,
        refused: &Refused<'_>,
        invalidation: Option<Box<Invalidation>>,
    ) -> Self {
        let Refused { reason, mode, .. } = *refused;
        Self { kind: Kind::Bypass { forward: inner.oneshot(request), reason, mode, invalidation } }
    }

    pub(super) fn flow(flow: impl Future<Output = Answer<S, ReqBody, ResBody>> + Send + 'static) -> Self {
        Self { kind: Kind::Flow { flow: Box::pin(flow), shown: None } }
    }

    /// How what has to wait says what the cache did, if not plainly.
    pub(super) fn shown(mut self, by: Option<Box<Shown>>) -> Self {
        if let Kind::Flow { shown, .. } = &mut self.kind {
            *shown = by;
        }
        self
    }
}

impl<S, ReqBody, ResBody> Future for ResponseFuture<S, ReqBody, ResBody>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    ResBody: Body<Data = Bytes>,
    ResBody::Error: Into<Box<dyn Error + Send + Sync>>,
{
    type Output = Answer<S, ReqBody, ResBody>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().kind.project() {
            // Polled after it was done: there is nothing more to come.
            KindProjection::Ready { response } => {
                response.take().map_or(Poll::Pending, |response| Poll::Ready(Ok(response)))
            }
            KindProjection::Bypass { forward, reason, mode, invalidation } => {
                let mut response = ready!(forward.poll(cx))?.map(CacheBody::origin);
                // Before the client knows: what it asks next is not answered with what was.
                if let Some(invalidation) = invalidation.take() {
                    invalidation.end_groups(response.headers());
                    invalidation.apply(response.status(), response.headers());
                }
                let status =
                    reason.detail().map(|detail| CacheStatus::forward(ForwardReason::Bypass).with_detail(detail));
                match (status, mode) {
                    (Some(status), CacheStatusMode::On) => stamp(&mut response, status),
                    (Some(status), CacheStatusMode::ExtensionOnly) => drop(response.extensions_mut().insert(status)),
                    (_, CacheStatusMode::Off) | (None, _) => {}
                }
                Poll::Ready(Ok(response))
            }
            KindProjection::Flow { flow, shown } => {
                let mut answer = ready!(flow.as_mut().poll(cx));
                if let (Ok(response), Some(shown)) = (&mut answer, shown) {
                    shown.apply(response);
                }
                Poll::Ready(answer)
            }
        }
    }
}

impl<S, ReqBody, ResBody> fmt::Debug for ResponseFuture<S, ReqBody, ResBody>
where
    S: Service<Request<ReqBody>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
