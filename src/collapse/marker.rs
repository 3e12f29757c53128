//! Markers: which keys were not reusable lately. Bounded in number and in time.

use std::collections::{HashMap, VecDeque};

use tokio::time::Instant;

/// Markers of one shard, by a secretly seeded hash of their keys, so that long keys take no more room than short
/// ones. Past `capacity` the oldest goes. Losing a marker costs one wait, and two keys of one hash cost a forward;
/// neither is ever a wrong answer.
#[derive(Debug)]
pub(super) struct Markers {
    until: HashMap<u64, Instant>,
    oldest_first: VecDeque<(u64, Instant)>,
    capacity: usize,
}

impl Markers {
    pub(super) fn new(capacity: usize) -> Self {
        Self { until: HashMap::new(), oldest_first: VecDeque::new(), capacity: capacity.max(1) }
    }

    /// How many there are, those included whose time is over.
    pub(super) fn len(&self) -> usize {
        self.until.len()
    }

    pub(super) fn is_marked(&self, key: u64, now: Instant) -> bool {
        self.until.get(&key).is_some_and(|until| now < *until)
    }

    pub(super) fn mark(&mut self, key: u64, until: Instant, now: Instant) {
        if self.until.get(&key).is_some_and(|there| (*there - now) * 2 > until - now) {
            // A key that stays uncacheable under load is renewed now and then, not for every response.
            return;
        }
        self.forget_before(now);
        while self.oldest_first.len() >= self.capacity {
            self.forget_oldest();
        }
        self.until.insert(key, until);
        self.oldest_first.push_back((key, until));
    }

    pub(super) fn unmark(&mut self, key: u64) {
        // Its place in the queue goes when its time comes.
        self.until.remove(&key);
    }

    fn forget_before(&mut self, now: Instant) {
        while self.oldest_first.front().is_some_and(|(_, until)| *until <= now) {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some((key, until)) = self.oldest_first.pop_front()
            && self.until.get(&key) == Some(&until)
        {
            self.until.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::monotonic;

    const LIFETIME: Duration = Duration::from_secs(10);

    fn marked(markers: &mut Markers, key: u64, now: Instant) {
        markers.mark(key, now + LIFETIME, now);
    }

    #[tokio::test(start_paused = true)]
    async fn a_marker_lives_as_long_as_it_was_given() {
        let mut markers = Markers::new(10);
        let now = monotonic();
        marked(&mut markers, 1, now);

        assert!(markers.is_marked(1, now + LIFETIME - Duration::from_millis(1)));
        assert!(!markers.is_marked(1, now + LIFETIME));
        assert!(!markers.is_marked(2, now));
    }

    #[tokio::test(start_paused = true)]
    async fn markers_are_bounded_and_the_oldest_goes_first() {
        let mut markers = Markers::new(3);
        let now = monotonic();
        for key in [1, 2, 3, 4] {
            marked(&mut markers, key, now);
        }

        assert!(!markers.is_marked(1, now));
        assert!([2, 3, 4].iter().all(|key| markers.is_marked(*key, now)));
        assert_eq!((markers.until.len(), markers.oldest_first.len()), (3, 3));
    }

    #[tokio::test(start_paused = true)]
    async fn marking_and_unmarking_for_ever_stays_bounded() {
        let mut markers = Markers::new(3);
        let now = monotonic();
        for _ in 0..1_000 {
            marked(&mut markers, 1, now);
            marked(&mut markers, 1, now);
            markers.unmark(1);
        }

        assert!(markers.oldest_first.len() <= 3 && markers.until.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_that_stays_uncacheable_stays_marked() {
        let mut markers = Markers::new(10);
        let now = monotonic();
        for second in 0..100 {
            let now = now + Duration::from_secs(second);
            assert!(second == 0 || markers.is_marked(1, now), "after {second} s");
            marked(&mut markers, 1, now);
        }

        assert!(markers.oldest_first.len() <= 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_that_was_unmarked_and_marked_again_keeps_its_new_time() {
        let mut markers = Markers::new(10);
        let now = monotonic();
        marked(&mut markers, 1, now);
        markers.unmark(1);
        let later = now + Duration::from_secs(5);
        marked(&mut markers, 1, later);
        marked(&mut markers, 2, now + LIFETIME);

        assert!(markers.is_marked(1, now + LIFETIME + Duration::from_secs(1)));
    }
}
