//! Conditions of the client, answered from a stored response (RFC 9111 §4.3.2, RFC 9110 §13).
//!
//! Says whether a condition holds and what the head of a 304 is. Whether the stored response may be used at all is
//! decided elsewhere, and before.

use std::time::SystemTime;

use http::header::{
    CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, DATE, ETAG, IF_MODIFIED_SINCE,
    IF_NONE_MATCH, LAST_MODIFIED,
};
use http::{HeaderMap, HeaderValue};

use crate::field::{self, Backslash, Singleton};

/// What a client asks with `If-None-Match` and `If-Modified-Since`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Conditions {
    /// The lines of `If-None-Match`.
    if_none_match: Vec<HeaderValue>,
    /// The date of `If-Modified-Since`, where it counts.
    if_modified_since: Option<SystemTime>,
}

impl Conditions {
    /// Reads the conditions of a GET or HEAD request. Allocates only if it has `If-None-Match`.
    pub(crate) fn of(request: &HeaderMap) -> Self {
        let if_none_match: Vec<_> = request.get_all(IF_NONE_MATCH).into_iter().cloned().collect();
        // RFC 9110 §13.1.3: ignored next to `If-None-Match`, with several members, or if it is no date.
        let if_modified_since = match if_none_match.is_empty() {
            true => field::single_date(request, &IF_MODIFIED_SINCE),
            false => None,
        };
        Self { if_none_match, if_modified_since }
    }

    /// Whether the request has no condition that counts, so that it is never answered with a 304.
    ///
    /// Fields that do not count may still be there, and an origin may read them with less care: a request that is
    /// made whole goes through [`remove_from`](Self::remove_from) whatever this says.
    pub(crate) fn is_empty(&self) -> bool {
        self.if_none_match.is_empty() && self.if_modified_since.is_none()
    }

    /// Whether a client that asked this already has the stored response, whose status is 200 (RFC 9111 §4.3.2).
    pub(crate) fn not_modified(&self, stored: &HeaderMap) -> bool {
        // RFC 9110 §13.2.2: `If-None-Match` is evaluated first, and then it alone.
        if !self.if_none_match.is_empty() {
            return self.names_the_tag_of(stored);
        }
        let Some(if_modified_since) = self.if_modified_since else { return false };
        let last_modified = match stored.contains_key(LAST_MODIFIED) {
            true => field::single_date(stored, &LAST_MODIFIED),
            // RFC 9111 §4.3.2: without it the date of the response counts.
            false => field::single_date(stored, &DATE),
        };
        // RFC 9110 §13.1.3: the condition fails if the last modification is not later than the date.
        last_modified.is_some_and(|last_modified| last_modified <= if_modified_since)
    }

    /// Removes the conditions from a request that is made whole, so that its answer suits every client.
    pub(crate) fn remove_from(request: &mut HeaderMap) {
        request.remove(IF_NONE_MATCH);
        request.remove(IF_MODIFIED_SINCE);
    }

    /// Whether `If-None-Match` is `*` or has the entity tag of the stored response (RFC 9110 §13.1.2).
    fn names_the_tag_of(&self, stored: &HeaderMap) -> bool {
        // A `*` stands alone and matches whatever exists. Among other members it is malformed.
        if let [only] = self.if_none_match.as_slice()
            && field::trim_ows(only.as_bytes()) == b"*"
        {
            return true;
        }
        let Some(stored) = EntityTag::of(stored) else {
            return false;
        };
        self.if_none_match
            .iter()
            .flat_map(|line| field::members(line.as_bytes(), Backslash::Plain))
            .filter_map(EntityTag::parse)
            .any(|tag| tag.weakly_equals(&stored))
    }
}

/// Turns the head of a stored 200 into that of the 304 for it (RFC 9110 §15.4.5).
///
/// What describes the content goes, and with an `ETag` also `Last-Modified`. All other fields stay, in their order
/// of lines.
pub(crate) fn strip_for_not_modified(headers: &mut HeaderMap) {
    for name in [CONTENT_LENGTH, CONTENT_TYPE, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_RANGE] {
        headers.remove(name);
    }
    // RFC 9110 §15.4.5: other metadata is useful to a client only where there is no entity tag.
    if headers.contains_key(ETAG) {
        headers.remove(LAST_MODIFIED);
    }
}

