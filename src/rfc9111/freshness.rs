//! How long a response is fresh, counted from when it was generated (RFC 9111 §4.2.1).
//!
//! The origin's word alone. What holds when it said nothing is for `policy` to say, not for the heuristics of §4.2.2.

use std::time::{Duration, SystemTime};

use http::HeaderMap;
use http::header::{DATE, EXPIRES};

use super::age::{since, whole_seconds};
use super::directives::{Delta, Directives};
use crate::field::{self, Singleton};

/// The freshness lifetime that the origin gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Freshness {
    /// In total, from generation, at most 2^31 seconds. Zero when the origin gave a value that is malformed or
    /// contradicts itself.
    Explicit(Duration),
    /// Neither `s-maxage` nor `max-age` nor `Expires`.
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
    let expires = match field::singleton(headers, &EXPIRES) {
        Singleton::Absent => return Freshness::Unspecified,
        // §5.3: a value that is no date, "0" before all, lies in the past.
        Singleton::One(value) => field::http_date(value.as_bytes()),
        // §4.2.1: a response whose lines contradict each other may be taken as stale.
        Singleton::Conflicting => None,
    };
    let date_value = field::single_date(headers, &DATE).unwrap_or_else(|| whole_seconds(response_time));
    let lifetime = expires.map_or(Duration::ZERO, |expires| since(expires, date_value));
    Freshness::Explicit(lifetime.min(Duration::from_secs(Delta::MAX_SECONDS)))
}

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

    const NOON: &str = "Sun, 06 Nov 1994 12:00:00 GMT";
    const NOON_AND_A_MINUTE: &str = "Sun, 06 Nov 1994 12:01:00 GMT";

    proptest! {
        #[test]
        fn no_lifetime_is_longer_than_two_to_the_31_seconds(headers in any_headers(), millis in 0..1_u64 << 50) {
            if let Freshness::Explicit(lifetime) = freshness(&headers, &Directives::of(&headers), at(millis)) {
                prop_assert!(lifetime <= Duration::from_secs(1 << 31));
            }
        }
    }
}
