//! What has happened in a run: each forward, and each request with its answer.

use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, SystemTime},
};

use microcache::Clock;
use tokio::time::Instant;

/// The time of a run, which is the timer's. All moments are told from its beginning.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Time {
    began: Instant,
}

impl Time {
    pub(crate) fn begin() -> Self {
        Self { began: Instant::now() }
    }

    pub(crate) fn elapsed(self) -> Duration {
        self.began.elapsed()
    }

    pub(crate) fn at(self, moment: Instant) -> Duration {
        moment.duration_since(self.began)
    }
}

impl Clock for Time {
    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + START + self.began.elapsed()
    }
}

/// One forward, as the origin sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Forward {
    pub(crate) node: usize,
    pub(crate) key: usize,
    /// Of what the origin has.
    pub(crate) version: u64,
    /// How long its answer is fresh.
    pub(crate) freshness: Duration,
    pub(crate) began: Duration,
    pub(crate) ended: Option<Duration>,
}

/// One request, and what came of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request {
    pub(crate) node: usize,
    pub(crate) key: usize,
    pub(crate) asked: Duration,
    pub(crate) answered: Option<Duration>,
    /// The forward that the answer comes from. None: it is no answer.
    pub(crate) forward: Option<usize>,
}

/// All of it. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Records {
    pub(crate) time: Time,
    state: Arc<Mutex<Recorded>>,
}

#[derive(Debug)]
pub(crate) struct Recorded {
    pub(crate) forwards: Vec<Forward>,
    pub(crate) requests: Vec<Request>,
    /// When each node has died.
    pub(crate) died: Vec<Option<Duration>>,
    /// Nothing is asked any more.
    pub(crate) is_over: bool,
    pub(crate) version: u64,
    pub(crate) freshness: Duration,
}

impl Records {
    pub(crate) fn new(time: Time, nodes: usize, freshness: Duration) -> Self {
        let (forwards, requests, died) = (Vec::new(), Vec::new(), vec![None; nodes]);
        let state = Recorded { forwards, requests, died, is_over: false, version: 0, freshness };
        Self { time, state: Arc::new(Mutex::new(state)) }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Recorded> {
        self.state.lock().unwrap()
    }
}

/// Any whole second.
const START: Duration = Duration::from_secs(1_600_000_000);
