//! From a stored response to the answer to one request: 200, 206, 304, 416, or the head alone.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header, response};
use http_body::Body;

use crate::{
    body::{CacheBody, FillReader},
    field::{ContentLength, content_length},
    policy::{Carried, Credentials},
    rfc9111::{
        ranges::{RangeRequest, Selected},
        validation::{Conditions, strip_for_not_modified},
    },
    status::{CACHE_STATUS, CacheStatus},
    stored::{StoredBody, StoredHead, StoredResponse},
};

/// What a request asks of the response, beyond which one it is.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    is_head: bool,
    pub(super) credentials: Credentials,
    /// Apart, because most requests ask for no such thing.
    special: Option<Box<Special>>,
}

/// A part of the response, or only news.
#[derive(Clone, Debug, Default)]
struct Special {
    conditions: Conditions,
    range: Option<RangeRequest>,
}

impl Ask {
    pub(super) fn of<B>(request: &Request<B>, carried: Carried) -> Self {
        let is_head = *request.method() == Method::HEAD;
        let special = (carried.condition || carried.range).then(|| {
            let conditions = Conditions::of(request.headers());
            // RFC 9110 §14.2: Range is for GET.
            let range = if is_head { None } else { RangeRequest::of(request.headers()) };
            Box::new(Special { conditions, range })
        });
        Self { is_head, credentials: carried.credentials, special }
    }

    fn range(&self) -> Option<&RangeRequest> {
        self.special.as_ref()?.range.as_ref()
    }

    /// RFC 9110 §13.2.1: conditions are for what would be a success.
    fn is_not_modified(&self, status: StatusCode, headers: &HeaderMap) -> bool {
        let special = self.special.as_ref().filter(|_| status.is_success());
        special.is_some_and(|special| !special.conditions.is_empty() && special.conditions.not_modified(headers))
    }

    /// A GET for the whole, without conditions: the origin's answer to it is the representation itself.
    pub(super) fn is_plain(&self) -> bool {
        let asks_more = |special: &Special| special.range.is_some() || !special.conditions.is_empty();
        !self.is_head && !self.special.as_deref().is_some_and(asks_more)
    }

    /// Which part to answer with depends on the length of the whole.
    pub(super) fn needs_length(&self) -> bool {
        self.range().is_some()
    }

    /// Makes the request one for the whole response, so that the answer can be shared.
    pub(super) fn make_whole<B>(request: &mut Request<B>) {
        *request.method_mut() = Method::GET;
        Conditions::remove_from(request.headers_mut());
        RangeRequest::remove_from(request.headers_mut());
    }

    /// The head is all that is asked for, or all that there is to say.
    pub(super) fn takes_no_body(&self, head: &StoredHead) -> bool {
        self.is_head || self.is_not_modified(head.status, &head.headers)
    }

    /// The answer from a stored response.
    #[inline]
    pub(super) fn answer<B>(
        &self,
        stored: &StoredResponse,
        status: CacheStatus,
        age: Duration,
    ) -> Response<CacheBody<B>> {
        if self.is_head || self.special.is_some() {
            return self.answer_special(stored, status, age);
        }
        let headers = stored.head.headers_at(age, status.to_value());
        build(stored.head.status, headers, CacheBody::stored(stored.body.clone()), status)
    }

    /// The same for a request that asks for less than the whole. Apart, so that the many plain hits do not carry it.
    #[cold]
    fn answer_special<B>(&self, stored: &StoredResponse, status: CacheStatus, age: Duration) -> Response<CacheBody<B>> {
        let head = &*stored.head;
        if self.is_not_modified(head.status, &head.headers) {
            return not_modified(head, status, age);
        }
        let mut headers = head.headers_at(age, status.to_value());
        let length = stored.body.bytes.len() as u64;
        if self.is_head {
            // The length that the GET would have (RFC 9110 §8.6), which the server can not tell from here.
            headers.entry(header::CONTENT_LENGTH).or_insert_with(|| length.into());
            return build(head.status, headers, CacheBody::none(), status);
        }
        match self.range() {
            Some(range) if head.status == StatusCode::OK => match range.select(&head.headers, length) {
                Selected::Whole => {}
                Selected::Part { first, last } => {
                    return part(headers, &stored.body.bytes, (first, last), status);
                }
                Selected::Unsatisfiable => return unsatisfiable(headers, length, status),
            },
            _ => {}
        }
        build(head.status, headers, CacheBody::stored(stored.body.clone()), status)
    }

    /// The answer from a response whose body is still coming.
    pub(super) fn answer_filling<B>(
        &self,
        head: &StoredHead,
        reader: FillReader,
        status: CacheStatus,
        age: Duration,
    ) -> Response<CacheBody<B>> {
        if self.is_not_modified(head.status, &head.headers) {
            return not_modified(head, status, age);
        }
        // Without a body the reader goes, and the fill is finished in the background.
        let body = if self.is_head { CacheBody::none() } else { CacheBody::fill(reader) };
        build(head.status, head.headers_at(age, status.to_value()), body, status)
    }

