//! How long a response is fresh, counted from when it was generated (RFC 9111 §4.2.1, §4.2.2).
//!
//! The origin's word, and what may be guessed when it said nothing. Whether to guess is for `policy` to say.

use std::time::{Duration, SystemTime};

use http::header::{DATE, EXPIRES, LAST_MODIFIED};
use http::{HeaderMap, StatusCode};

use super::age::{since, whole_seconds};
use super::directives::{Delta, Directives};
use super::storing::is_heuristically_cacheable;
use crate::field::{self, Singleton};

/// The freshness lifetime that the origin gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Freshness {
    /// In total, from generation, at most 2^31 seconds. Zero when the origin gave a value that is malformed or
    /// contradicts itself.
    Explicit(Duration),
    /// Neither `s-maxage` nor `max-age` nor an `Expires` that counts.
    Unspecified,
}

/// The freshness lifetime for a shared cache: `s-maxage`, else `max-age`, else `Expires` minus `Date` (RFC 9111
/// §4.2.1).
///
/// A malformed `s-maxage` is not made good by a `max-age`, nor that by an `Expires`. Without one valid `Date` the
/// response was generated at `response_time`, in whole seconds like the field that is missing.
pub(crate) fn freshness(headers: &HeaderMap, directives: &Directives, response_time: SystemTime) -> Freshness {
    if let Some(delta) = directives.s_maxage.or(directives.max_age) {
        return Freshness::Explicit(delta.lifetime());
    }
    // RFC 9213 §2.2: a targeted field decides without `Expires`.
    if directives.targeted {
        return Freshness::Unspecified;
    }
    let expires = match field::singleton(headers, &EXPIRES) {
        Singleton::Absent => return Freshness::Unspecified,
        // §5.3: a value that is no date, "0" before all, lies in the past.
        Singleton::One(value) => field::http_date(value.as_bytes()),
        // §4.2.1: a response whose lines contradict each other may be taken as stale.
        Singleton::Conflicting => None,
    };
    let lifetime = expires.map_or(Duration::ZERO, |expires| since(expires, generated(headers, response_time)));
    Freshness::Explicit(lifetime.min(LONGEST_LIFETIME))
}

/// The freshness lifetime of a response without an explicit one: a tenth of the time for which it had not changed
/// when it was generated (RFC 9111 §4.2.2).
///
/// `None` without one valid `Last-Modified` that lies before, and where the standard allows no heuristic.
pub(crate) fn heuristic(
    headers: &HeaderMap,
    status: StatusCode,
    directives: &Directives,
    response_time: SystemTime,
) -> Option<Duration> {
    // §4.2.2: the status is heuristically cacheable, or the response is marked as cacheable.
    if !is_heuristically_cacheable(status) && !directives.public {
        return None;
    }
    let last_modified = field::single_date(headers, &LAST_MODIFIED)?;
    let unchanged = since(generated(headers, response_time), last_modified);
    (!unchanged.is_zero()).then(|| (unchanged / 10).min(LONGEST_LIFETIME))
}

/// When the response was generated: its `date_value` (RFC 9111 §4.2.1).
fn generated(headers: &HeaderMap, response_time: SystemTime) -> SystemTime {
    field::single_date(headers, &DATE).unwrap_or_else(|| whole_seconds(response_time))
}

