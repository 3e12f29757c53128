//! From a stored response to the answer to one request: 200, 206, 304, 416, or the head alone.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header, response};
use http_body::Body;

use super::parts::{boundary, insert_part, insert_parts, make_unsatisfiable};
use crate::{
    body::{CacheBody, FillReader},
    field::{ContentLength, content_length},
    policy::{Carried, Credentials},
    rfc9111::{
        multipart,
        ranges::{RangeRequest, Selected},
        request_directives::RequestDirectives,
        validation::{Conditions, strip_for_not_modified},
    },
    status::{CACHE_STATUS, CacheStatus},
    stored::{StoredHead, StoredResponse},
};

/// What a request asks of the response, beyond which one it is.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    is_head: bool,
    pub(super) credentials: Credentials,
    /// The request was keyed by its content.
    pub(super) by_content: bool,
    /// Apart, because most requests ask for no such thing.
    special: Option<Box<Special>>,
    /// What it asks in `Cache-Control`, where that counts.
    wishes: Option<Box<RequestDirectives>>,
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
        let wishes = carried.wishes.then(|| Box::new(RequestDirectives::of(request.headers())));
        Self { is_head, credentials: carried.credentials, by_content: false, special, wishes }
    }

    pub(super) fn wishes(&self) -> &RequestDirectives {
        const NONE: &RequestDirectives = &RequestDirectives::NONE;
        self.wishes.as_deref().unwrap_or(NONE)
    }

    pub(super) fn is_head(&self) -> bool {
        self.is_head
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
        if *request.method() == Method::HEAD {
            *request.method_mut() = Method::GET;
        }
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
            insert_length(&mut headers, head.status, Some(length));
            return build(head.status, headers, CacheBody::none(), status);
        }
        match self.range() {
            Some(range) if head.status == StatusCode::OK => match range.select(&head.headers, length) {
                Selected::Whole => {}
                Selected::Part { first, last } => {
                    if let Some(bytes) = multipart::part(&stored.body.bytes, (first, last)) {
                        insert_part(&mut headers, first, last, length);
                        return build(StatusCode::PARTIAL_CONTENT, headers, CacheBody::from(bytes), status);
                    }
                }
                Selected::Parts(parts) => {
                    let boundary = boundary();
                    if let Some(pieces) = multipart::body(&head.headers, &stored.body.bytes, &parts, &boundary) {
                        insert_parts(&mut headers, &pieces, &boundary);
                        return build(StatusCode::PARTIAL_CONTENT, headers, CacheBody::pieces(pieces), status);
                    }
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
            insert_length(&mut head.headers, head.status, length);
            return Response::from_parts(head, CacheBody::none());
        }
        let (Some(range), Some(length), StatusCode::OK) = (self.range(), length, head.status) else {
            return Response::from_parts(head, body);
        };
        match range.select(&head.headers, length) {
            Selected::Whole => Response::from_parts(head, body),
            Selected::Parts(parts) => {
                let boundary = boundary();
                // RFC 9110 §14.2: several ranges may be ignored, as here, where the body is still coming.
                let pieces = body.bytes().and_then(|bytes| multipart::body(&head.headers, bytes, &parts, &boundary));
                let Some(pieces) = pieces else { return Response::from_parts(head, body) };
                head.status = StatusCode::PARTIAL_CONTENT;
                insert_parts(&mut head.headers, &pieces, &boundary);
                Response::from_parts(head, CacheBody::pieces(pieces))
            }
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

/// RFC 9110 §8.6: the length that the GET would have, which the server can not tell from the answer to a HEAD. A 204 has
/// none, and what an origin says of its 304 is not ours to add to.
fn insert_length(headers: &mut HeaderMap, code: StatusCode, length: Option<u64>) {
    if let Some(length) = length.filter(|_| !matches!(code, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)) {
        headers.entry(header::CONTENT_LENGTH).or_insert(length.into());
    }
}

/// Says in a response what the cache did. RFC 9211 §2: each cache adds itself after those nearer to the origin.
pub(super) fn stamp<B>(response: &mut Response<B>, status: CacheStatus) {
    response.headers_mut().append(CACHE_STATUS, status.to_value());
    response.extensions_mut().insert(status);
}

/// 503 with `Retry-After`: the origin is spared.
pub(super) fn unavailable<B>(status: CacheStatus) -> Response<CacheBody<B>> {
    let mut response = fault(StatusCode::SERVICE_UNAVAILABLE, status);
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

/// A response of the cache's own, which nobody may keep.
pub(super) fn fault<B>(code: StatusCode, status: CacheStatus) -> Response<CacheBody<B>> {
    let mut headers = HeaderMap::with_capacity(4);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(CACHE_STATUS, status.to_value());
    build(code, headers, CacheBody::empty(), status)
}

fn not_modified<B>(head: &StoredHead, status: CacheStatus, age: Duration) -> Response<CacheBody<B>> {
    let mut headers = head.headers_at(age, status.to_value());
    strip_for_not_modified(&mut headers);
    build(StatusCode::NOT_MODIFIED, headers, CacheBody::none(), status)
}

fn unsatisfiable<B>(mut headers: HeaderMap, length: u64, status: CacheStatus) -> Response<CacheBody<B>> {
    make_unsatisfiable(&mut headers, length);
    build(StatusCode::RANGE_NOT_SATISFIABLE, headers, CacheBody::empty(), status)
}

/// `headers` say already what the cache did.
#[inline]
fn build<B>(code: StatusCode, headers: HeaderMap, body: CacheBody<B>, status: CacheStatus) -> Response<CacheBody<B>> {
    let mut response = Response::new(body);
    *response.status_mut() = code;
    *response.headers_mut() = headers;
    // Those that are many say it in the field alone: extensions are three allocations.
    if !status.is_in_field() {
        response.extensions_mut().insert(status);
    }
    response
}
