//! What a 206 carries: one part of a stored body, or several as `multipart/byteranges` (RFC 9110 §14.6, §15.3.7).
//!
//! The bytes of the parts are slices of the stored ones. Which parts they are is decided elsewhere, and before.

use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_TYPE;

/// The bytes `first..=last` of a body; none if it does not have them all.
pub(crate) fn part(body: &Bytes, (first, last): (u64, u64)) -> Option<Bytes> {
    let (first, last) = (usize::try_from(first).ok()?, usize::try_from(last).ok()?);
    (first <= last && last < body.len()).then(|| body.slice(first..=last))
}

/// What `Content-Range` says of a part of a body of `length` bytes (RFC 9110 §14.4).
pub(crate) fn content_range((first, last): (u64, u64), length: u64) -> String {
    format!("bytes {first}-{last}/{length}")
}

/// What stands between the parts, and in none of them (RFC 2046 §5.1.1).
///
/// Who could guess it could write parts of his own into a body that has other people's readers.
#[derive(Clone, Debug)]
pub(crate) struct Boundary(String);

impl Boundary {
    /// The boundary with this number. Without the secret nobody can tell it, whatever others he has seen.
    pub(crate) fn new(secret: &[u8; 32], number: u64) -> Self {
        let digest = blake3::keyed_hash(secret, &number.to_le_bytes()).to_hex();
        Self(digest[..BOUNDARY_LENGTH].to_owned())
    }

    /// The `Content-Type` of a body with it. Without quotes, which the boundary does not need (RFC 2046 §5.1.1).
    pub(crate) fn content_type(&self) -> String {
        format!("multipart/byteranges; boundary={}", self.0)
    }
}

/// In hexadecimal digits: 128 bits.
const BOUNDARY_LENGTH: usize = 32;

/// The body of a 206 with these parts of a stored body, in pieces; none if that body does not have them all.
pub(crate) fn body(stored: &HeaderMap, whole: &Bytes, parts: &[(u64, u64)], boundary: &Boundary) -> Option<Vec<Bytes>> {
    let mut pieces = Vec::with_capacity(2 * parts.len() + 1);
    for range in parts {
        pieces.push(head(stored, *range, whole.len() as u64, &boundary.0).into());
        pieces.push(part(whole, *range)?);
    }
    pieces.push(end(&boundary.0).into());
    Some(pieces)
}

/// How many bytes the body of a 206 with these parts has, whatever its boundary.
pub(crate) fn length(stored: &HeaderMap, parts: &[(u64, u64)], whole: u64) -> u64 {
    let blank = "-".repeat(BOUNDARY_LENGTH);
    let lengths = parts.iter().map(|&(first, last)| {
        let head = head(stored, (first, last), whole, &blank).len() as u64;
        head.saturating_add(last.saturating_sub(first)).saturating_add(1)
    });
    lengths.fold(end(&blank).len() as u64, u64::saturating_add)
}

