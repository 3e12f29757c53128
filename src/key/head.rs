//! What a key is made from: the head of a request, borrowed.

use http::{Extensions, HeaderMap, Method, Request, Uri, request};

/// The head of a request, borrowed: what decides its key and its tenant.
///
/// Four references, so that it is passed by value. It can be had without taking the request apart.
///
/// ```
/// use microcache::RequestHead;
///
/// let request = http::Request::get("/products?page=2").body("whatever").unwrap();
/// let head = RequestHead::of(&request);
/// assert_eq!(head.uri().query(), Some("page=2"));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct RequestHead<'a> {
    method: &'a Method,
    uri: &'a Uri,
    headers: &'a HeaderMap,
    extensions: &'a Extensions,
}

impl<'a> RequestHead<'a> {
    /// The head of a request, whatever its body.
    #[must_use]
    pub fn of<B>(request: &'a Request<B>) -> Self {
        Self::new(request.method(), request.uri(), request.headers(), request.extensions())
    }

    pub(crate) const fn new(
        method: &'a Method,
        uri: &'a Uri,
        headers: &'a HeaderMap,
        extensions: &'a Extensions,
    ) -> Self {
        Self { method, uri, headers, extensions }
    }

    /// The request's method.
    #[must_use]
    pub const fn method(&self) -> &'a Method {
        self.method
    }

    /// The request's URI, as the layers around the cache left it.
    #[must_use]
    pub const fn uri(&self) -> &'a Uri {
        self.uri
    }

    /// The request's header fields.
    #[must_use]
    pub const fn headers(&self) -> &'a HeaderMap {
        self.headers
    }

    /// The request's extensions: what the layers around the cache found out about it.
    #[must_use]
    pub const fn extensions(&self) -> &'a Extensions {
        self.extensions
    }
}

impl<'a> From<&'a request::Parts> for RequestHead<'a> {
    fn from(parts: &'a request::Parts) -> Self {
        Self::new(&parts.method, &parts.uri, &parts.headers, &parts.extensions)
    }
}
