//! Which part of a stored response was asked for (RFC 9110 §14, and §13.1.5 for `If-Range`).
//!
//! One range of bytes, or the whole: a server may ignore `Range` (§14.2), and does so here for all that is unclear.

use std::time::Duration;

use http::header::{DATE, IF_RANGE, LAST_MODIFIED, RANGE};
use http::{HeaderMap, HeaderValue};

use super::age::since;
use super::validation::EntityTag;
use crate::field::{self, Singleton};

/// What a client asks with `Range` and `If-Range`.
#[derive(Clone, Debug)]
pub(crate) struct RangeRequest {
    /// `None`: there is a `Range`, and it is to be ignored.
    range: Option<ByteRange>,
    if_range: IfRange,
}

impl RangeRequest {
    /// Reads the range that a GET request asks for; `None` if it has no `Range`. Never allocates.
    pub(crate) fn of(request: &HeaderMap) -> Option<Self> {
        let mut lines = request.get_all(RANGE).into_iter();
        let first = lines.next()?;
        // Two lines are two ranges, or a request that others read differently.
        let range = match lines.next() {
            None => ByteRange::parse(first.as_bytes()),
            Some(_) => None,
        };
        let if_range = match field::singleton(request, &IF_RANGE) {
            Singleton::Absent => IfRange::Absent,
            Singleton::One(value) => IfRange::Validator(value.clone()),
            Singleton::Conflicting => IfRange::Conflicting,
        };
        Some(Self { range, if_range })
    }

    /// Removes the range from a request that is made whole, so that its answer suits every client.
    pub(crate) fn remove_from(request: &mut HeaderMap) {
        request.remove(RANGE);
        request.remove(IF_RANGE);
    }

    /// What to answer from a complete stored 200 whose body is `length` bytes.
    pub(crate) fn select(&self, stored: &HeaderMap, length: u64) -> Selected {
        match self.range {
            // RFC 9110 §13.2.2: `If-Range` is evaluated before the range is looked at.
            Some(range) if self.if_range.allows(stored) => range.of_length(length),
            _ => Selected::Whole,
        }
    }
}

/// What to answer to a range request from a stored response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Selected {
    /// 200: all of it.
    Whole,
    /// 206: these bytes, counted from zero, both ends included. Always inside the body; it may be all of it.
    Part {
        /// The first byte; not after `last`.
        first: u64,
        /// The last byte; before the end of the body.
        last: u64,
    },
    /// 416: the range begins where the body has ended (RFC 9110 §15.5.17).
    Unsatisfiable,
}

/// One range of bytes (RFC 9110 §14.1.2). Positions too large to hold are [`u64::MAX`], which no body has.
#[derive(Clone, Copy, Debug)]
enum ByteRange {
    /// `first-last`, or `first-` with `last` at the maximum. `first` is not after `last`.
    From { first: u64, last: u64 },
    /// `-length`.
    Suffix { length: u64 },
}

impl ByteRange {
    /// Reads `bytes=` and one range; anything else, several ranges among it, gives none.
    fn parse(value: &[u8]) -> Option<Self> {
        // RFC 9110 §14.1: the names of units are read in any case.
        let (unit, range) = split_once(field::trim_ows(value), b'=')?;
        if !unit.eq_ignore_ascii_case(b"bytes") {
            return None;
        }
        let (first, last) = split_once(field::trim_ows(range), b'-')?;
        if first.is_empty() {
            return Some(Self::Suffix { length: field::digits(last)? });
        }
        let first = field::digits(first)?;
        let last = match last.is_empty() {
            true => u64::MAX,
            false => field::digits(last)?,
        };
        // RFC 9110 §14.1.1: a range that ends before it begins is invalid, not unsatisfiable.
        (first <= last).then_some(Self::From { first, last })
    }

    /// The bytes of this range in a body of `length` bytes (RFC 9110 §14.1.2).
    fn of_length(self, length: u64) -> Selected {
        let Some(end) = length.checked_sub(1) else {
            return self.of_nothing();
        };
        match self {
            Self::From { first, .. } if first > end => Selected::Unsatisfiable,
            Self::From { first, last } => Selected::Part { first, last: last.min(end) },
            Self::Suffix { length: 0 } => Selected::Unsatisfiable,
            // A suffix longer than the body is all of it.
            Self::Suffix { length: suffix } => Selected::Part { first: length.saturating_sub(suffix), last: end },
        }
    }

    /// What to answer from a body of no bytes.
    fn of_nothing(self) -> Selected {
        match self {
            Self::From { .. } | Self::Suffix { length: 0 } => Selected::Unsatisfiable,
            // RFC 9110 §14.1.1: satisfiable, and `Content-Range` has no form for no bytes.
            Self::Suffix { .. } => Selected::Whole,
        }
    }
}

/// The condition under which a range counts (RFC 9110 §13.1.5).
#[derive(Clone, Debug)]
enum IfRange {
    Absent,
    /// An entity tag, a date, or neither.
    Validator(HeaderValue),
    Conflicting,
}

