//! Cases that take turns although one may take a hundred thousand times as long as another.

use std::time::{Duration, Instant};

use crate::common::timing::{Case, Times, nanos};

/// One batch of each case in turn, until the time is up. A batch takes about as long for each of them, but is at least
/// one.
pub fn in_turn(cases: &mut [Case<'_>]) -> Vec<Times> {
    let batches: Vec<u32> = cases.iter_mut().map(fitting).collect();
    let mut samples: Vec<Vec<f64>> = vec![Vec::new(); cases.len()];
    let start = Instant::now();
    let mut rounds = 0;
    while rounds < LEAST_ROUNDS || (start.elapsed() < LASTING && rounds < MOST_ROUNDS) {
        for ((case, samples), batch) in cases.iter_mut().zip(&mut samples).zip(&batches) {
            samples.push(nanos(timed(case, *batch)) / f64::from(*batch));
        }
        rounds += 1;
    }
    samples.into_iter().map(Times::new).collect()
}

/// How many fit into a batch. The first few warm up.
fn fitting(case: &mut Case<'_>) -> u32 {
    timed(case, 3);
    let one = nanos(timed(case, 1)).max(1.0);
    (nanos(BATCH) / one).clamp(1.0, 64.0) as u32
}

fn timed(case: &mut Case<'_>, count: u32) -> Duration {
    let mut elapsed = Duration::ZERO;
    case.run(count, &mut |work| {
        let start = Instant::now();
        work();
        elapsed = start.elapsed();
    });
    elapsed
}

const BATCH: Duration = Duration::from_micros(200);
const LASTING: Duration = Duration::from_secs(8);
const LEAST_ROUNDS: usize = 21;
const MOST_ROUNDS: usize = 3_000;
