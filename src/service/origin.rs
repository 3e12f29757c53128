//! What is asked of an origin, and of what it takes and gives, by a name each.

use std::error::Error;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use crate::body::CacheBody;

/// What a request or a response carries.
pub(super) trait Carries:
    Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static
{
}

impl<B> Carries for B where B: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static {}

/// A service that a flow can forward to, as often as it has to, also in the background.
pub(super) trait Origin<ReqBody>:
    Service<Request<ReqBody>, Response = Response<Self::ResBody>, Error: Send, Future: Send> + Clone + Send + 'static
{
    type ResBody: Carries;
}

impl<S, ReqBody, ResBody> Origin<ReqBody> for S
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>, Error: Send, Future: Send> + Clone + Send + 'static,
    ResBody: Carries,
{
    type ResBody = ResBody;
}

/// What a request to an origin comes to.
pub(super) type Answer<S, ReqBody> =
    Result<Response<CacheBody<<S as Origin<ReqBody>>::ResBody>>, <S as Service<Request<ReqBody>>>::Error>;
