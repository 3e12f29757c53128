//! How old a stored response is (RFC 9111 §4.2.3).
//!
//! Pure: fields and times in, a `Duration` out. The names are the standard's.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::HeaderMap;
use http::header::{AGE, DATE};

use super::directives::Delta;
use crate::field;

/// When a response was asked for and when its head came in, by the cache's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exchange {
    /// `request_time`: the request went to the origin.
    pub(crate) request_time: SystemTime,
    /// `response_time`: the head of the response was there.
    pub(crate) response_time: SystemTime,
}

/// How old a response was when it came in: `corrected_initial_age` (RFC 9111 §4.2.3).
///
/// The larger of what the `Date` shows and what `Age` says plus the time the exchange took. Without one valid `Date`
/// only the latter counts. A malformed `Age` is zero, of several the first counts, and it is 2^31 seconds at most
/// (§5.1, §1.2.2). Clocks that ran backwards give zero.
pub(crate) fn corrected_initial_age(headers: &HeaderMap, exchange: &Exchange) -> Duration {
    // `Date` is in whole seconds and so, on average, half a second older than the response. Measured against
    // milliseconds, a response that was made right now would be up to 999 ms old, and one that is fresh for one
    // second would live for a chance part of it. So both are compared as `Date` counts: in whole seconds.
    let apparent_age = field::single_date(headers, &DATE)
        .map_or(Duration::ZERO, |date_value| since(whole_seconds(exchange.response_time), date_value));
    let response_delay = since(exchange.response_time, exchange.request_time);
    let corrected_age_value = age_value(headers).saturating_add(response_delay);
    apparent_age.max(corrected_age_value)
}

/// How old a response is at `now`: its age when it came in plus the time since (RFC 9111 §4.2.3).
///
/// A `now` before `response_time` gives the initial age.
pub(crate) fn current_age(corrected_initial_age: Duration, response_time: SystemTime, now: SystemTime) -> Duration {
    let resident_time = since(now, response_time);
    corrected_initial_age.saturating_add(resident_time)
}

/// The time from `earlier` to `later`; zero if that is not their order.
pub(crate) fn since(later: SystemTime, earlier: SystemTime) -> Duration {
    later.duration_since(earlier).unwrap_or_default()
}

/// A time without its fraction of a second, as a date field would tell it. Times before 1970 stay as they are.
pub(crate) fn whole_seconds(time: SystemTime) -> SystemTime {
    match time.duration_since(UNIX_EPOCH) {
        Ok(since_epoch) => UNIX_EPOCH + Duration::from_secs(since_epoch.as_secs()),
        Err(_) => time,
    }
}

