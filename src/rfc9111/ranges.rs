//! Which part of a stored response was asked for (RFC 9110 §14, and §13.1.5 for `If-Range`).
//!
//! One range of bytes, a few, or the whole: a server may ignore `Range` (§14.2), and does so here for all that is
//! unclear.

use std::time::Duration;

use http::header::{CONTENT_ENCODING, DATE, IF_RANGE, LAST_MODIFIED, RANGE};
use http::{HeaderMap, HeaderValue};

use super::age::since;
use super::multipart;
use super::validation::EntityTag;
use crate::field::{self, Backslash, Singleton};

/// What a client asks with `Range` and `If-Range`.
#[derive(Clone, Debug)]
pub(crate) struct RangeRequest {
    /// In the order asked. Empty: there is a `Range`, and it is to be ignored.
    ranges: Vec<ByteRange>,
    if_range: IfRange,
}

impl RangeRequest {
    /// Reads the ranges that a GET request asks for; `None` if it has no `Range`.
    pub(crate) fn of(request: &HeaderMap) -> Option<Self> {
        let mut lines = request.get_all(RANGE).into_iter();
        let first = lines.next()?;
        // RFC 9110 §5.3: no list as a whole, so that others read several lines differently.
        let ranges = match lines.next() {
            None => parse(first.as_bytes()).unwrap_or_default(),
            Some(_) => Vec::new(),
        };
        let if_range = match field::singleton(request, &IF_RANGE) {
            Singleton::Absent => IfRange::Absent,
            Singleton::One(value) => IfRange::Validator(value.clone()),
            Singleton::Conflicting => IfRange::Conflicting,
        };
        Some(Self { ranges, if_range })
    }

    /// Removes the range from a request that is made whole, so that its answer suits every client.
    pub(crate) fn remove_from(request: &mut HeaderMap) {
        request.remove(RANGE);
        request.remove(IF_RANGE);
    }

    /// What to answer from a complete stored 200 whose body is `length` bytes.
    pub(crate) fn select(&self, stored: &HeaderMap, length: u64) -> Selected {
        // RFC 9110 §13.2.2: `If-Range` is evaluated before the ranges are looked at.
        if self.ranges.is_empty() || !self.if_range.allows(stored) {
            return Selected::Whole;
        }
        let Some(end) = length.checked_sub(1) else {
            return self.of_nothing();
        };
        // RFC 9110 §15.3.7.2: in the order asked, without those that are not satisfiable.
        let parts: Vec<_> = self.ranges.iter().filter_map(|range| range.until(end)).collect();
        match *parts {
            [] => Selected::Unsatisfiable,
            // RFC 9110 §15.3.7.2: who asked for one range may not know several parts, and one part needs no more.
            [(first, last)] => Selected::Part { first, last },
            _ if deserve_parts(&parts, stored, length) => Selected::Parts(parts),
            _ => Selected::Whole,
        }
    }

    /// What to answer from a body of no bytes.
    fn of_nothing(&self) -> Selected {
        // RFC 9110 §14.1.1: a suffix is satisfiable then, and `Content-Range` has no form for no bytes.
        match self.ranges.iter().any(|range| matches!(range, ByteRange::Suffix { length: 1.. })) {
            true => Selected::Whole,
            false => Selected::Unsatisfiable,
        }
    }
}

/// What to answer to a range request from a stored response.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// 206 with several parts: the first and the last byte of each, as in `Part`, in the order asked. At least two.
    Parts(Vec<(u64, u64)>),
    /// 416: all ranges begin where the body has ended (RFC 9110 §15.5.17).
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
    /// Reads one range of bytes.
    fn parse(range: &[u8]) -> Option<Self> {
        let (first, last) = split_once(range, b'-')?;
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

    /// The first and the last byte of this range in a body whose last byte is `end`; none if it has none of them
    /// (RFC 9110 §14.1.2).
    fn until(self, end: u64) -> Option<(u64, u64)> {
        match self {
            Self::From { first, last } => (first <= end).then_some((first, last.min(end))),
            Self::Suffix { length: 0 } => None,
            // A suffix longer than the body is all of it.
            Self::Suffix { length } => Some((end - end.min(length - 1), end)),
        }
    }
}

