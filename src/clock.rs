//! The time. The only caller of `now()`: every decision takes the time as an argument.

use std::{
    fmt,
    future::{Future, poll_fn},
    pin::pin,
    task::Poll,
    time::{Duration, SystemTime},
};

use futures_util::FutureExt;
use tokio::{task::unconstrained, time::sleep_until};

/// Tells the cache what time it is.
///
/// [`CacheLayerBuilder::clock`](crate::CacheLayerBuilder::clock) takes one; without it the system's clock is
/// asked. Waits (the collapse limits) run on tokio's timer, not on this clock.
///
/// ```
/// use std::time::SystemTime;
///
/// #[derive(Debug)]
/// struct Frozen(SystemTime);
///
/// impl microcache::Clock for Frozen {
///     fn now(&self) -> SystemTime {
///         self.0
///     }
/// }
///
/// let noon = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(43_200);
/// assert_eq!(microcache::Clock::now(&Frozen(noon)), noon);
/// ```
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// The time now.
    fn now(&self) -> SystemTime;
}

impl<C: Clock + ?Sized> Clock for std::sync::Arc<C> {
    fn now(&self) -> SystemTime {
        (**self).now()
    }
}

/// The system's clock.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that asks")]
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }
}

/// The timer's clock, by which waits and the age of flights are measured. Tests pause and advance it.
#[expect(clippy::disallowed_methods, reason = "the one place that asks")]
pub(crate) fn monotonic() -> tokio::time::Instant {
    tokio::time::Instant::now()
}

/// So much later, or as late as any wait can be: what a setting asks for may be more than an instant can hold.
pub(crate) fn later(now: tokio::time::Instant, by: Duration) -> tokio::time::Instant {
    now.checked_add(by).unwrap_or_else(|| now + FAR)
}

/// What comes of it within `limit`, and what is left of that. What need not wait needs no timer, and so no runtime.
pub(crate) async fn in_time<T>(limit: Duration, mut asked: impl Future<Output = T> + Unpin) -> (Option<T>, Duration) {
    let (mut until, mut timer) = (None, pin!(None));
    let told = poll_fn(|cx| {
        if let Poll::Ready(told) = asked.poll_unpin(cx) {
            return Poll::Ready(Some(told));
        }
        if until.is_none() && !limit.is_zero() {
            let until = *until.insert(later(monotonic(), limit));
            // What it waits for may have used up what tokio lets a task do in one turn: the timer is looked at all the same.
            timer.set(Some(unconstrained(sleep_until(until))));
        }
        timer.as_mut().as_pin_mut().map_or(Poll::Ready(None), |timer| timer.poll(cx).map(|()| None))
    });
    let told = told.await;
    (told, until.map_or(limit, |until| until.saturating_duration_since(monotonic())))
}

/// Nanoseconds since 1970. Times before that and after 2554 are the nearest that there is.
pub(crate) fn nanos(time: SystemTime) -> u64 {
    let since_epoch = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_nanos()).unwrap_or(u64::MAX)
}

/// Thirty years, as tokio has it.
const FAR: Duration = Duration::from_secs(86_400 * 365 * 30);

/// A clock that moves only when it is told to.
///
/// ```
/// use std::time::Duration;
/// use microcache::{Clock, ManualClock};
///
/// let clock = ManualClock::new();
/// let before = clock.now();
/// clock.advance(Duration::from_millis(999));
/// assert_eq!(clock.now(), before + Duration::from_millis(999));
/// ```
#[cfg(any(test, feature = "test-util"))]
#[derive(Clone, Debug)]
pub struct ManualClock {
    now: std::sync::Arc<std::sync::Mutex<SystemTime>>,
}

#[cfg(any(test, feature = "test-util"))]
impl ManualClock {
    /// A clock that starts at a fixed whole second (2020-09-13T12:26:40Z).
    #[must_use]
    pub fn new() -> Self {
        let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_600_000_000);
        Self { now: std::sync::Arc::new(std::sync::Mutex::new(start)) }
    }

    /// Moves the clock forward; every clone sees it.
    pub fn advance(&self, by: Duration) {
        let mut now = self.lock();
        if let Some(later) = now.checked_add(by) {
            *now = later;
        }
    }

    /// Moves the clock back; every clone sees it.
    pub fn rewind(&self, by: Duration) {
        let mut now = self.lock();
        if let Some(earlier) = now.checked_sub(by) {
            *now = earlier;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, SystemTime> {
        self.now.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(any(test, feature = "test-util"))]
impl Default for ManualClock {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(any(test, feature = "test-util"))]
impl Clock for ManualClock {
    fn now(&self) -> SystemTime {
        *self.lock()
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use tokio::time::sleep;

    use super::*;

    const LIMIT: Duration = Duration::from_millis(20);

    #[tokio::test]
    async fn what_uses_up_all_that_a_task_may_do_in_a_turn_is_given_up_in_time() {
        let busy = pin!(async {
            loop {
                tokio::task::consume_budget().await;
            }
        });

        let told = tokio::time::timeout(500 * LIMIT, in_time::<()>(LIMIT, busy)).await;

        assert!(matches!(told, Ok((None, _))));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_left_is_the_limit_less_what_it_took() {
        assert_eq!(in_time(LIMIT, ready(1)).await, (Some(1), LIMIT));
        assert_eq!(in_time(LIMIT, pending::<()>()).await, (None, Duration::ZERO));
        assert_eq!(in_time(LIMIT, pin!(sleep(LIMIT / 2))).await, (Some(()), LIMIT / 2));
        for far in [Duration::MAX, Duration::MAX - LIMIT] {
            let (told, left) = in_time(far, pin!(sleep(LIMIT))).await;
            assert!(told.is_some() && left > FAR / 2, "{left:?}");
        }
    }

    #[test]
    fn what_need_not_wait_needs_no_runtime() {
        assert_eq!(in_time(LIMIT, ready(1)).now_or_never(), Some((Some(1), LIMIT)));
        assert_eq!(in_time(Duration::ZERO, pending::<()>()).now_or_never(), Some((None, Duration::ZERO)));
    }
}
