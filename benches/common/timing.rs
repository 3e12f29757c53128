//! Cases that take turns, so that whatever else the machine does falls on all of them alike.

use std::{
    env,
    time::{Duration, Instant},
};

/// One thing to measure: how to prepare it, and what is measured of it.
pub struct Case<'a> {
    pub name: &'static str,
    batch: Box<Batch<'a>>,
}

type Work<'a> = dyn FnMut() + 'a;
type Batch<'a> = dyn FnMut(u32, &mut dyn FnMut(&mut Work<'_>)) + 'a;

impl<'a> Case<'a> {
    /// What `prepare` takes is not measured; what `run` takes is, until it has dropped all of it.
    pub fn new<T>(name: &'static str, mut prepare: impl FnMut() -> T + 'a, mut run: impl FnMut(T) + 'a) -> Self {
        let batch = move |count, around: &mut dyn FnMut(&mut Work<'_>)| {
            let mut prepared: Vec<T> = (0..count).map(|_| prepare()).collect();
            around(&mut || prepared.drain(..).for_each(&mut run));
        };
        Self { name, batch: Box::new(batch) }
    }

    /// Runs the case `count` times; `around` is handed the part to measure.
    pub fn run(&mut self, count: u32, around: &mut dyn FnMut(&mut Work<'_>)) {
        (self.batch)(count, around);
    }
}

/// Nanoseconds for one time, of all batches of a case.
pub struct Times {
    sorted: Vec<f64>,
}

impl Times {
    pub fn new(mut samples: Vec<f64>) -> Self {
        samples.sort_by(f64::total_cmp);
        Self { sorted: samples }
    }

    pub fn median(&self) -> f64 {
        self.percentile(50)
    }

    pub fn percentile(&self, percent: usize) -> f64 {
        self.sorted[(self.sorted.len() - 1) * percent / 100]
    }
}

/// Times all cases, one small batch of each in turn. A batch is so short that few of them are interrupted: the
/// median is that of the others.
pub fn interleaved(cases: &mut [Case<'_>], batch: u32, rounds: usize) -> Vec<Times> {
    let mut samples: Vec<Vec<f64>> = vec![Vec::with_capacity(rounds); cases.len()];
    let warm_up = rounds / 10;
    for round in 0..warm_up + rounds {
        for (case, samples) in cases.iter_mut().zip(&mut samples) {
            let mut elapsed = Duration::ZERO;
            case.run(batch, &mut |work| elapsed = timed(work));
            if round >= warm_up {
                samples.push(nanos(elapsed) / f64::from(batch));
            }
        }
    }
    samples.into_iter().map(Times::new).collect()
}

fn timed(work: &mut Work<'_>) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

pub fn nanos(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e9
}

/// With `--case NAME --count N` runs that case N times and nothing else, for `scripts/instructions`.
pub fn run_one(cases: &mut [Case<'_>]) -> bool {
    let (Some(name), Some(count)) = (argument("--case"), argument("--count")) else { return false };
    let count: u32 = count.parse().unwrap();
    let case = cases.iter_mut().find(|case| case.name == name);
    let case = case.unwrap_or_else(|| panic!("there is no case `{name}`"));
    // The first is apart: it may be the one that fills what the others find.
    case.run(1, &mut |work| work());
    case.run(count, &mut |work| only_this_is_counted(work));
    true
}

/// `scripts/instructions` knows it by its name.
#[inline(never)]
fn only_this_is_counted(work: &mut Work<'_>) {
    work();
}

pub fn argument(name: &str) -> Option<String> {
    env::args().skip_while(|argument| argument != name).nth(1)
}