/// An entity tag (RFC 9110 §8.8.3). Two are `==` if they are written the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EntityTag<'a> {
    weak: bool,
    /// What is between the quotes.
    opaque: &'a [u8],
}

impl<'a> EntityTag<'a> {
    /// The entity tag of a response; none if it is malformed or there are several that differ.
    pub(crate) fn of(headers: &'a HeaderMap) -> Option<Self> {
        match field::singleton(headers, &ETAG) {
            Singleton::One(value) => Self::parse(field::trim_ows(value.as_bytes())),
            Singleton::Absent | Singleton::Conflicting => None,
        }
    }

    /// Reads `"opaque"` or `W/"opaque"`, with nothing around it. The `W` is upper case.
    pub(crate) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (weak, quoted) = match bytes {
            [b'W', b'/', quoted @ ..] => (true, quoted),
            quoted => (false, quoted),
        };
        let [b'"', opaque @ .., b'"'] = quoted else {
            return None;
        };
        // Visible ASCII without the quote, or not ASCII: spaces are not legal here.
        let legal = |byte: &u8| matches!(byte, 0x21 | 0x23..=0x7e | 0x80..);
        opaque.iter().all(legal).then_some(Self { weak, opaque })
    }

    /// Appends the tag as it is written in a field.
    pub(crate) fn write_to(&self, out: &mut Vec<u8>) {
        let mark: &[u8] = if self.weak { b"W/\"" } else { b"\"" };
        out.extend_from_slice(mark);
        out.extend_from_slice(self.opaque);
        out.push(b'"');
    }

    /// Whether what has this tag may have changed in ways that do not count (RFC 9110 §8.8.1).
    pub(crate) fn is_weak(&self) -> bool {
        self.weak
    }

    /// Whether both stand for the same representation, or one that is as good (RFC 9110 §8.8.3.2).
    pub(crate) fn weakly_equals(&self, other: &EntityTag<'_>) -> bool {
        self.opaque == other.opaque
    }

    /// Whether both stand for the same bytes: equal, and neither is weak (RFC 9110 §8.8.3.2).
    pub(crate) fn strongly_equals(&self, other: &EntityTag<'_>) -> bool {
        !self.weak && !other.weak && self.opaque == other.opaque
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::field::testing::{any_headers, any_value, headers};

    fn holds(request: &[(&str, &[u8])], stored: &[(&str, &[u8])]) -> bool {
        Conditions::of(&headers(request)).not_modified(&headers(stored))
    }

    /// The values of the lines of a field.
    type Values = &'static [&'static [u8]];
    type Lines = &'static [(&'static str, &'static [u8])];

    const A: &[u8] = b"\"a\"";

    const TAG_LINES: &[(Values, Values, bool)] = &[
        (&[A], &[A], true),
        (&[b"W/\"a\""], &[b"W/\"a\""], true),
        (&[b"W/\"a\""], &[A], true),
        (&[A], &[b"W/\"a\""], true),
        (&[b" \"a\"\t"], &[A], true),
        (&[b"\"a\", \"b\", \"c\""], &[A], true),
        (&[b"\"b\",W/\"a\",\"c\""], &[A], true),
        (&[b"\"b\" , \"c\",,\"a\" "], &[A], true),
        (&[b"\"b\"", A], &[A], true),
        (&[b"\"b, c\", \"a\""], &[A], true),
        (&[b"\"a, b\""], &[b"\"a, b\""], false),
        (&[b"\"a,b\""], &[b"\"a,b\""], true),
        (&[b"\"a,b\""], &[A], false),
        (&[b"\"a\\\", \"b\""], &[b"\"a\\\""], true),
        (&[b"\"a\\\", \"b\""], &[b"\"b\""], true),
        (&[b"\"\""], &[b"\"\""], true),
        (&[b"\"\xfc\""], &[b"\"\xfc\""], true),
        (&[b"*"], &[A], true),
        (&[b" * "], &[A], true),
        (&[b"*"], &[], true),
        (&[b"*"], &[b"broken"], true),
        (&[b"\"*\""], &[A], false),
        (&[b"*, \"a\""], &[A], true),
        (&[b"*, \"b\""], &[A], false),
        (&[b"*", b"*"], &[A], false),
        (&[A], &[], false),
        (&[A], &[b"\"b\""], false),
        (&[A], &[b"\"A\""], false),
        (&[A], &[A, A], true),
        (&[A], &[A, b"\"b\""], false),
        (&[b""], &[A], false),
        (&[b"a"], &[b"a"], false),
        (&[b"a"], &[A], false),
        (&[A], &[b"a"], false),
        (&[b"w/\"a\""], &[b"w/\"a\""], false),
        (&[b"W\"a\""], &[b"W\"a\""], false),
        (&[b"W/a"], &[b"W/a"], false),
        (&[b"W/ \"a\""], &[A], false),
        (&[b"\"a"], &[b"\"a"], false),
        (&[b"\""], &[b"\""], false),
        (&[b"\"b, \"a\""], &[A], false),
        (&[b"x, \"a\""], &[A], true),
    ];

    #[test]
    fn if_none_match_names_the_stored_tag_by_weak_comparison() {
        for &(request, stored, expected) in TAG_LINES {
            let shown: Vec<_> = request.iter().chain(stored).map(|line| line.escape_ascii().to_string()).collect();
            let request: Vec<_> = request.iter().map(|line| ("if-none-match", *line)).collect();
            let stored: Vec<_> = stored.iter().map(|line| ("etag", *line)).collect();

            assert_eq!(holds(&request, &stored), expected, "{shown:?}");
        }
    }

    const EIGHT: &[u8] = b"Sun, 06 Nov 1994 08:00:00 GMT";
    const NINE: &[u8] = b"Sun, 06 Nov 1994 09:00:00 GMT";

    #[test]
    fn if_modified_since_is_compared_with_last_modified() {
        let cases: [(Values, Values, bool); 15] = [
            (&[NINE], &[NINE], true),
            (&[NINE], &[EIGHT], true),
            (&[EIGHT], &[NINE], false),
            (&[b"Sunday, 06-Nov-94 09:00:00 GMT"], &[NINE], true),
            (&[b"Sun Nov  6 09:00:00 1994"], &[NINE], true),
            (&[b"sun, 06 nov 1994 09:00:00 gmt"], &[NINE], true),
            (&[NINE, NINE], &[EIGHT], true),
            (&[NINE, EIGHT], &[EIGHT], false),
            (&[b"0"], &[EIGHT], false),
            (&[b"Mon, 06 Nov 1994 09:00:00 GMT"], &[EIGHT], false),
            (&[b""], &[EIGHT], false),
            (&[NINE], &[], true),
            (&[b"Sun, 06 Nov 1994 07:59:59 GMT"], &[], false),
            (&[NINE], &[b"0"], false),
            (&[NINE], &[EIGHT, NINE], false),
        ];
        for (request, stored, expected) in cases {
            let shown: Vec<_> = request.iter().chain(stored).map(|line| line.escape_ascii().to_string()).collect();
            let request: Vec<_> = request.iter().map(|line| ("if-modified-since", *line)).collect();
            let mut stored: Vec<_> = stored.iter().map(|line| ("last-modified", *line)).collect();
            stored.push(("date", EIGHT));

            assert_eq!(holds(&request, &stored), expected, "{shown:?}");
        }
    }

    #[test]
    fn if_none_match_alone_counts_next_to_if_modified_since() {
        let stored: &[(&str, &[u8])] = &[("etag", b"\"a\""), ("last-modified", EIGHT)];
        let cases: [(&[u8], &[u8], bool); 5] = [
            (b"\"a\"", b"Sun, 06 Nov 1994 07:00:00 GMT", true),
            (b"\"b\"", NINE, false),
            (b"broken", NINE, false),
            (b"", NINE, false),
            (b"\"a\"", b"0", true),
        ];
        for (if_none_match, if_modified_since, expected) in cases {
            let request = [("if-none-match", if_none_match), ("if-modified-since", if_modified_since)];

            assert_eq!(holds(&request, stored), expected, "{if_none_match:?}");
        }
    }

    #[test]
    fn conditions_that_do_not_count_are_empty() {
        let cases: [(Lines, bool); 6] = [
            (&[], true),
            (&[("if-match", b"\"a\""), ("if-unmodified-since", NINE), ("if-range", b"\"a\"")], true),
            (&[("if-modified-since", b"0")], true),
            (&[("if-modified-since", NINE)], false),
            (&[("if-none-match", b"")], false),
            (&[("if-none-match", b"*")], false),
        ];
        for (request, expected) in cases {
            assert_eq!(Conditions::of(&headers(request)).is_empty(), expected, "{request:?}");
        }
        assert!(Conditions::default().is_empty());
        assert!(!holds(&[], &[("etag", b"\"a\""), ("last-modified", EIGHT)]));
    }

    #[test]
    fn a_request_is_made_whole_by_removing_its_conditions_alone() {
        let mut request = headers(&[
            ("if-none-match", "\"a\""),
            ("x-a", "1"),
            ("if-none-match", "\"b\""),
            ("if-modified-since", "0"),
            ("if-match", "\"c\""),
        ]);

        Conditions::remove_from(&mut request);

        assert_eq!(request, headers(&[("x-a", "1"), ("if-match", "\"c\"")]));
    }

    #[test]
    fn a_304_keeps_what_does_not_describe_content() {
        let described = [
            ("content-length", "5"),
            ("content-type", "text/plain"),
            ("content-encoding", "gzip"),
            ("content-encoding", "br"),
            ("content-language", "en"),
            ("content-range", "bytes 0-4/5"),
        ];
        let kept = [
            ("cache-control", "max-age=60"),
            ("content-location", "/a"),
            ("date", "Sun, 06 Nov 1994 08:00:00 GMT"),
            ("expires", "0"),
            ("vary", "accept"),
            ("vary", "cookie"),
            ("set-cookie", "a"),
            ("set-cookie", "b"),
        ];
        let (tag, modified) = (("etag", "\"a\""), ("last-modified", "Sun, 06 Nov 1994 07:00:00 GMT"));
        let cases = [
            (vec![], vec![]),
            (vec![tag], vec![tag]),
            (vec![modified], vec![modified]),
            (vec![tag, modified], vec![tag]),
        ];
        for (validators, expected) in cases {
            let mut found = headers(&[&described[..], &kept, &validators].concat());

            strip_for_not_modified(&mut found);

            assert_eq!(found, headers(&[&kept[..], &expected].concat()), "{validators:?}");
        }
    }

    #[test]
    fn strong_comparison_takes_no_weak_tag() {
        let cases: [(&[u8], &[u8], bool); 5] = [
            (b"\"a\"", b"\"a\"", true),
            (b"\"a\"", b"\"b\"", false),
            (b"W/\"a\"", b"\"a\"", false),
            (b"\"a\"", b"W/\"a\"", false),
            (b"W/\"a\"", b"W/\"a\"", false),
        ];
        for (one, other, expected) in cases {
            let (one, other) = (EntityTag::parse(one).unwrap(), EntityTag::parse(other).unwrap());

            assert_eq!(one.strongly_equals(&other), expected, "{one:?} {other:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_can_be_read(request in any_headers(), stored in any_headers(), value in any_value()) {
            let conditions = Conditions::of(&request);
            if conditions.not_modified(&stored) {
                prop_assert!(!conditions.is_empty());
            }
            if let Some(tag) = EntityTag::parse(&value) {
                let mut written = Vec::new();
                tag.write_to(&mut written);
                prop_assert_eq!(written, value);
            }
            let mut made_whole = request;
            Conditions::remove_from(&mut made_whole);
            prop_assert!(Conditions::of(&made_whole).is_empty());
        }
    }
}
