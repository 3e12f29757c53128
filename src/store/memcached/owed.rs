//! What a server has yet to be told of fences. Pure.

use std::collections::BTreeMap;

use crate::{key::CacheKey, stored::raised::Raised};

/// What is owed to one server: for each of its items what has to be merged into it. Bounded.
#[derive(Debug, Default)]
pub(super) struct Owed {
    debts: BTreeMap<CacheKey, Debt>,
    /// Counts what was ever owed.
    turn: u64,
    /// Somebody is at it.
    pub(super) is_busy: bool,
}

#[derive(Clone, Debug)]
struct Debt {
    raised: Raised,
    /// The first and the last turn that it is of.
    first: u64,
    last: u64,
    /// The first since it was last due.
    later: Option<u64>,
}

/// What is owed to one item, as it was at some moment.
#[derive(Debug)]
pub(super) struct Due {
    pub(super) key: CacheKey,
    pub(super) raised: Raised,
    last: u64,
}

impl Owed {
    /// Owes this, too, and says as which turn.
    pub(super) fn add(&mut self, key: &CacheKey, raised: &Raised) -> u64 {
        self.turn += 1;
        if self.debts.len() >= MOST_DEBTS && !self.debts.contains_key(key) {
            self.fold(raised);
        } else {
            self.owe(key, raised, self.turn);
        }
        self.turn
    }

    fn owe(&mut self, key: &CacheKey, raised: &Raised, first: u64) {
        let last = self.turn;
        let new = || Debt { raised: Raised::default(), first, last, later: None };
        let debt = self.debts.entry(key.clone()).or_insert_with(new);
        debt.raised.merge(raised);
        debt.last = last;
        debt.later.get_or_insert(first);
    }

    /// Too many: one fence for all, as new as the newest of them.
    fn fold(&mut self, raised: &Raised) {
        let first = self.debts.values().map(|debt| debt.first).min().unwrap_or(self.turn);
        let debts = std::mem::take(&mut self.debts);
        let all = CacheKey::of_fences(None);
        for raised in debts.values().map(|debt| &debt.raised).chain([raised]) {
            self.owe(&all, &raised.folded(), first);
        }
    }

    /// All that is owed now.
    pub(super) fn due(&mut self) -> Vec<Due> {
        let due = |(key, debt): (&CacheKey, &mut Debt)| {
            debt.later = None;
            Due { key: key.clone(), raised: debt.raised.clone(), last: debt.last }
        };
        self.debts.iter_mut().map(due).collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.debts.is_empty()
    }

    /// The server has been told.
    pub(super) fn settle(&mut self, due: &Due) {
        let Some(debt) = self.debts.get_mut(&due.key) else { return };
        match debt.later {
            // What was added since is owed yet, and it does no harm to tell it all again.
            Some(later) => debt.first = later,
            None if debt.last == due.last => {
                self.debts.remove(&due.key);
            }
            None => {}
        }
    }

    /// The last turn of which, and before which, nothing is owed.
    pub(super) fn paid(&self) -> u64 {
        self.debts.values().map(|debt| debt.first - 1).min().unwrap_or(self.turn)
    }
}

/// Tenants with fences that a server is not told of. Each takes some kilobytes at most.
const MOST_DEBTS: usize = 256;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(tenant: &str) -> CacheKey {
        CacheKey::of_fences(Some(tenant))
    }

    fn hard(hard: u64) -> Raised {
        Raised { hard, ..Raised::default() }
    }

    #[test]
    fn what_is_owed_is_owed_until_the_server_has_been_told_of_all_of_it() {
        let mut owed = Owed::default();
        assert_eq!(owed.paid(), 0);
        assert_eq!([owed.add(&key("a"), &hard(1)), owed.add(&key("b"), &hard(2))], [1, 2]);
        let due = owed.due();
        assert_eq!(owed.paid(), 0);

        // While the server is told of the first two.
        assert_eq!(owed.add(&key("a"), &hard(3)), 3);
        for due in &due {
            owed.settle(due);
        }
        assert_eq!(owed.paid(), 2);

        let due = owed.due();
        assert_eq!(due.iter().map(|due| due.raised.hard).collect::<Vec<_>>(), [3]);
        owed.settle(&due[0]);
        assert_eq!(owed.paid(), 3);
        assert!(owed.is_empty());
    }

    #[test]
    fn what_is_more_than_there_is_room_for_becomes_a_fence_for_all() {
        let mut owed = Owed::default();
        for turn in 1..=MOST_DEBTS as u64 {
            owed.add(&key(&turn.to_string()), &hard(turn));
        }
        assert_eq!(owed.due().len(), MOST_DEBTS);

        let turn = owed.add(&key("more"), &Raised { soft: 1_000, ..hard(7) });

        let due = owed.due();
        assert_eq!((&due[0].key, due.len()), (&CacheKey::of_fences(None), 1));
        assert_eq!(due[0].raised, Raised { soft: 1_000, ..hard(MOST_DEBTS as u64) });
        assert_eq!(owed.paid(), 0);
        owed.settle(&due[0]);
        assert_eq!(owed.paid(), turn);
    }

    #[test]
    fn what_became_a_fence_for_all_while_another_for_all_was_told_is_owed_yet() {
        let mut owed = Owed::default();
        for turn in 1..MOST_DEBTS as u64 {
            owed.add(&key(&turn.to_string()), &hard(turn));
        }
        owed.add(&CacheKey::of_fences(None), &hard(1));
        let due = owed.due().remove(0);
        assert_eq!(due.key, CacheKey::of_fences(None));
        owed.add(&key("more"), &hard(1_000));

        owed.settle(&due);

        assert_eq!(owed.paid(), 0);
        assert_eq!(owed.due().pop().unwrap().raised, hard(1_000));
    }

    proptest! {
        #[test]
        fn what_counts_as_paid_was_told(steps in prop::collection::vec((0..4_u8, 1..9_u64, any::<bool>()), 0..40)) {
            let mut owed = Owed::default();
            let mut turns = Vec::new();
            let mut told: BTreeMap<CacheKey, u64> = BTreeMap::new();
            for (tenant, moment, settles) in steps {
                let key = key(&tenant.to_string());
                turns.push((owed.add(&key, &hard(moment)), key, moment));
                if settles {
                    for due in owed.due().iter().skip(usize::from(tenant % 2)) {
                        let there = told.entry(due.key.clone()).or_default();
                        *there = due.raised.hard.max(*there);
                        owed.settle(due);
                    }
                }
                for (_, key, moment) in turns.iter().filter(|(turn, ..)| *turn <= owed.paid()) {
                    prop_assert!(told.get(key).is_some_and(|told| told >= moment));
                }
            }
        }
    }
}
