//! Which tenants are counted by name. There may be as many of them as somebody can make up, so the first ones are.

use std::{
    cell::Cell,
    collections::HashMap,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use crate::key::Tenant;

/// The numbers of tenants, from zero.
pub(super) struct Tenants {
    /// That of no other.
    id: u64,
    numbers: RwLock<HashMap<Arc<str>, usize>>,
}

/// The tenant that this thread counted last: most often the next one.
struct Last {
    id: u64,
    name: Arc<str>,
    number: usize,
}

impl Tenants {
    pub(super) fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self { id: NEXT.fetch_add(1, Relaxed), numbers: RwLock::default() }
    }

    /// The number that a tenant is counted under.
    #[inline]
    pub(super) fn number(&self, tenant: &Tenant) -> usize {
        match tenant.name() {
            Some(name) => self.number_of(name),
            None if tenant.is_unidentified() => UNIDENTIFIED,
            None => SHARED,
        }
    }

    /// What is written of the tenants under this number, of which this is one.
    pub(super) fn label(number: usize, tenant: &Tenant) -> Arc<str> {
        match number {
            SHARED => "shared".into(),
            UNIDENTIFIED => "unidentified".into(),
            OTHER => "other".into(),
            _ => tenant.name().unwrap_or("other").into(),
        }
    }

    fn number_of(&self, name: &str) -> usize {
        thread_local! {
            static LAST: Cell<Option<Last>> = const { Cell::new(None) };
        }
        let last = LAST.take().filter(|last| last.id == self.id && &*last.name == name);
        let last = last.unwrap_or_else(|| self.find(name));
        let number = last.number;
        LAST.set(Some(last));
        number
    }

    #[cold]
    fn find(&self, name: &str) -> Last {
        let last = |name: &Arc<str>, number: usize| Last { id: self.id, name: Arc::clone(name), number };
        if let Some((name, number)) = self.numbers.read().unwrap_or_else(PoisonError::into_inner).get_key_value(name) {
            return last(name, *number);
        }
        // A name that means something else here would be two in one.
        if name.len() > LONGEST_NAME || ["shared", "unidentified", "other"].contains(&name) {
            return last(&name.into(), OTHER);
        }
        let mut numbers = self.numbers.write().unwrap_or_else(PoisonError::into_inner);
        let next = FIRST_NAMED + numbers.len();
        // Another thread may have been faster.
        let there = numbers.get_key_value(name).map(|(name, number)| last(name, *number));
        match there {
            Some(there) => there,
            None if next >= SLOTS => last(&name.into(), OTHER),
            None => {
                let name = Arc::from(name);
                numbers.insert(Arc::clone(&name), next);
                last(&name, next)
            }
        }
    }
}

const SHARED: usize = 0;
const UNIDENTIFIED: usize = 1;
const OTHER: usize = 2;
const FIRST_NAMED: usize = 3;

/// How many numbers there are: 256 for names.
pub(super) const SLOTS: usize = FIRST_NAMED + 256;

/// A longer name is not worth the room it takes.
const LONGEST_NAME: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_has_its_number_on_every_thread_and_in_every_cache() {
        let (these, those) = (Tenants::new(), Tenants::new());
        let (a, b) = (Tenant::named("a"), Tenant::named("b"));

        assert_eq!([these.number(&a), these.number(&b), these.number(&a)], [3, 4, 3]);
        assert_eq!([those.number(&b), these.number(&b), those.number(&a)], [3, 4, 4]);
        std::thread::scope(|scope| assert_eq!(scope.spawn(|| these.number(&b)).join().unwrap(), 4));
        assert_eq!([these.number(&Tenant::shared()), these.number(&Tenant::unidentified())], [SHARED, UNIDENTIFIED]);
    }

    #[test]
    fn past_256_names_the_rest_are_counted_together() {
        let tenants = Tenants::new();
        for name in 0..10_000 {
            let tenant = Tenant::named(name.to_string());
            let number = tenants.number(&tenant);
            assert_eq!(number, if name < 256 { FIRST_NAMED + name } else { OTHER });
            let label = Tenants::label(number, &tenant);
            assert_eq!(&*label, if name < 256 { tenant.name().unwrap() } else { "other" });
        }
        assert_eq!(tenants.numbers.read().unwrap().len(), 256);
        assert_eq!(tenants.number(&Tenant::named("255")), SLOTS - 1);
    }

    #[test]
    fn no_name_takes_much_room_or_passes_for_what_has_none() {
        let tenants = Tenants::new();
        for name in ["shared", "unidentified", "other", &"x".repeat(LONGEST_NAME + 1)] {
            assert_eq!(tenants.number(&Tenant::named(name)), OTHER);
        }
    }
}
