//! The ledger: how much each tenant holds, and what of it was stored longest ago.
//!
//! Written when something is stored or leaves, never when it is looked up. Whatever it evicts it takes off its own books
//! first, so that it never calls the cache while it is locked.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use foldhash::fast::RandomState;

/// What a tenant may hold.
#[derive(Clone, Copy, Debug)]
pub(super) struct Share {
    pub(super) max_bytes: u64,
    pub(super) max_responses: usize,
}

/// The books of one store.
pub(super) struct Ledger {
    share: Share,
    /// How much there may be while there are several tenants: a little less than the cache has room for, so that what it
    /// would evict by itself is never another's.
    max_bytes: u64,
    books: Mutex<Books>,
}

#[derive(Default)]
struct Books {
    /// Those that hold something.
    tenants: HashMap<Arc<str>, Holding, RandomState>,
    /// The same, the one that holds most last.
    by_bytes: BTreeSet<(u64, Arc<str>)>,
    /// What they hold, by tenant and then by number, so that what a tenant stored longest ago is its first.
    charges: BTreeMap<(u64, u64), Charge>,
    bytes: u64,
    last_number: u64,
}

/// What a tenant holds.
#[derive(Clone, Copy, Debug)]
struct Holding {
    /// Its place among the charges.
    tenant: u64,
    bytes: u64,
    responses: usize,
}

struct Charge {
    key: Arc<str>,
    bytes: u32,
}

/// What is to leave the cache, if it is still what was charged under this number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Victim {
    pub(super) key: Arc<str>,
    pub(super) number: u64,
}

impl Ledger {
    pub(super) fn new(max_bytes: u64, share: Share) -> Self {
        // A share of all is none: what is too much for the store is not what a tenant stored longest ago, but what the
        // cache knows to be asked for least.
        let share_bytes = if share.max_bytes < max_bytes { share.max_bytes } else { u64::MAX };
        let share = Share { max_bytes: share_bytes, ..share };
        Self { share, max_bytes: max_bytes - max_bytes / HEADROOM, books: Mutex::default() }
    }

    /// Charges the tenant for what is about to be stored, under a number of its own, and says what has to leave before:
    /// where there is no room for all, of the tenant that holds most, so that nobody loses to one who holds more.
    pub(super) fn charge(&self, tenant: &str, key: &Arc<str>, bytes: u32) -> (u64, Vec<Victim>) {
        let mut books = self.books();
        let number = books.add(tenant, key, bytes);
        let (mut victims, mut freed) = (Vec::new(), 0);
        // What there is too much of goes bit by bit, so that no one request pays for all of it. A tenant that is alone
        // leaves it to the cache, which knows what is asked for often.
        while books.tenants.len() > 1 && books.bytes > self.max_bytes && freed < 2 * u64::from(bytes) {
            let Some((_, heaviest)) = books.by_bytes.last() else { break };
            let heaviest = Arc::clone(heaviest);
            let Some((victim, bytes)) = books.pop(&heaviest) else { break };
            freed += u64::from(bytes);
            victims.push(victim);
        }
        (number, victims)
    }

    /// What of the tenant has to leave now that this is stored: what it holds over its share, and this, if it was taken
    /// off the books before it was there.
    pub(super) fn settle(&self, tenant: &str, key: &Arc<str>, number: u64) -> Vec<Victim> {
        let mut books = self.books();
        let mut victims = Vec::new();
        if !books.is_charged(tenant, number) {
            victims.push(Victim { key: Arc::clone(key), number });
        }
        while books.tenants.get(tenant).is_some_and(|holding| holding.is_over(&self.share)) {
            let Some((victim, _)) = books.pop(tenant) else { break };
            victims.push(victim);
        }
        victims
    }

