//! What every answer says besides its content: keep it to yourself.

use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, Response,
    header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS},
};
use serde_json::Value;

use super::body::{AdminBody, EventStream};

/// The dashboard.
pub(super) fn page() -> Response<AdminBody> {
    let mut response = answer("text/html; charset=utf-8", AdminBody::whole(Bytes::from_static(PAGE.as_bytes())));
    response.headers_mut().insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(PAGE_MAY));
    response
}

pub(super) fn json(value: &Value) -> Response<AdminBody> {
    text("application/json", value.to_string())
}

pub(super) fn text(content_type: &'static str, text: String) -> Response<AdminBody> {
    answer(content_type, AdminBody::whole(text.into()))
}

pub(super) fn events(stream: EventStream) -> Response<AdminBody> {
    let mut response = answer("text/event-stream", AdminBody::events(stream));
    // nginx would hold events back until it has a buffer full of them.
    response.headers_mut().insert(X_ACCEL_BUFFERING, HeaderValue::from_static("no"));
    response
}

fn answer(content_type: &'static str, body: AdminBody) -> Response<AdminBody> {
    let mut response = Response::new(body);
    let fields = [
        (CONTENT_TYPE, content_type),
        (CACHE_CONTROL, "no-store"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
    ];
    for (name, value) in fields {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

const PAGE: &str = include_str!("page.html");

/// The page runs its own script and style, whose hashes these are, and asks its own server. Nothing else.
const PAGE_MAY: &str = "default-src 'none'; \
    script-src 'sha256-neXbTich4P7RSkzCbs/gMzY917QE8X7BM0PzIKDr73s='; \
    style-src 'sha256-0SOMsjcBRDCHxrsftXAKdLACKU/AFPB0B2ATbnQKjxM='; \
    img-src data:; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::*;

    #[test]
    fn the_policy_has_the_hashes_of_the_page_as_it_is() {
        for (directive, tag) in [("script-src", "script"), ("style-src", "style")] {
            let (open, close) = (format!("<{tag}>"), format!("</{tag}>"));
            assert_eq!((PAGE.matches(&open).count(), PAGE.matches(&close).count()), (1, 1), "{tag}");
            let content = PAGE.split_once(&open).unwrap().1.split_once(&close).unwrap().0;
            let wanted = format!("{directive} 'sha256-{}';", base64(&Sha256::digest(content)));
            assert!(PAGE_MAY.contains(&wanted), "answer.rs has to say: {wanted}");
        }
    }

    #[test]
    fn the_page_has_nothing_in_it_that_makes_html_of_data_or_leaves_the_server() {
        for word in ["innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval(", "cookie", "https:", "src="]
        {
            assert!(!PAGE.contains(word), "{word}");
        }
    }

    fn base64(bytes: &[u8]) -> String {
        const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let group = |group: &[u8]| {
            let bits = (0..3).fold(0_usize, |bits, at| bits << 8 | usize::from(*group.get(at).unwrap_or(&0)));
            let digit = move |at: usize| {
                let digit = char::from(DIGITS[bits >> (18 - 6 * at) & 63]);
                if at > group.len() { '=' } else { digit }
            };
            (0..4).map(digit).collect::<String>()
        };
        bytes.chunks(3).map(group).collect()
    }
}