/// Reads `bytes=` and a list of ranges. None if any of them is invalid, if it has none, and if it has too many.
fn parse(value: &[u8]) -> Option<Vec<ByteRange>> {
    // RFC 9110 §14.1: the names of units are read in any case.
    let (unit, set) = split_once(field::trim_ows(value), b'=')?;
    if !unit.eq_ignore_ascii_case(b"bytes") {
        return None;
    }
    // RFC 9110 §5.6.1.2: empty members do not count.
    let members = field::members(set, Backslash::Plain);
    // RFC 9110 §14.2: an invalid member makes the whole field invalid, and that may be ignored.
    let ranges: Vec<_> = members.take(MOST_RANGES + 1).map(ByteRange::parse).collect::<Option<_>>()?;
    (1..=MOST_RANGES).contains(&ranges.len()).then_some(ranges)
}

/// RFC 9110 §17.15: so many ranges that to answer them may be what an attacker wants.
const MOST_RANGES: usize = 8;

/// Whether several satisfiable ranges are answered with as many parts, and not with the whole.
fn deserve_parts(parts: &[(u64, u64)], stored: &HeaderMap, length: u64) -> bool {
    // RFC 9110 §8.4: said in the head of the 206, it would be read as the coding of all parts with their heads.
    let is_encoded = stored.contains_key(CONTENT_ENCODING);
    // RFC 9110 §14.2: more than two that overlap are a broken client, or an attack.
    !is_encoded && overlapping(parts) <= 2
        // RFC 9110 §17.15: nor must many small ranges cost more than the whole.
        && multipart::length(stored, parts, length) < length
}

