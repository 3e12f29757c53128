//! Counts allocations, those of the measured part only.

#![expect(unreachable_pub, reason = "a module of the bench")]

use allocation_counter::AllocationInfo;

use crate::common::timing::{Case, Times};

/// Allocations and bytes allocated each time, after the first few.
fn allocated(case: &mut Case<'_>) -> (f64, f64) {
    case.run(WARM_UP, &mut |work| work());
    let mut info = AllocationInfo::default();
    case.run(TIMES, &mut |work| info = allocation_counter::measure(work));
    let each = |total: u64| total as f64 / f64::from(TIMES);
    (each(info.count_total), each(info.bytes_total))
}

/// A row of what a case costs: its time, the spread, the ratio to `base`, its allocations.
pub fn costs(case: &mut Case<'_>, times: &Times, base: f64) -> [String; 7] {
    let (allocations, bytes) = allocated(case);
    [
        case.name.to_owned(),
        format!("{:.0}", times.median()),
        format!("{:.0}", times.percentile(10)),
        format!("{:.0}", times.percentile(90)),
        format!("{:.2}", times.median() / base),
        format!("{allocations:.2}"),
        format!("{bytes:.0}"),
    ]
}

/// Runs `timed` without counting, which takes time of its own.
pub fn uncounted<T>(timed: impl FnOnce() -> T) -> T {
    let mut result = None;
    allocation_counter::opt_out(|| result = Some(timed()));
    result.unwrap()
}

const WARM_UP: u32 = 100;
const TIMES: u32 = 1_000;
