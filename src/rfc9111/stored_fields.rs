//! Which fields of a response are stored (RFC 9111 §3.1).
//!
//! What is stored is a copy, so that it holds no more memory than it is counted for.

use std::time::SystemTime;

use bytes::Bytes;
use http::header::{CONNECTION, DATE};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::field;

/// The fields of a response that are stored, every line of a repeated field in order (RFC 9111 §3.1).
///
/// Left out are the fields of one connection, the fields that `Connection` nominates, whatever they are, and `Age`,
/// which is written anew for each hit. A `Date` that is missing, nominated or invalid is the `response_time` instead.
///
/// The values are slices of one new allocation. hyper's are slices of its read buffer: to keep one of them would keep
/// a whole buffer, which no memory limit of a store would see.
pub(crate) fn stored_fields(headers: &HeaderMap, response_time: SystemTime) -> HeaderMap {
    shared_fields(headers, response_time, HeaderMap::new(), |_, _| None)
}

/// The same, after what is in `stored` already, and where a value may have a `twin` that takes its place: one that keeps
/// no buffer, and is copied for nobody.
pub(crate) fn shared_fields(
    headers: &HeaderMap,
    response_time: SystemTime,
    mut stored: HeaderMap,
    mut twin: impl FnMut(&HeaderName, &HeaderValue) -> Option<HeaderValue>,
) -> HeaderMap {
    let nominated: Vec<&[u8]> = field::list(headers, &CONNECTION).collect();
    let mut kept: Vec<Line<'_>> = Vec::with_capacity(headers.len());
    let lines = headers.iter().filter(|(name, _)| !is_left_out(name) && !is_nominated(name, &nominated));
    kept.extend(lines.map(|(name, value)| Line { name, value, twin: twin(name, value) }));
    // One more for `Date`. Whether there is as much room shows when they are added.
    let _ = stored.try_reserve(kept.len().saturating_add(1));

    let mut block = copy_values(&kept);
    for Line { name, value: original, twin } in kept {
        let value = twin.unwrap_or_else(|| slice(original, block.split_to(original.len())));
        // Fails for no response that a wire brings: a map holds tens of thousands of names.
        let _ = stored.try_append(name.clone(), value);
    }
    // RFC 9110 §6.6.1: a recipient with a clock adds the `Date` that is missing when it stores a response.
    if field::single_date(&stored, &DATE).is_none() {
        let _ = stored.try_insert(DATE, field::format_http_date(response_time));
    }
    stored
}

/// A line that is stored.
struct Line<'a> {
    name: &'a HeaderName,
    value: &'a HeaderValue,
    twin: Option<HeaderValue>,
}

/// Fields that are never stored.
fn is_left_out(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        // RFC 9110 §7.6.1: of one connection. `Trailer` is not among them: stored trailers are announced again.
        "connection" | "keep-alive" | "proxy-connection" | "te" | "transfer-encoding" | "upgrade"
        // RFC 9111 §3.1: between this hop and its proxy.
        | "proxy-authenticate" | "proxy-authentication-info" | "proxy-authorization"
        // RFC 9111 §5.1: true at one moment only.
        | "age"
    )
}

/// RFC 9110 §7.6.1: fields that `Connection` names are for this connection alone.
fn is_nominated(name: &HeaderName, nominated: &[&[u8]]) -> bool {
    nominated.iter().any(|member| member.eq_ignore_ascii_case(name.as_str().as_bytes()))
}