const LONGEST_LIFETIME: Duration = Duration::from_secs(Delta::MAX_SECONDS);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::field::testing::{any_headers, at, headers};

    const fn seconds(seconds: u64) -> Freshness {
        Freshness::Explicit(Duration::from_secs(seconds))
    }

    #[test]
    fn the_most_specific_lifetime_for_a_shared_cache_counts() {
        const ZERO: Freshness = seconds(0);
        let cases: [(&[(&str, &str)], Freshness); 26] = [
            (&[], Freshness::Unspecified),
            (&[("cache-control", "public")], Freshness::Unspecified),
            (&[("date", NOON)], Freshness::Unspecified),
            (&[("cache-control", "max-age=60")], seconds(60)),
            (&[("cache-control", "max-age=0")], ZERO),
            (&[("cache-control", "max-age=60, s-maxage=5")], seconds(5)),
            (&[("cache-control", "s-maxage=60, max-age=5")], seconds(60)),
            (&[("cache-control", "s-maxage=x, max-age=60")], ZERO),
            (&[("cache-control", "max-age=x"), ("expires", NOON_AND_A_MINUTE), ("date", NOON)], ZERO),
            (&[("cache-control", "max-age=99999999999999")], seconds(1 << 31)),
            (&[("cache-control", "max-age=5"), ("expires", NOON_AND_A_MINUTE), ("date", NOON)], seconds(5)),
            (&[("cache-control", "max-age=5"), ("expires", "0")], seconds(5)),
            (&[("cache-control", "max-age=0"), ("expires", NOON_AND_A_MINUTE), ("date", NOON)], ZERO),
            (&[("expires", NOON_AND_A_MINUTE), ("date", NOON)], seconds(60)),
            (&[("expires", "Sunday, 06-Nov-94 12:01:00 GMT"), ("date", "Sun Nov  6 12:00:00 1994")], seconds(60)),
            (&[("expires", NOON), ("date", NOON)], ZERO),
            (&[("expires", NOON), ("date", NOON_AND_A_MINUTE)], ZERO),
            (&[("expires", "0"), ("date", NOON)], ZERO),
            (&[("expires", "-1")], ZERO),
            (&[("expires", "")], ZERO),
            (&[("expires", NOON_AND_A_MINUTE), ("expires", NOON_AND_A_MINUTE), ("date", NOON)], seconds(60)),
            (&[("expires", NOON_AND_A_MINUTE), ("expires", "0"), ("date", NOON)], ZERO),
            (&[("expires", "Fri, 31 Dec 9999 23:59:59 GMT"), ("date", NOON)], seconds(1 << 31)),
            // The response came in at 08:49:37.
            (&[("expires", "Sun, 06 Nov 1994 08:49:47 GMT")], seconds(10)),
            (&[("expires", "Sun, 06 Nov 1994 08:49:47 GMT"), ("date", "yesterday")], seconds(10)),
            (&[("expires", "Sun, 06 Nov 1994 08:49:47 GMT"), ("date", NOON), ("date", "x")], seconds(10)),
        ];
        for (lines, expected) in cases {
            let headers = headers(lines);

            let found = freshness(&headers, &Directives::of(&headers), at(0));

            assert_eq!(found, expected, "{lines:?}");
        }
    }

    #[test]
    fn without_date_the_fraction_of_the_second_of_receipt_is_not_taken_off() {
        let headers = headers(&[("expires", "Sun, 06 Nov 1994 08:49:38 GMT")]);

        assert_eq!(freshness(&headers, &Directives::default(), at(999)), seconds(1));
    }

    #[test]
    fn beside_a_targeted_field_expires_says_nothing() {
        let headers = headers(&[("expires", NOON_AND_A_MINUTE), ("date", NOON)]);
        let targeted = Directives { targeted: true, ..Directives::default() };
        let max_age = Directives { max_age: Some(Delta::Seconds(5)), ..targeted };

        assert_eq!(freshness(&headers, &targeted, at(0)), Freshness::Unspecified);
        assert_eq!(freshness(&headers, &max_age, at(0)), seconds(5));
    }

    #[test]
    fn a_heuristic_lifetime_is_a_tenth_of_the_time_without_a_change() {
        const EPOCH: &str = "Thu, 01 Jan 1970 00:00:00 GMT";
        const END: &str = "Fri, 31 Dec 9999 23:59:59 GMT";
        let cases: [(&[_], Option<u64>); 13] = [
            (&[], None),
            (&[("date", NOON)], None),
            (&[("last-modified", NOON), ("date", NOON_AND_A_MINUTE)], Some(6000)),
            (&[("last-modified", "Sun, 06 Nov 1994 11:59:59 GMT"), ("date", NOON)], Some(100)),
            (&[("last-modified", NOON), ("date", NOON)], None),
            (&[("last-modified", NOON_AND_A_MINUTE), ("date", NOON)], None),
            (&[("last-modified", "yesterday"), ("date", NOON)], None),
            (&[("last-modified", NOON), ("last-modified", EPOCH), ("date", NOON_AND_A_MINUTE)], None),
            (&[("last-modified", EPOCH), ("date", END)], Some(1000 << 31)),
            // The response came in at 08:49:37.
            (&[("last-modified", "Sun, 06 Nov 1994 08:49:27 GMT")], Some(1000)),
            (&[("last-modified", "Sun, 06 Nov 1994 08:49:27 GMT"), ("date", "x")], Some(1000)),
            (&[("last-modified", "Sun, 06 Nov 1994 08:49:27 GMT"), ("date", NOON), ("date", END)], Some(1000)),
            (&[("last-modified", NOON)], None),
        ];
        for (lines, expected) in cases {
            let headers = headers(lines);

            let found = heuristic(&headers, StatusCode::OK, &Directives::default(), at(999));

            assert_eq!(found, expected.map(Duration::from_millis), "{lines:?}");
        }
    }

    #[test]
    fn only_a_heuristically_cacheable_status_or_public_allows_a_heuristic() {
        let headers = headers(&[("last-modified", NOON), ("date", NOON_AND_A_MINUTE)]);
        let public = Directives { public: true, ..Directives::default() };
        let cases = [(200, true), (404, true), (501, true), (201, false), (302, false), (500, false), (999, false)];
        for (status, allowed) in cases {
            let status = StatusCode::from_u16(status).unwrap();

            let unmarked = heuristic(&headers, status, &Directives::default(), at(0));
            let marked = heuristic(&headers, status, &public, at(0));

            assert_eq!(unmarked.is_some(), allowed, "{status}");
            assert_eq!(marked, Some(Duration::from_secs(6)), "{status}");
        }
    }

    const NOON: &str = "Sun, 06 Nov 1994 12:00:00 GMT";
    const NOON_AND_A_MINUTE: &str = "Sun, 06 Nov 1994 12:01:00 GMT";

    proptest! {
        #[test]
        fn no_lifetime_is_longer_than_two_to_the_31_seconds(headers in any_headers(), millis in 0..1_u64 << 50) {
            if let Freshness::Explicit(lifetime) = freshness(&headers, &Directives::of(&headers), at(millis)) {
                prop_assert!(lifetime <= Duration::from_secs(1 << 31));
            }
            if let Some(lifetime) = heuristic(&headers, StatusCode::OK, &Directives::of(&headers), at(millis)) {
                prop_assert!(lifetime <= Duration::from_secs(1 << 31));
            }
        }
    }
}