    /// It is not there any more, or never was.
    pub(super) fn discharge(&self, tenant: &str, number: u64) {
        self.books().remove(tenant, number);
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        // Poisoned books are whole: nothing that can panic runs under their lock.
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many bytes are charged, for how many responses.
    pub(super) fn size(&self) -> (u64, u64) {
        let books = self.books();
        (books.bytes, books.charges.len() as u64)
    }

    /// All that is charged: bytes, responses, tenants.
    #[cfg(test)]
    pub(super) fn totals(&self) -> (u64, usize, usize) {
        let books = self.books();
        assert_eq!(books.bytes, books.tenants.values().map(|holding| holding.bytes).sum::<u64>());
        assert_eq!(books.tenants.len(), books.by_bytes.len());
        assert!(books.tenants.iter().all(|(name, holding)| books.by_bytes.contains(&(holding.bytes, name.clone()))));
        assert_eq!(books.charges.len(), books.tenants.values().map(|holding| holding.responses).sum::<usize>());
        (books.bytes, books.charges.len(), books.tenants.len())
    }

    #[cfg(test)]
    pub(super) fn bytes_of(&self, tenant: &str) -> u64 {
        self.books().tenants.get(tenant).map_or(0, |holding| holding.bytes)
    }
}

impl Books {
    fn number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    fn add(&mut self, tenant: &str, key: &Arc<str>, bytes: u32) -> u64 {
        let number = self.number();
        let (name, mut holding) = self.take(tenant).unwrap_or_else(|| {
            let holding = Holding { tenant: self.number(), bytes: 0, responses: 0 };
            (tenant.into(), holding)
        });
        self.charges.insert((holding.tenant, number), Charge { key: Arc::clone(key), bytes });
        holding.responses += 1;
        holding.bytes += u64::from(bytes);
        self.bytes += u64::from(bytes);
        self.put_back(name, holding);
        number
    }

    fn is_charged(&self, tenant: &str, number: u64) -> bool {
        self.tenants.get(tenant).is_some_and(|holding| self.charges.contains_key(&(holding.tenant, number)))
    }

    fn remove(&mut self, tenant: &str, number: u64) -> Option<Charge> {
        let charge = self.charges.remove(&(self.tenants.get(tenant)?.tenant, number))?;
        let (name, mut holding) = self.take(tenant)?;
        holding.responses = holding.responses.saturating_sub(1);
        holding.bytes = holding.bytes.saturating_sub(u64::from(charge.bytes));
        self.bytes = self.bytes.saturating_sub(u64::from(charge.bytes));
        self.put_back(name, holding);
        Some(charge)
    }

    /// Takes off the books what the tenant stored longest ago.
    fn pop(&mut self, tenant: &str) -> Option<(Victim, u32)> {
        let place = self.tenants.get(tenant)?.tenant;
        let (&(_, number), _) = self.charges.range((place, 0)..=(place, u64::MAX)).next()?;
        let Charge { key, bytes } = self.remove(tenant, number)?;
        Some((Victim { key, number }, bytes))
    }

    fn take(&mut self, tenant: &str) -> Option<(Arc<str>, Holding)> {
        let (name, holding) = self.tenants.remove_entry(tenant)?;
        let rank = (holding.bytes, name);
        self.by_bytes.remove(&rank);
        Some((rank.1, holding))
    }

    /// Who holds nothing is forgotten.
    fn put_back(&mut self, name: Arc<str>, holding: Holding) {
        if holding.responses > 0 {
            self.by_bytes.insert((holding.bytes, Arc::clone(&name)));
            self.tenants.insert(name, holding);
        }
    }
}

impl Holding {
    fn is_over(&self, share: &Share) -> bool {
        self.bytes > share.max_bytes || self.responses > share.max_responses
    }
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ledger").field("share", &self.share).finish_non_exhaustive()
    }
}