/// The bytes of all values without a twin, one after the other, in an allocation of just that size.
fn copy_values(lines: &[Line<'_>]) -> Bytes {
    let copied = || lines.iter().filter(|line| line.twin.is_none());
    let mut block = Vec::with_capacity(copied().map(|line| line.value.len()).sum());
    copied().for_each(|line| block.extend_from_slice(line.value.as_bytes()));
    block.into()
}

/// A value over `bytes`, which are those of `original`.
fn slice(original: &HeaderValue, bytes: Bytes) -> HeaderValue {
    // Can only fail for bytes that no value may hold.
    let mut value = HeaderValue::from_maybe_shared(bytes).unwrap_or_else(|_| original.clone());
    value.set_sensitive(original.is_sensitive());
    value
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::field::testing::{any_headers, at, headers};

    /// Name and value of each line, in order.
    fn lines(headers: &HeaderMap) -> Vec<(&str, &[u8])> {
        headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect()
    }

    fn stored_lines(given: &[(&str, &str)]) -> Vec<(String, String)> {
        let stored = stored_fields(&headers(given), at(999));
        lines(&stored)
            .into_iter()
            .map(|(name, value)| (name.to_owned(), String::from_utf8(value.to_vec()).unwrap()))
            .collect()
    }

    const DATE_LINE: (&str, &str) = ("date", "Sun, 06 Nov 1994 08:00:00 GMT");
    const ADDED: (&str, &str) = ("date", "Sun, 06 Nov 1994 08:49:37 GMT");

    type Lines = &'static [(&'static str, &'static str)];

    const GIVEN_AND_STORED: &[(&str, Lines, Lines)] = &[
        ("nothing to store", &[], &[ADDED]),
        (
            "repeated lines keep their order",
            &[("x-a", "1"), DATE_LINE, ("x-b", ""), ("x-a", "2"), ("x-a", "1")],
            &[("x-a", "1"), ("x-a", "2"), ("x-a", "1"), DATE_LINE, ("x-b", "")],
        ),
        (
            "hop by hop",
            &[
                DATE_LINE,
                ("connection", "close"),
                ("keep-alive", "5"),
                ("proxy-connection", "close"),
                ("te", "x"),
                ("transfer-encoding", "chunked"),
                ("upgrade", "h2c"),
                ("trailer", "x-t"),
            ],
            &[DATE_LINE, ("trailer", "x-t")],
        ),
        (
            "for a proxy",
            &[
                DATE_LINE,
                ("proxy-authenticate", "x"),
                ("proxy-authentication-info", "x"),
                ("proxy-authorization", "x"),
                ("www-authenticate", "x"),
            ],
            &[DATE_LINE, ("www-authenticate", "x")],
        ),
        ("age", &[("age", "5"), DATE_LINE], &[DATE_LINE]),
        (
            "nominated, in any case, over several lines",
            &[
                ("connection", "X-A, x-b"),
                ("connection", ",CONTENT-type,"),
                ("x-a", "1"),
                ("x-b", "1"),
                ("x-b", "2"),
                ("x-c", "3"),
                ("content-type", "text/plain"),
                DATE_LINE,
            ],
            &[("x-c", "3"), DATE_LINE],
        ),
        (
            "nominated cache-control",
            &[("connection", "cache-control"), ("cache-control", "max-age=60"), DATE_LINE],
            &[DATE_LINE],
        ),
        ("nominated date", &[("connection", "date"), DATE_LINE], &[ADDED]),
        (
            "nominates what is no name",
            &[("connection", "\"x-a\", x a, *"), ("x-a", "1"), DATE_LINE],
            &[("x-a", "1"), DATE_LINE],
        ),
        ("no date", &[("x-a", "1")], &[("x-a", "1"), ADDED]),
        ("malformed date", &[("date", "now"), ("x-a", "1")], &[ADDED, ("x-a", "1")]),
        ("conflicting dates", &[DATE_LINE, ("date", "Sun, 06 Nov 1994 09:00:00 GMT")], &[ADDED]),
        ("the same date twice", &[DATE_LINE, DATE_LINE], &[DATE_LINE, DATE_LINE]),
    ];

    #[test]
    fn fields_of_one_connection_are_not_stored() {
        for &(name, given, expected) in GIVEN_AND_STORED {
            let expected: Vec<_> = expected.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();

            assert_eq!(stored_lines(given), expected, "{name}");
        }
    }

    #[test]
    fn values_are_slices_of_one_new_allocation() {
        let buffer = Bytes::from(vec![b'x'; 64 * 1024]);
        let mut given = HeaderMap::new();
        for (name, range) in [("x-a", 0..10), ("x-b", 500..500), ("x-c", 1000..1020)] {
            given.append(name, HeaderValue::from_maybe_shared(buffer.slice(range)).unwrap());
        }
        given.append(DATE, HeaderValue::from_static(DATE_LINE.1));

        let stored = stored_fields(&given, at(0));

        let start = stored["x-a"].as_bytes().as_ptr() as usize;
        let old = buffer.as_ptr() as usize;
        assert!(!(old..old + buffer.len()).contains(&start));
        assert_eq!(stored["x-c"].as_bytes().as_ptr() as usize, start + 10);
        assert_eq!(stored[DATE].as_bytes().as_ptr() as usize, start + 30);
        drop(given);
        assert!(buffer.is_unique());
    }

    #[test]
    fn sensitive_values_stay_sensitive() {
        let mut given = headers(&[("x-a", "1"), ("x-b", "2")]);
        given.get_mut("x-a").unwrap().set_sensitive(true);

        let stored = stored_fields(&given, at(0));

        assert!(stored["x-a"].is_sensitive());
        assert!(!stored["x-b"].is_sensitive());
    }

    #[test]
    fn they_come_after_what_is_there() {
        let stored = shared_fields(&headers(&[("x-a", "1"), DATE_LINE]), at(0), headers(&[("x-z", "0")]), |_, _| None);

        assert_eq!(lines(&stored), [("x-z", &b"0"[..]), ("x-a", b"1"), (DATE_LINE.0, DATE_LINE.1.as_bytes())]);
    }

    proptest! {
        #[test]
        fn what_is_kept_is_kept_as_it_was(given in any_headers()) {
            let stored = stored_fields(&given, at(0));

            prop_assert!(field::single_date(&stored, &DATE).is_some());
            prop_assert!(!stored.contains_key(CONNECTION));
            for name in stored.keys().filter(|name| *name != DATE) {
                prop_assert!(stored.get_all(name).iter().eq(given.get_all(name)));
            }
        }
    }
}