/// What stands before a part. RFC 9110 §14.6: a line may end before the first one, too.
fn head(stored: &HeaderMap, range: (u64, u64), length: u64, boundary: &str) -> Vec<u8> {
    let mut head = format!("\r\n--{boundary}\r\n").into_bytes();
    // RFC 9110 §15.3.7.2: the one that the 200 has, if it has one.
    for content_type in stored.get_all(CONTENT_TYPE) {
        head.extend_from_slice(b"Content-Type: ");
        head.extend_from_slice(content_type.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    // RFC 9110 §15.3.7.2: here, and not in the head of the 206.
    head.extend_from_slice(format!("Content-Range: {}\r\n\r\n", content_range(range, length)).as_bytes());
    head
}

/// What stands after the last part.
fn end(boundary: &str) -> Vec<u8> {
    format!("\r\n--{boundary}--\r\n").into_bytes()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;
    use crate::field::testing::{any_headers, any_value, headers};

    fn boundary() -> Boundary {
        Boundary::new(&[7; 32], 1)
    }

    /// A part as a client reads it: the lines of its head, and its bytes.
    type Read = (Vec<Vec<u8>>, Vec<u8>);

    fn read(body: &[u8], boundary: &str) -> Option<Vec<Read>> {
        let delimiter = format!("\r\n--{boundary}").into_bytes();
        let mut rest = body.strip_prefix(&*delimiter)?;
        let mut parts = Vec::new();
        while let Some(part) = rest.strip_prefix(b"\r\n") {
            let (mut lines, mut part) = (Vec::new(), part);
            loop {
                let end = part.windows(2).position(|pair| pair == b"\r\n")?;
                let (line, after) = (&part[..end], &part[end + 2..]);
                part = after;
                if line.is_empty() {
                    break;
                }
                lines.push(line.to_vec());
            }
            let end = part.windows(delimiter.len()).position(|bytes| bytes == delimiter)?;
            parts.push((lines, part[..end].to_vec()));
            rest = &part[end + delimiter.len()..];
        }
        (rest == b"--\r\n").then_some(parts)
    }

    #[test]
    fn each_part_has_a_head_of_its_own() {
        let stored = headers(&[("content-type", "text/plain; charset=utf-8"), ("etag", "\"a\"")]);
        let whole = Bytes::from_static(b"0123456789");

        let found = body(&stored, &whole, &[(7, 9), (0, 1)], &boundary()).unwrap().concat();

        let line = boundary().0;
        let expected = format!(
            "\r\n--{line}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Range: bytes 7-9/10\r\n\r\n789\
             \r\n--{line}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Range: bytes 0-1/10\r\n\r\n01\
             \r\n--{line}--\r\n"
        );
        assert_eq!(String::from_utf8(found).unwrap(), expected);
    }

    #[test]
    fn a_part_is_a_slice_of_the_body_and_never_a_copy() {
        let whole = Bytes::from_static(b"0123456789");

        let found = body(&HeaderMap::new(), &whole, &[(2, 4), (3, 9)], &boundary()).unwrap();

        assert_eq!(found[1].as_ptr(), whole[2..].as_ptr());
        assert_eq!(found[3].as_ptr(), whole[3..].as_ptr());
    }

    #[test]
    fn what_the_body_does_not_have_is_no_part() {
        let whole = Bytes::from_static(b"0123456789");
        for range in [(0, 10), (10, 10), (5, 4), (0, u64::MAX), (u64::MAX, u64::MAX)] {
            assert_eq!(part(&whole, range), None, "{range:?}");
            assert_eq!(body(&HeaderMap::new(), &whole, &[(0, 1), range], &boundary()), None, "{range:?}");
        }
    }

    #[test]
    fn a_boundary_is_legal_and_another_for_each_number_and_each_secret() {
        let table = [([7; 32], 1), ([7; 32], 2), ([8; 32], 1)].map(|(secret, number)| Boundary::new(&secret, number));
        for (index, Boundary(text)) in table.iter().enumerate() {
            assert_eq!(text.len(), BOUNDARY_LENGTH);
            assert!(text.bytes().all(|byte| byte.is_ascii_hexdigit()));
            assert!(table[..index].iter().all(|Boundary(earlier)| earlier != text));
        }
        assert!(HeaderValue::try_from(boundary().content_type()).is_ok());
    }

    proptest! {
        #[test]
        fn what_was_written_is_read_back(
            mut stored in any_headers(),
            content_type in prop::option::of(any_value()),
            whole in prop::collection::vec(any::<u8>(), 1..300),
            bounds in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 1..9),
        ) {
            let content_type = content_type.map(|value| HeaderValue::from_bytes(&value).unwrap());
            if let Some(value) = &content_type {
                stored.insert(CONTENT_TYPE, value.clone());
            }
            let whole = Bytes::from(whole);
            let ranges: Vec<(usize, usize)> = bounds
                .iter()
                .map(|(one, other)| (one.index(whole.len()), other.index(whole.len())))
                .map(|(one, other)| (one.min(other), one.max(other)))
                .collect();
            let parts: Vec<_> = ranges.iter().map(|&(first, last)| (first as u64, last as u64)).collect();

            let written = body(&stored, &whole, &parts, &boundary()).unwrap().concat();

            prop_assert_eq!(written.len() as u64, length(&stored, &parts, whole.len() as u64));
            let expected: Vec<_> = ranges
                .iter()
                .map(|&(first, last)| {
                    let mut lines = Vec::new();
                    if let Some(value) = &content_type {
                        lines.push([b"Content-Type: ", value.as_bytes()].concat());
                    }
                    lines.push(format!("Content-Range: bytes {first}-{last}/{}", whole.len()).into_bytes());
                    (lines, whole[first..=last].to_vec())
                })
                .collect();
            prop_assert_eq!(read(&written, &boundary().0), Some(expected));
        }

        #[test]
        fn any_parts_can_be_measured_and_asked_for(
            stored in any_headers(),
            whole in prop::collection::vec(any::<u8>(), 0..20),
            near in prop::collection::vec((0..30_u64, 0..30_u64), 0..4),
            far in prop::collection::vec(any::<(u64, u64)>(), 0..4),
            said in any::<u64>(),
        ) {
            let parts = [near, far].concat();
            length(&stored, &parts, said);
            body(&stored, &whole.into(), &parts, &boundary());
        }
    }
}