/// What the response says about its age (RFC 9111 §5.1).
fn age_value(headers: &HeaderMap) -> Duration {
    // §5.1: of a list the first member is used, and a value that is no number is ignored.
    match field::list(headers, &AGE).next().map(Delta::parse) {
        Some(Delta::Seconds(seconds)) => Duration::from_secs(seconds),
        Some(Delta::Invalid) | None => Duration::ZERO,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::field::testing::{any_headers, at, headers};

    /// An exchange that begins and ends so many milliseconds after the second of `DATE`.
    fn exchange(request_time: u64, response_time: u64) -> Exchange {
        Exchange { request_time: at(request_time), response_time: at(response_time) }
    }

    const DATE_LINE: (&str, &str) = ("date", "Sun, 06 Nov 1994 08:49:37 GMT");

    #[test]
    fn the_initial_age_is_the_larger_of_what_date_and_age_show() {
        struct Case {
            name: &'static str,
            lines: &'static [(&'static str, &'static str)],
            exchange: (u64, u64),
            millis: u64,
        }
        let cases = [
            Case { name: "nothing said, no delay", lines: &[], exchange: (0, 0), millis: 0 },
            Case { name: "the delay alone", lines: &[], exchange: (100, 350), millis: 250 },
            Case { name: "clock ran backwards", lines: &[], exchange: (350, 100), millis: 0 },
            Case { name: "made in the same second", lines: &[DATE_LINE], exchange: (999, 999), millis: 0 },
            Case { name: "made in the second before", lines: &[DATE_LINE], exchange: (1_001, 1_001), millis: 1_000 },
            Case { name: "date long ago", lines: &[DATE_LINE], exchange: (9_000, 9_700), millis: 9_000 },
            Case { name: "delay above date", lines: &[DATE_LINE], exchange: (0, 1_500), millis: 1_500 },
            Case {
                name: "date in the future",
                lines: &[("date", "Sun, 06 Nov 2094 08:49:37 GMT")],
                exchange: (0, 20),
                millis: 20,
            },
            Case { name: "date malformed", lines: &[("date", "0")], exchange: (0, 20), millis: 20 },
            Case { name: "dates conflict", lines: &[DATE_LINE, ("date", "0")], exchange: (9_000, 9_000), millis: 0 },
            Case { name: "age and delay", lines: &[("age", "5")], exchange: (0, 20), millis: 5_020 },
            Case { name: "age above date", lines: &[DATE_LINE, ("age", "5")], exchange: (3_000, 3_001), millis: 5_001 },
            Case { name: "date above age", lines: &[DATE_LINE, ("age", "5")], exchange: (9_000, 9_001), millis: 9_000 },
        ];
        for case in cases {
            let exchange = exchange(case.exchange.0, case.exchange.1);

            let found = corrected_initial_age(&headers(case.lines), &exchange);

            assert_eq!(found, Duration::from_millis(case.millis), "{}", case.name);
        }
    }

    #[test]
    fn the_first_age_counts_and_a_malformed_one_is_ignored() {
        let cases: [(&[&[u8]], u64); 20] = [
            (&[b"0"], 0),
            (&[b"7200"], 7200),
            (&[b" 7200\t"], 7200),
            (&[b"007200"], 7200),
            (&[b"7200,0"], 7200),
            (&[b"7200", b"0"], 7200),
            (&[b"0, 7200"], 0),
            (&[b"0", b"7200"], 0),
            (&[b", 7200"], 7200),
            (&[b"2147483648"], 1 << 31),
            (&[b"99999999999999999999999999"], 1 << 31),
            (&[b""], 0),
            (&[b"-7200"], 0),
            (&[b"+7200"], 0),
            (&[b"7200.0"], 0),
            (&[b"abc"], 0),
            (&[b"abc, 7200"], 0),
            (&[b"\"7200\""], 0),
            (&[b"72 00"], 0),
            (&[b"\xb2"], 0),
        ];
        for (lines, seconds) in cases {
            let lines: Vec<_> = lines.iter().map(|line| ("age", line)).collect();

            let found = corrected_initial_age(&headers(&lines), &exchange(0, 0));

            assert_eq!(found, Duration::from_secs(seconds), "{lines:?}");
        }
    }

    #[test]
    fn the_current_age_grows_with_the_time_in_the_cache() {
        let cases = [(0, 0, 0, 0), (0, 500, 1_499, 999), (2_000, 500, 1_501, 3_001), (2_000, 500, 499, 2_000)];
        for (initial, response_time, now, expected) in cases {
            let found = current_age(Duration::from_millis(initial), at(response_time), at(now));

            assert_eq!(found, Duration::from_millis(expected), "{initial} {response_time} {now}");
        }
        assert_eq!(current_age(Duration::MAX, at(0), at(1)), Duration::MAX);
    }

    #[test]
    fn whole_seconds_keeps_times_before_1970() {
        let before = UNIX_EPOCH - Duration::from_millis(1);

        assert_eq!(whole_seconds(at(999)), at(0));
        assert_eq!(whole_seconds(before), before);
    }

    proptest! {
        #[test]
        fn age_never_falls_and_starts_no_lower_than_the_delay(
            headers in any_headers(), sent in 0..1_u64 << 45, delay in 0..1_u64 << 40, resident in 0..1_u64 << 40,
        ) {
            let exchange = exchange(sent, sent + delay);
            let initial = corrected_initial_age(&headers, &exchange);
            let age = current_age(initial, exchange.response_time, at(sent + delay + resident));

            prop_assert!(initial >= Duration::from_millis(delay));
            prop_assert_eq!(age, initial + Duration::from_millis(resident));
        }
    }
}