/// One in so many bytes stays free while there are several tenants.
const HEADROOM: u64 = 64;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: Share = Share { max_bytes: u64::MAX, max_responses: usize::MAX };

    fn stored(ledger: &Ledger, tenant: &str, key: &str, bytes: u32) -> Vec<String> {
        let key = Arc::from(key);
        let (number, mut victims) = ledger.charge(tenant, &key, bytes);
        victims.extend(ledger.settle(tenant, &key, number));
        victims.into_iter().map(|victim| victim.key.to_string()).collect()
    }

    #[test]
    fn a_tenant_over_its_share_evicts_what_it_stored_longest_ago() {
        let table = [Share { max_bytes: 30, ..ALL }, Share { max_responses: 3, ..ALL }];
        for share in table {
            let ledger = Ledger::new(1_000, share);
            for key in ["a1", "a2", "a3"] {
                assert!(stored(&ledger, "a", key, 10).is_empty(), "{share:?}");
            }
            assert!(stored(&ledger, "b", "b1", 10).is_empty(), "{share:?}");

            assert_eq!(stored(&ledger, "a", "a4", 10), ["a1"], "{share:?}");
            assert_eq!(ledger.totals(), (40, 4, 2), "{share:?}");
        }
    }

    #[test]
    fn room_is_made_by_the_tenant_that_holds_most() {
        let ledger = Ledger::new(128, ALL);
        for (tenant, key, bytes) in [("a", "a1", 30), ("a", "a2", 30), ("b", "b1", 20), ("c", "c1", 40)] {
            assert!(stored(&ledger, tenant, key, bytes).is_empty());
        }

        assert_eq!(stored(&ledger, "c", "c2", 10), ["a1"]);
        assert_eq!(stored(&ledger, "b", "b2", 40), ["b1"], "who holds most now is itself");
    }

    #[test]
    fn a_tenant_that_is_alone_leaves_it_to_the_cache() {
        for share in [ALL, Share { max_bytes: 100, ..ALL }] {
            let ledger = Ledger::new(100, share);
            for key in 0..100 {
                assert!(stored(&ledger, "", &key.to_string(), 10).is_empty(), "{share:?}");
            }
        }
    }

    #[test]
    fn what_there_is_too_much_of_goes_bit_by_bit() {
        let ledger = Ledger::new(640, ALL);
        for key in 0..64 {
            assert!(stored(&ledger, "a", &key.to_string(), 10).is_empty());
        }

        assert_eq!(stored(&ledger, "b", "b1", 10), ["0", "1"]);
        assert_eq!(ledger.totals().0, 630);
    }

    #[test]
    fn what_was_evicted_before_it_was_stored_leaves_at_once() {
        let ledger = Ledger::new(100, ALL);
        let key = Arc::from("a1");
        let (number, _) = ledger.charge("a", &key, 10);
        ledger.discharge("a", number);

        assert_eq!(ledger.settle("a", &key, number), [Victim { key, number }]);
        assert_eq!(ledger.totals(), (0, 0, 0));
    }

    #[test]
    fn who_holds_nothing_is_forgotten() {
        let ledger = Ledger::new(1_000_000, ALL);
        for tenant in 0..1_000 {
            let tenant = tenant.to_string();
            let (number, _) = ledger.charge(&tenant, &Arc::from("key"), 10);
            ledger.discharge(&tenant, number);
            ledger.discharge(&tenant, number);
        }

        assert_eq!(ledger.totals(), (0, 0, 0));
    }

    proptest! {
        #[test]
        fn nobody_holds_more_than_its_share_and_all_together_no_more_than_there_is(
            puts in prop::collection::vec(("[abc]", 1_u32..40), 1..200)
        ) {
            let ledger = Ledger::new(128, Share { max_bytes: 60, max_responses: 5 });
            for (index, (tenant, bytes)) in puts.iter().enumerate() {
                stored(&ledger, tenant, &index.to_string(), *bytes);
                let (bytes, responses, tenants) = ledger.totals();
                prop_assert!(bytes <= 126 || tenants == 1);
                prop_assert!(responses <= 15 && ["a", "b", "c"].iter().all(|tenant| ledger.bytes_of(tenant) <= 60));
            }
        }
    }
}
