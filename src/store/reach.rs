//! How far what one process purges reaches.

use std::{fmt, time::Duration};

/// How long after the store was told the other processes that share it may still use what was purged.
///
/// ```
/// use std::time::Duration;
/// use microcache::Reach;
///
/// assert_eq!(Reach::Within(Duration::from_millis(1_100)).to_string(), "others within 1.1 s");
/// assert_eq!(Reach::Alone.to_string(), "there are no others");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reach {
    /// No other process shares the store.
    Alone,
    /// For at most so long.
    Within(Duration),
}

impl Reach {
    /// The same with a store in front that answers for so long without asking.
    pub(super) fn behind(self, near_freshness: Duration) -> Self {
        match self {
            Self::Alone => Self::Alone,
            Self::Within(time) => Self::Within(time.saturating_add(near_freshness)),
        }
    }
}

impl fmt::Display for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Alone => f.write_str("there are no others"),
            Self::Within(time) => write!(f, "others within {} s", time.as_secs_f64()),
        }
    }
}
