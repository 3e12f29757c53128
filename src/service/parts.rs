//! The fields of a 206 and of a 416.

use std::{
    hash::{BuildHasher, RandomState},
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::rfc9111::{
    multipart::{self, Boundary},
    validation::strip_for_not_modified,
};

/// RFC 9110 §15.5.17. What the origin said of its 200 is not said of a 416: a cache in front that took its freshness
/// would answer the next request, without a range, with it.
pub(super) fn make_unsatisfiable(headers: &mut HeaderMap, length: u64) {
    strip_for_not_modified(headers);
    strip_for_other_content(headers);
    for name in [header::AGE, header::EXPIRES, header::ETAG, header::LAST_MODIFIED] {
        headers.remove(name);
    }
    // RFC 9213 §2.1: `CDN-Cache-Control` and its like are read before `Cache-Control`.
    let is_control = |name: &&HeaderName| name.as_str().ends_with("cache-control");
    for name in headers.keys().filter(is_control).cloned().collect::<Vec<_>>() {
        headers.remove(name);
    }
    insert_text(headers, header::CONTENT_RANGE, &format!("bytes */{length}"));
}

/// RFC 9110 §15.3.7. All other fields stay: `Date`, `Cache-Control`, `ETag`, `Expires`, `Content-Location` and `Vary`
/// have to, and the others are of the representation, which is the same.
pub(super) fn insert_part(headers: &mut HeaderMap, first: u64, last: u64, length: u64) {
    strip_for_other_content(headers);
    headers.insert(header::CONTENT_LENGTH, (last - first + 1).into());
    insert_text(headers, header::CONTENT_RANGE, &multipart::content_range((first, last), length));
}

/// The same for several parts. RFC 9110 §15.3.7.2: each has its own `Content-Range`, and the head has none.
pub(super) fn insert_parts(headers: &mut HeaderMap, pieces: &[Bytes], boundary: &Boundary) {
    strip_for_other_content(headers);
    headers.remove(header::CONTENT_RANGE);
    headers.insert(header::CONTENT_LENGTH, pieces.iter().map(|piece| piece.len() as u64).sum::<u64>().into());
    insert_text(headers, header::CONTENT_TYPE, &boundary.content_type());
}

/// Removes what is true only of the content of the 200, and of the trailers that follow it.
fn strip_for_other_content(headers: &mut HeaderMap) {
    // RFC 9530 §2: of the content as it is sent, and so was its predecessor.
    for name in ["content-digest", "content-md5", "trailer"] {
        headers.remove(name);
    }
}

fn insert_text(headers: &mut HeaderMap, name: HeaderName, text: &str) {
    if let Ok(value) = HeaderValue::from_str(text) {
        headers.insert(name, value);
    }
}

/// A boundary that nobody can guess, and that was not used before.
pub(super) fn boundary() -> Boundary {
    static SECRET: LazyLock<[u8; 32]> = LazyLock::new(|| {
        let random = RandomState::new();
        let mut secret = [0; 32];
        for (number, bytes) in secret.chunks_exact_mut(8).enumerate() {
            bytes.copy_from_slice(&random.hash_one(number).to_le_bytes());
        }
        secret
    });
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    Boundary::new(&SECRET, NUMBER.fetch_add(1, Relaxed))
}
