//! What came of it: how often what happened, and what must not have.

use std::collections::BTreeMap;

use microcache::Stats;

use crate::checker::{Rule, Violation};

/// The sum of some rounds.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) counts: BTreeMap<&'static str, u64>,
    pub(crate) violations: BTreeMap<Rule, Found>,
}

/// The violations of one rule.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) count: u64,
    /// The first of them, with all that there is to know.
    pub(crate) examples: Vec<String>,
}

impl Tally {
    pub(crate) fn count(&mut self, name: &'static str, number: u64) {
        *self.counts.entry(name).or_default() += number;
    }

    pub(crate) fn of(&self, name: &str) -> u64 {
        self.counts.get(name).copied().unwrap_or_default()
    }

    pub(crate) fn add(&mut self, other: Self) {
        for (name, number) in other.counts {
            self.count(name, number);
        }
        for (rule, found) in other.violations {
            let here = self.violations.entry(rule).or_default();
            here.count += found.count;
            let room = EXAMPLES.saturating_sub(here.examples.len());
            here.examples.extend(found.examples.into_iter().take(room));
        }
    }

    pub(crate) fn add_stats(&mut self, stats: &Stats) {
        for (name, number) in [
            ("stored", stats.stored),
            ("fenced", stats.fenced),
            ("overflows", stats.overflows),
            ("store errors", stats.store_errors),
        ] {
            self.count(name, number);
        }
    }

    pub(crate) fn violation(&mut self, violation: &Violation, context: impl FnOnce() -> String) {
        let found = self.violations.entry(violation.rule).or_default();
        found.count += 1;
        if found.examples.len() < EXAMPLES {
            found.examples.push(format!("{violation}\n{}", context()));
        }
    }

    /// All violations as text; empty if there are none.
    pub(crate) fn report(&self) -> String {
        let each = self
            .violations
            .iter()
            .map(|(rule, found)| format!("{rule:?}: {} times, as in\n{}\n", found.count, found.examples.join("\n")));
        each.collect()
    }
}

/// So many violations of one rule are told in full.
const EXAMPLES: usize = 3;
