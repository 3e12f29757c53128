//! Between the plain messages of the oracles and those of `http`.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body_util::{Empty, Full};
use microcache::{Clock, ManualClock};

use crate::said::{Fields, Request, Response};

pub(crate) fn request(request: &Request) -> http::Request<Empty<Bytes>> {
    let mut builder = http::Request::builder().method(request.method.as_str()).uri(&request.path);
    for (name, value) in &request.fields {
        builder = builder.header(name, value);
    }
    builder.body(Empty::new()).unwrap()
}

pub(crate) fn response(response: &Response) -> http::Response<Full<Bytes>> {
    let mut builder = http::Response::builder().status(response.status);
    for (name, value) in &response.fields {
        builder = builder.header(name, value);
    }
    builder.body(Full::new(Bytes::from(response.body.clone()))).unwrap()
}

pub(crate) fn read_request<B>(request: &http::Request<B>) -> Request {
    let path = request.uri().path().to_owned();
    Request { method: request.method().to_string(), path, fields: read_fields(request.headers()) }
}

pub(crate) fn read_fields(headers: &HeaderMap) -> Fields {
    let text = |value: &HeaderValue| value.to_str().unwrap().to_owned();
    let line = |(name, value): (&HeaderName, &HeaderValue)| (name.to_string(), text(value));
    headers.iter().map(line).collect()
}

/// Milliseconds since 1970.
pub(crate) fn millis(clock: &ManualClock) -> u64 {
    let since_epoch = clock.now().duration_since(std::time::UNIX_EPOCH).unwrap();
    u64::try_from(since_epoch.as_millis()).unwrap()
}
