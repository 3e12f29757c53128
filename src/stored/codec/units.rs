//! Times and durations in whole milliseconds. What is too long to say becomes the longest there is.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Rounded down, so that ages get no shorter, and what began before a fence still did. A time
/// before 1970 becomes 1970.
pub(crate) fn millis(time: SystemTime) -> u64 {
    at_most(time.duration_since(UNIX_EPOCH).unwrap_or_default())
}

/// Rounded up: for a fence, so that what began before it still did.
pub(crate) fn millis_rounded_up(time: SystemTime) -> u64 {
    at_least(time.duration_since(UNIX_EPOCH).unwrap_or_default())
}

/// None if the platform can not express it.
pub(super) fn time(millis: u64) -> Option<SystemTime> {
    UNIX_EPOCH.checked_add(Duration::from_millis(millis))
}

/// Rounded down: for what ends.
pub(super) fn at_most(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Rounded up: for ages.
pub(super) fn at_least(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(NANOS_PER_MILLI)).unwrap_or(u64::MAX)
}

const NANOS_PER_MILLI: u128 = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractions_of_a_millisecond_end_earlier_and_age_more() {
        let after = |nanos| Duration::new(7, nanos);
        for (nanos, down, up) in [
            (0, 7_000, 7_000),
            (1, 7_000, 7_001),
            (999_999, 7_000, 7_001),
            (1_000_000, 7_001, 7_001),
            (999_999_999, 7_999, 8_000),
        ] {
            assert_eq!(millis(UNIX_EPOCH + after(nanos)), down, "{nanos}");
            assert_eq!(millis_rounded_up(UNIX_EPOCH + after(nanos)), up, "{nanos}");
            assert_eq!(at_most(after(nanos)), down, "{nanos}");
            assert_eq!(at_least(after(nanos)), up, "{nanos}");
        }
    }

    #[test]
    fn what_can_not_be_said_becomes_the_nearest_that_can() {
        let early = UNIX_EPOCH - Duration::from_secs(1);
        assert_eq!((millis(early), millis_rounded_up(early)), (0, 0));
        assert_eq!((at_most(Duration::MAX), at_least(Duration::MAX)), (u64::MAX, u64::MAX));
        assert_eq!(time(7), Some(UNIX_EPOCH + Duration::from_millis(7)));
    }
}