impl IfRange {
    /// Whether a part of the stored response fits the parts that the client has.
    fn allows(&self, stored: &HeaderMap) -> bool {
        let validator = match self {
            Self::Absent => return true,
            Self::Conflicting => return false,
            Self::Validator(value) => field::trim_ows(value.as_bytes()),
        };
        // RFC 9110 §13.1.5: a tag has a quote among its first three bytes, and a date has none.
        match EntityTag::parse(validator) {
            Some(tag) => EntityTag::of(stored).is_some_and(|stored| tag.strongly_equals(&stored)),
            None => is_last_modification(validator, stored),
        }
    }
}

/// Whether a date is exactly the `Last-Modified` of a response, and a strong validator of it (RFC 9110 §8.8.2.2).
fn is_last_modification(date: &[u8], stored: &HeaderMap) -> bool {
    let last_modified = field::single_date(stored, &LAST_MODIFIED);
    let (Some(last_modified), Some(generated)) = (last_modified, field::single_date(stored, &DATE)) else {
        return false;
    };
    // RFC 9110 §8.8.2.2: within the second of the modification a second one could have followed unseen.
    let is_strong = since(generated, last_modified) >= Duration::from_secs(1);
    is_strong && field::http_date(date) == Some(last_modified)
}

/// What stands before and after the first such byte.
fn split_once(bytes: &[u8], separator: u8) -> Option<(&[u8], &[u8])> {
    let at = bytes.iter().position(|byte| *byte == separator)?;
    Some((&bytes[..at], &bytes[at + 1..]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Selected::{Unsatisfiable, Whole};
    use super::*;
    use crate::field::testing::{any_headers, headers};

    type Lines = &'static [(&'static str, &'static [u8])];

    const fn part(first: u64, last: u64) -> Selected {
        Selected::Part { first, last }
    }

    fn select(lines: &[(&str, &[u8])], stored: &[(&str, &[u8])], length: u64) -> Option<Selected> {
        RangeRequest::of(&headers(lines)).map(|range| range.select(&headers(stored), length))
    }

    const MAX: u64 = u64::MAX;

    const RANGE_AND_LENGTH: &[(&[u8], u64, Selected)] = &[
        (b"bytes=0-4", 10, part(0, 4)),
        (b"bytes=0-0", 10, part(0, 0)),
        (b"bytes=9-9", 10, part(9, 9)),
        (b"bytes=0-9", 10, part(0, 9)),
        (b"bytes=0-10", 10, part(0, 9)),
        (b"bytes=5-99999999999999999999999", 10, part(5, 9)),
        (b"bytes=0-", 10, part(0, 9)),
        (b"bytes=9-", 10, part(9, 9)),
        (b"bytes=-1", 10, part(9, 9)),
        (b"bytes=-10", 10, part(0, 9)),
        (b"bytes=-11", 10, part(0, 9)),
        (b"bytes=-99999999999999999999999", 10, part(0, 9)),
        (b"bytes=007-008", 10, part(7, 8)),
        (b"BYTES=0-4", 10, part(0, 4)),
        (b"Bytes=0-4", 10, part(0, 4)),
        (b" bytes= 0-4\t", 10, part(0, 4)),
        (b"bytes=0-", MAX, part(0, MAX - 1)),
        (b"bytes=-1", MAX, part(MAX - 1, MAX - 1)),
        (b"bytes=10-", 10, Unsatisfiable),
        (b"bytes=10-20", 10, Unsatisfiable),
        (b"bytes=99999999999999999999999-", 10, Unsatisfiable),
        (b"bytes=99999999999999999999999-", MAX, Unsatisfiable),
        (b"bytes=-0", 10, Unsatisfiable),
        (b"bytes=0-", 0, Unsatisfiable),
        (b"bytes=0-0", 0, Unsatisfiable),
        (b"bytes=-0", 0, Unsatisfiable),
        (b"bytes=-5", 0, Whole),
        (b"bytes=4-0", 10, Whole),
        (b"bytes=20-10", 10, Whole),
        (b"bytes=99999999999999999999999-5", 10, Whole),
        (b"bytes=0-1,3-4", 10, Whole),
        (b"bytes=0-1, 3-4", 10, Whole),
        (b"bytes=0-1,", 10, Whole),
        (b"bytes=,0-1", 10, Whole),
        (b"", 10, Whole),
        (b"bytes", 10, Whole),
        (b"bytes=", 10, Whole),
        (b"bytes=-", 10, Whole),
        (b"bytes=--1", 10, Whole),
        (b"bytes=0", 10, Whole),
        (b"bytes=+0-4", 10, Whole),
        (b"bytes=0-+4", 10, Whole),
        (b"bytes=0 -4", 10, Whole),
        (b"bytes=0- 4", 10, Whole),
        (b"bytes=0-4-5", 10, Whole),
        (b"bytes=0-4.5", 10, Whole),
        (b"bytes=a-b", 10, Whole),
        (b"bytes=\"0-4\"", 10, Whole),
        (b"bytes =0-4", 10, Whole),
        (b"bytes==0-4", 10, Whole),
        (b"bytes:0-4", 10, Whole),
        (b"items=0-4", 10, Whole),
        (b"0-4", 10, Whole),
        (b"bytes=\xff-4", 10, Whole),
    ];

    #[test]
    fn one_range_of_bytes_selects_a_part() {
        for &(range, length, expected) in RANGE_AND_LENGTH {
            let found = select(&[("range", range)], &[], length);

            assert_eq!(found, Some(expected), "{:?} of {length}", range.escape_ascii().to_string());
        }
    }

    #[test]
    fn only_range_makes_a_range_request_and_several_lines_are_ignored() {
        let cases: [(Lines, Option<Selected>); 4] = [
            (&[], None),
            (&[("if-range", b"\"a\""), ("accept-ranges", b"bytes")], None),
            (&[("range", b"bytes=0-4"), ("range", b"bytes=5-6")], Some(Whole)),
            (&[("range", b"bytes=0-4"), ("range", b"bytes=0-4")], Some(Whole)),
        ];
        for (lines, expected) in cases {
            assert_eq!(select(lines, &[], 10), expected, "{lines:?}");
        }
    }

    #[test]
    fn if_range_needs_a_strong_validator_of_what_is_stored() {
        const EIGHT: &[u8] = b"Sun, 06 Nov 1994 08:00:00 GMT";
        const EIGHT_AND_A_SECOND: &[u8] = b"Sun, 06 Nov 1994 08:00:01 GMT";
        const TAGGED: Lines = &[("etag", b"\"a\""), ("last-modified", EIGHT), ("date", EIGHT_AND_A_SECOND)];
        let cases: [(&[&[u8]], Lines, bool); 26] = [
            (&[], &[], true),
            (&[], TAGGED, true),
            (&[b"\"a\""], TAGGED, true),
            (&[b" \"a\" "], TAGGED, true),
            (&[b"\"a\"", b"\"a\""], TAGGED, true),
            (&[b"\"b\""], TAGGED, false),
            (&[b"\"a\"", b"\"b\""], TAGGED, false),
            (&[b"\"a\", \"b\""], TAGGED, false),
            (&[b"W/\"a\""], TAGGED, false),
            (&[b"W/\"a\""], &[("etag", b"W/\"a\"")], false),
            (&[b"\"a\""], &[("etag", b"W/\"a\"")], false),
            (&[b"\"a\""], &[], false),
            (&[b"a"], &[("etag", b"a")], false),
            (&[b"*"], TAGGED, false),
            (&[b""], TAGGED, false),
            (&[EIGHT], TAGGED, true),
            (&[b"Sunday, 06-Nov-94 08:00:00 GMT"], TAGGED, true),
            (&[EIGHT_AND_A_SECOND], TAGGED, false),
            (&[b"Sun, 06 Nov 1994 07:59:59 GMT"], TAGGED, false),
            (&[b"0"], TAGGED, false),
            (&[EIGHT], &[("last-modified", EIGHT), ("date", EIGHT)], false),
            (&[EIGHT_AND_A_SECOND], &[("last-modified", EIGHT_AND_A_SECOND), ("date", EIGHT)], false),
            (&[EIGHT], &[("last-modified", EIGHT)], false),
            (&[EIGHT], &[("last-modified", EIGHT), ("date", b"0")], false),
            (&[EIGHT], &[("date", EIGHT_AND_A_SECOND)], false),
            (&[b"0"], &[("last-modified", b"0"), ("date", EIGHT)], false),
        ];
        for (if_range, stored, allowed) in cases {
            let shown: Vec<_> = if_range.iter().map(|line| line.escape_ascii().to_string()).collect();
            let mut lines: Vec<(&str, &[u8])> = vec![("range", b"bytes=0-4")];
            lines.extend(if_range.iter().map(|line| ("if-range", *line)));

            let found = select(&lines, stored, 10);

            let expected = match allowed {
                true => part(0, 4),
                false => Whole,
            };
            assert_eq!(found, Some(expected), "{shown:?} {stored:?}");
        }
    }

    #[test]
    fn an_unsatisfiable_range_is_ignored_when_the_client_has_something_else() {
        let lines: &[(&str, &[u8])] = &[("range", b"bytes=10-"), ("if-range", b"\"b\"")];

        assert_eq!(select(lines, &[("etag", b"\"a\"")], 10), Some(Whole));
    }

    #[test]
    fn a_request_is_made_whole_by_removing_its_range_alone() {
        let mut request = headers(&[("range", "bytes=0-4"), ("x-a", "1"), ("range", "x"), ("if-range", "x")]);

        RangeRequest::remove_from(&mut request);

        assert_eq!(request, headers(&[("x-a", "1")]));
    }

    proptest! {
        #[test]
        fn a_part_is_always_inside_the_body(
            request in any_headers(),
            stored in any_headers(),
            range in "bytes=[0-9]{0,21}-[0-9]{0,21}",
            length in prop_oneof![0..20_u64, any::<u64>()],
        ) {
            let alone = headers(&[("range", range)]);
            for range in [RangeRequest::of(&request), RangeRequest::of(&alone)].into_iter().flatten() {
                if let Selected::Part { first, last } = range.select(&stored, length) {
                    prop_assert!(first <= last && last < length);
                }
            }
        }
    }
}