    /// Fits the origin's own response to a request that was made whole: of a HEAD the head alone, 304 if the
    /// client has it, the part that was asked for if the length is known.
    pub(super) fn fit<B>(&self, mut head: response::Parts, body: CacheBody<B>) -> Response<CacheBody<B>>
    where
        CacheBody<B>: Body,
    {
        if self.is_not_modified(head.status, &head.headers) {
            head.status = StatusCode::NOT_MODIFIED;
            strip_for_not_modified(&mut head.headers);
            return Response::from_parts(head, CacheBody::none());
        }
        let length = match content_length(&head.headers) {
            ContentLength::Bytes(length) => Some(length),
            ContentLength::Absent | ContentLength::Malformed => body.size_hint().exact(),
        };
        if self.is_head {
            if let Some(length) = length {
                head.headers.entry(header::CONTENT_LENGTH).or_insert(length.into());
            }
            return Response::from_parts(head, CacheBody::none());
        }
        let (Some(range), Some(length), StatusCode::OK) = (self.range(), length, head.status) else {
            return Response::from_parts(head, body);
        };
        match range.select(&head.headers, length) {
            Selected::Whole => Response::from_parts(head, body),
            Selected::Part { first, last } => {
                head.status = StatusCode::PARTIAL_CONTENT;
                insert_part(&mut head.headers, first, last, length);
                Response::from_parts(head, CacheBody::part(body, first, last))
            }
            Selected::Unsatisfiable => {
                head.status = StatusCode::RANGE_NOT_SATISFIABLE;
                make_unsatisfiable(&mut head.headers, length);
                Response::from_parts(head, CacheBody::empty())
            }
        }
    }
}

/// Says in a response what the cache did. RFC 9211 §2: each cache adds itself after those nearer to the origin.
pub(super) fn stamp<B>(response: &mut Response<B>, status: CacheStatus) {
    response.headers_mut().append(CACHE_STATUS, status.to_value());
    response.extensions_mut().insert(status);
}

/// 503 with `Retry-After`: the origin is spared.
pub(super) fn unavailable<B>(status: CacheStatus) -> Response<CacheBody<B>> {
    let mut headers = HeaderMap::with_capacity(4);
    headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(CACHE_STATUS, status.to_value());
    build(StatusCode::SERVICE_UNAVAILABLE, headers, CacheBody::empty(), status)
}

fn not_modified<B>(head: &StoredHead, status: CacheStatus, age: Duration) -> Response<CacheBody<B>> {
    let mut headers = head.headers_at(age, status.to_value());
    strip_for_not_modified(&mut headers);
    build(StatusCode::NOT_MODIFIED, headers, CacheBody::none(), status)
}

fn part<B>(
    mut headers: HeaderMap,
    body: &Bytes,
    (first, last): (u64, u64),
    status: CacheStatus,
) -> Response<CacheBody<B>> {
    let bounds = (usize::try_from(first), usize::try_from(last));
    let (Ok(start), Ok(end)) = bounds else { return unsatisfiable(headers, body.len() as u64, status) };
    if start > end || end >= body.len() {
        return unsatisfiable(headers, body.len() as u64, status);
    }
    let bytes = body.slice(start..=end);
    insert_part(&mut headers, first, last, body.len() as u64);
    build(StatusCode::PARTIAL_CONTENT, headers, CacheBody::stored(StoredBody { bytes, trailers: None }), status)
}

fn unsatisfiable<B>(mut headers: HeaderMap, length: u64, status: CacheStatus) -> Response<CacheBody<B>> {
    make_unsatisfiable(&mut headers, length);
    build(StatusCode::RANGE_NOT_SATISFIABLE, headers, CacheBody::empty(), status)
}

/// RFC 9110 §15.5.17. What the origin said of its 200 is not said of a 416: a cache in front that took its freshness
/// would answer the next request, without a range, with it.
fn make_unsatisfiable(headers: &mut HeaderMap, length: u64) {
    strip_for_not_modified(headers);
    for name in [header::AGE, header::EXPIRES, header::ETAG, header::LAST_MODIFIED, header::CACHE_CONTROL] {
        headers.remove(name);
    }
    insert_content_range(headers, &format!("bytes */{length}"));
}

/// RFC 9110 §15.3.7.
fn insert_part(headers: &mut HeaderMap, first: u64, last: u64, length: u64) {
    headers.insert(header::CONTENT_LENGTH, (last - first + 1).into());
    insert_content_range(headers, &format!("bytes {first}-{last}/{length}"));
}

fn insert_content_range(headers: &mut HeaderMap, text: &str) {
    if let Ok(value) = HeaderValue::from_str(text) {
        headers.insert(header::CONTENT_RANGE, value);
    }
}

/// `headers` say already what the cache did.
#[inline]
fn build<B>(code: StatusCode, headers: HeaderMap, body: CacheBody<B>, status: CacheStatus) -> Response<CacheBody<B>> {
    let mut response = Response::new(body);
    *response.status_mut() = code;
    *response.headers_mut() = headers;
    response.extensions_mut().insert(status);
    response
}
