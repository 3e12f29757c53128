//! Counts allocations, those of the measured part only.

#![expect(unreachable_pub, reason = "a module of the bench")]

use allocation_counter::AllocationInfo;

use crate::common::timing::Case;

/// Allocations and bytes allocated each time, after the first few.
pub fn allocated(case: &mut Case<'_>) -> (f64, f64) {
    case.run(WARM_UP, &mut |work| work());
    let mut info = AllocationInfo::default();
    case.run(TIMES, &mut |work| info = allocation_counter::measure(work));
    let each = |total: u64| total as f64 / f64::from(TIMES);
    (each(info.count_total), each(info.bytes_total))
}

/// Runs `timed` without counting, which takes time of its own.
pub fn uncounted<T>(timed: impl FnOnce() -> T) -> T {
    let mut result = None;
    allocation_counter::opt_out(|| result = Some(timed()));
    result.unwrap()
}

const WARM_UP: u32 = 100;
const TIMES: u32 = 1_000;
