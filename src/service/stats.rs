//! What is known of a cache at one moment.

use super::Core;
use crate::observe::{Gauges, Stats};

impl Core {
    pub(crate) fn stats(&self) -> Stats {
        let (flights, waiting, markers) = self.collapser.sizes();
        let [flights, waiting, markers] = [flights, waiting, markers].map(|count| count as u64);
        let gauges = Gauges { flights, waiting, markers };
        self.counters.stats(self.is_paused(), gauges, self.store.size(), self.store.servers(), self.clock.now())
    }
}