/// How many of the ranges overlap with another one of them.
fn overlapping(parts: &[(u64, u64)]) -> usize {
    let overlap = |one: &(u64, u64), other: &(u64, u64)| one.0 <= other.1 && other.0 <= one.1;
    // Each overlaps with itself.
    parts.iter().filter(|one| parts.iter().filter(|other| overlap(one, other)).count() > 1).count()
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
        (b"bytes=0-1,", 10, part(0, 1)),
        (b"bytes=,0-1", 10, part(0, 1)),
        (b"bytes= ,\t, 0-1 ,,", 10, part(0, 1)),
        (b"bytes=,", 10, Whole),
        (b"bytes= , ,", 10, Whole),
        (b",bytes=0-1", 10, Whole),
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
        for (range, length, expected) in RANGE_AND_LENGTH {
            let found = select(&[("range", range)], &[], *length);

            assert_eq!(found.as_ref(), Some(expected), "{:?} of {length}", range.escape_ascii().to_string());
        }
    }

    type Parts = &'static [(u64, u64)];

    const SEVERAL_AND_PARTS: &[(&[u8], Parts)] = &[
        (b"bytes=0-1,3-4", &[(0, 1), (3, 4)]),
        (b"bytes=0-1 \t, 3-4", &[(0, 1), (3, 4)]),
        (b"bytes=, ,0-1,,\t3-4,", &[(0, 1), (3, 4)]),
        (b"BYTES=-5,0-4", &[(9995, 9999), (0, 4)]),
        (b"bytes=9-9,0-0,5-5", &[(9, 9), (0, 0), (5, 5)]),
        (b"bytes=0-0,9000-", &[(0, 0), (9000, 9999)]),
        (b"bytes=0-1,9999-20000,-1", &[(0, 1), (9999, 9999), (9999, 9999)]),
        (b"bytes=0-10,10-20", &[(0, 10), (10, 20)]),
        (b"bytes=0-99,5-6,200-300", &[(0, 99), (5, 6), (200, 300)]),
        (b"bytes=0-0,0-0", &[(0, 0), (0, 0)]),
        // Those that have no byte of the body are left out.
        (b"bytes=10000-,0-1,-0,3-4,99999999999999999999-", &[(0, 1), (3, 4)]),
        // Eight, and no more.
        (
            b"bytes=0-0,2-2,4-4,6-6,8-8,10-10,12-12,14-14",
            &[(0, 0), (2, 2), (4, 4), (6, 6), (8, 8), (10, 10), (12, 12), (14, 14)],
        ),
    ];

    #[test]
    fn several_ranges_select_parts_in_the_order_asked() {
        for (range, expected) in SEVERAL_AND_PARTS {
            let found = select(&[("range", range)], &[], 10_000);

            assert_eq!(found, Some(Selected::Parts(expected.to_vec())), "{}", range.escape_ascii());
        }
    }

    #[test]
    fn of_several_ranges_one_that_is_satisfiable_is_a_part_and_none_is_unsatisfiable() {
        let cases: [(&[u8], u64, Selected); 7] = [
            (b"bytes=0-4,10-", 10, part(0, 4)),
            (b"bytes=10-,-0,99-100,-3", 10, part(7, 9)),
            (b"bytes=10-,11-", 10, Unsatisfiable),
            (b"bytes=-0,10-10,99999999999999999999-", 10, Unsatisfiable),
            (b"bytes=0-,0-0", 0, Unsatisfiable),
            (b"bytes=0-,-0", 0, Unsatisfiable),
            (b"bytes=0-,-5", 0, Whole),
        ];
        for (range, length, expected) in cases {
            let found = select(&[("range", range)], &[], length);

            assert_eq!(found, Some(expected), "{:?} of {length}", range.escape_ascii().to_string());
        }
    }

    #[test]
    fn ranges_with_an_invalid_one_or_too_many_or_too_many_that_overlap_are_ignored() {
        let cases: [&[u8]; 13] = [
            b"bytes=0-1,4-3",
            b"bytes=0-1,x",
            b"bytes=0-1,-",
            b"bytes=0-1;3-4",
            b"bytes=0-1,bytes=3-4",
            b"bytes=\"0-1,3-4\"",
            b"bytes=0-1,\"3-4",
            b"items=0-1,3-4",
            b"bytes=0-0,2-2,4-4,6-6,8-8,10-10,12-12,14-14,16-16",
            b"bytes=0-0,10000-,10000-,10000-,10000-,10000-,10000-,10000-,10000-",
            b"bytes=0-10,5-15,12-20",
            b"bytes=0-10,5-15,100-110,105-115",
            b"bytes=0-0,0-0,0-0",
        ];
        for range in cases {
            assert_eq!(select(&[("range", range)], &[], 10_000), Some(Whole), "{}", range.escape_ascii());
        }
    }

    #[test]
    fn parts_are_selected_only_where_they_are_shorter_than_the_whole() {
        let lines: &[(&str, &[u8])] = &[("range", b"bytes=0-0,10-19")];
        let long_type = "a".repeat(1000);
        for content_type in ["", "text/plain", &long_type] {
            let stored: &[(&str, &[u8])] = &[("content-type", content_type.as_bytes())];
            let length_of_parts = |whole| multipart::length(&headers(stored), &[(0, 0), (10, 19)], whole);
            let shortest = (20..10_000).find(|whole| length_of_parts(*whole) < *whole).unwrap();

            assert_eq!(select(lines, stored, shortest - 1), Some(Whole));
            assert_eq!(select(lines, stored, shortest), Some(Selected::Parts(vec![(0, 0), (10, 19)])));
        }
        assert_eq!(select(&[("range", b"bytes=0-,-1")], &[], MAX), Some(Whole));
    }

    #[test]
    fn of_an_encoded_response_one_range_is_a_part_and_several_are_the_whole() {
        let stored: &[(&str, &[u8])] = &[("content-encoding", b"gzip")];

        assert_eq!(select(&[("range", b"bytes=0-1")], stored, 10_000), Some(part(0, 1)));
        assert_eq!(select(&[("range", b"bytes=0-1,3-4")], stored, 10_000), Some(Whole));
    }

    #[test]
    fn if_range_is_for_all_ranges() {
        let lines: &[(&str, &[u8])] = &[("range", b"bytes=0-1,3-4"), ("if-range", b"\"a\"")];

        assert_eq!(select(lines, &[("etag", b"\"b\"")], 10_000), Some(Whole));
        assert_eq!(select(lines, &[("etag", b"\"a\"")], 10_000), Some(Selected::Parts(vec![(0, 1), (3, 4)])));
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
            several in "bytes=([0-9]{0,4}-[0-9]{0,4} ?, ?){0,9}[0-9]{0,4}-[0-9]{0,4}",
            length in prop_oneof![0..20_u64, 0..20_000_u64, any::<u64>()],
        ) {
            let (alone, several) = (headers(&[("range", range)]), headers(&[("range", several)]));
            for request in [request, alone, several] {
                let selected = RangeRequest::of(&request).map(|range| range.select(&stored, length));
                let parts = match selected {
                    Some(Selected::Part { first, last }) => vec![(first, last)],
                    Some(Selected::Parts(parts)) => {
                        prop_assert!((2..=MOST_RANGES).contains(&parts.len()));
                        prop_assert!(multipart::length(&stored, &parts, length) < length);
                        parts
                    }
                    Some(Whole | Unsatisfiable) | None => Vec::new(),
                };
                for (first, last) in parts {
                    prop_assert!(first <= last && last < length);
                }
            }
        }
    }
}
