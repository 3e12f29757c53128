//! What the fences of one item cover, and what becomes of several. Pure.
//!
//! A server has one item for each tenant and one for all. Targets and tags fall into places by BLAKE3, the same in every
//! process on every platform. Where two meet in a place, their fences are from then on for all that falls into it: that
//! costs forwards, it never serves what was purged.

use std::time::SystemTime;

use crate::{
    key::CacheKey,
    store::fence::{Cover, Fence, Scope},
    stored::{
        Stored,
        codec::units,
        raised::{PLACES, Raised, RaisedPlace, SHARED},
    },
};

/// Where the fences for a target or a tag are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Hashed {
    place: u16,
    check: u32,
}

/// Under which key a fence is kept, and as what.
pub(super) fn kept(fence: &Fence) -> (CacheKey, Raised) {
    let at = units::millis_rounded_up(fence.at());
    let (hard, soft) = if fence.is_soft() { (0, at) } else { (at, 0) };
    let raised = match Hashed::of(fence.scope()) {
        Some(Hashed { place, check }) => {
            Raised { places: [(place, RaisedPlace { check, hard, soft })].into(), ..Raised::default() }
        }
        None => Raised { hard, soft, ..Raised::default() },
    };
    (CacheKey::of_fences(fence.scope().tenant()), raised)
}

impl Hashed {
    /// None for what covers all that an item is for.
    fn of(scope: Scope<'_>) -> Option<Self> {
        // In a key the separator is escaped, so that no two are written alike.
        let text = match scope {
            Scope::Target(_, authority, path) => format!("target|{authority}|{path}"),
            Scope::Tag(_, tag) => format!("tag|{tag}"),
            Scope::Tenant(_) | Scope::All => return None,
        };
        let [a, b, c, d, e, f, ..] = *blake3::hash(text.as_bytes()).as_bytes();
        let check = u32::from_le_bytes([c, d, e, f]).max(SHARED + 1);
        Some(Self { place: u16::from_le_bytes([a, b]) % PLACES, check })
    }
}

impl Raised {
    /// Nobody knows what was purged: nothing that began before is used. What begins now is.
    pub(super) fn anew(now: SystemTime) -> Self {
        Self { hard: units::millis(now).saturating_sub(1), ..Self::default() }
    }

    /// Whether it covers all that it covers without this.
    pub(super) fn has(&self, other: &Self) -> bool {
        let mut both = self.clone();
        both.merge(other);
        both == *self
    }

    /// Covers what the other covers, too.
    pub(super) fn merge(&mut self, other: &Self) {
        self.hard = self.hard.max(other.hard);
        self.soft = self.soft.max(other.soft);
        for (place, theirs) in &other.places {
            let ours = self.places.entry(*place).or_insert(*theirs);
            if ours.check != theirs.check {
                ours.check = SHARED;
            }
            ours.hard = ours.hard.max(theirs.hard);
            ours.soft = ours.soft.max(theirs.soft);
        }
        self.prune();
    }

    /// Covers by a fence for all what only the older half of the places did, so that it takes half the room.
    pub(super) fn fold(&mut self) {
        let newest = |place: &RaisedPlace| place.hard.max(place.soft);
        let mut moments: Vec<_> = self.places.values().map(newest).collect();
        moments.sort_unstable();
        let Some(&middle) = moments.get(moments.len() / 2) else { return };
        for place in self.places.values().filter(|place| newest(place) <= middle) {
            self.hard = self.hard.max(place.hard);
            self.soft = self.soft.max(place.soft);
        }
        self.prune();
    }

    /// The same without places.
    pub(super) fn folded(&self) -> Self {
        let hard = self.places.values().map(|place| place.hard).max().unwrap_or_default();
        let soft = self.places.values().map(|place| place.soft).max().unwrap_or_default();
        Self { hard: self.hard.max(hard), soft: self.soft.max(soft), ..Self::default() }
    }

    /// Forgets the places that the fences for all cover.
    fn prune(&mut self) {
        let (hard, soft) = (self.hard, self.soft.max(self.hard));
        self.places.retain(|_, place| place.hard > hard || place.soft > soft);
    }

    fn place(&self, hashed: Hashed) -> Option<&RaisedPlace> {
        self.places.get(&hashed.place).filter(|place| place.check == SHARED || place.check == hashed.check)
    }
}

/// What the fences of its tenant and those for all do to what is stored, or to be stored, under a key.
pub(super) fn cover(all: &Raised, tenant: &Raised, key: &CacheKey, stored: &Stored) -> Option<Cover> {
    Cover::of_confirmed(stored.brought(), stored.began(), |began| cover_of(all, tenant, key, stored, began))
}

fn cover_of(all: &Raised, tenant: &Raised, key: &CacheKey, stored: &Stored, began: SystemTime) -> Option<Cover> {
    let began = units::millis(began);
    // Within a millisecond nobody knows the order.
    let by = |hard: u64, soft: u64| match began {
        _ if began <= hard => Some(Cover::Hard),
        _ if began <= soft => Some(Cover::Soft),
        _ => None,
    };
    let whole = [all, tenant].into_iter().filter_map(|raised| by(raised.hard, raised.soft)).min();
    if whole == Some(Cover::Hard) || tenant.places.is_empty() {
        return whole;
    }
    let places = Scope::all_of(key, stored.tags()).filter_map(|scope| tenant.place(Hashed::of(scope)?));
    places.filter_map(|place| by(place.hard, place.soft)).chain(whole).min()
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeMap,
        time::{Duration, UNIX_EPOCH},
    };

    use proptest::prelude::*;

    use super::*;
    use crate::{
        store::{
            contract::{key, response},
            fence::Covers,
        },
        stored::codec::Codec,
    };

    fn at(millis: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(millis)
    }

    /// With the tags `product:7` and `shelf`.
    fn began(millis: u64) -> Stored {
        response(at(millis), Default::default())
    }

    fn tag(tenant: &str, tag: &str) -> Covers {
        Covers::Tag { tenant: tenant.to_owned(), tag: tag.into() }
    }

    fn target(path: &str) -> Covers {
        Covers::Target(key(path))
    }

    /// What is in the items after these fences.
    fn items(fences: &[Fence]) -> BTreeMap<CacheKey, Raised> {
        let mut items: BTreeMap<CacheKey, Raised> = BTreeMap::new();
        for fence in fences {
            let (key, raised) = kept(fence);
            items.entry(key).or_default().merge(&raised);
        }
        items
    }

    fn found(items: &BTreeMap<CacheKey, Raised>, path: &str, millis: u64) -> Option<Cover> {
        let of = |tenant| items.get(&CacheKey::of_fences(tenant)).cloned().unwrap_or_default();
        cover(&of(None), &of(Some("acme")), &key(path), &began(millis))
    }

    #[test]
    fn each_kind_of_fence_covers_what_it_says_and_nothing_else() {
        for (covers, a, b) in [
            (target("/a"), true, false),
            (target("/a?x"), false, false),
            (tag("acme", "shelf"), true, true),
            (tag("acme", "product:7"), true, true),
            (tag("acme", "product:8"), false, false),
            (tag("other", "shelf"), false, false),
            (Covers::Tenant("acme".to_owned()), true, true),
            (Covers::Tenant("other".to_owned()), false, false),
            (Covers::All, true, true),
        ] {
            for (is_soft, cover) in [(false, Cover::Hard), (true, Cover::Soft)] {
                let items = items(&[Fence::new(covers.clone(), at(10), is_soft)]);
                for (path, is_covered) in [("/a", a), ("/b", b)] {
                    assert_eq!(found(&items, path, 10), is_covered.then_some(cover), "{items:?} {path}");
                    assert_eq!(found(&items, path, 11), None, "{items:?} {path}");
                }
            }
        }
    }

    #[test]
    fn a_fraction_of_a_millisecond_does_not_let_anything_through() {
        let fraction = Duration::from_nanos(1);
        let items = items(&[Fence::new(target("/a"), at(10) + fraction, false)]);
        let all = items.values().next().unwrap();
        let cover = |stored: &Stored| cover(&Raised::default(), all, &key("/a"), stored);

        assert_eq!(cover(&response(at(11) + 7 * fraction, Default::default())), Some(Cover::Hard));
        assert_eq!(cover(&began(12)), None);
    }

    #[test]
    fn what_meets_in_a_place_is_covered_by_the_fences_of_both() {
        let place = |path: &str| Hashed::of(Scope::of_target(&key(path))).unwrap().place;
        let mut alike = (0..).map(|number| format!("/{number}")).filter(|path| place(path) == place("/a"));
        let [second, third] = [alike.next().unwrap(), alike.next().unwrap()];
        let first = Fence::new(target("/a"), at(5), false);
        assert_eq!(found(&items(std::slice::from_ref(&first)), &second, 5), None);

        let items = items(&[first, Fence::new(target(&second), at(10), false)]);

        for path in ["/a", &second, &third] {
            assert_eq!(found(&items, path, 10), Some(Cover::Hard), "{path}");
        }
        assert_eq!(found(&items, "/b", 5), None);
    }

    #[test]
    fn where_fences_are_begun_anew_what_began_before_is_covered_and_what_begins_now_is_not() {
        let anew = Raised::anew(at(1_000) + Duration::from_micros(300));
        for (millis, expected) in [(999, Some(Cover::Hard)), (1_000, None)] {
            assert_eq!(cover(&anew, &Raised::default(), &key("/a"), &began(millis)), expected);
        }
    }

    #[test]
    fn however_much_is_purged_an_item_takes_no_more_than_some_kilobytes() {
        let of_key = CacheKey::of_fences(Some("acme"));
        let fences = (0..10_000_u64)
            .map(|number| Fence::new(target(&format!("/{number}")), at(1_600_000_000_000 + number), number % 2 == 0));
        let items = items(&fences.collect::<Vec<_>>());
        let mut raised = items[&of_key].clone();
        let bytes = |raised: &Raised| Codec::plain().encode_fences(&of_key, raised).encoded_len();
        assert!(raised.places.len() <= usize::from(PLACES) && bytes(&raised) < 24_000, "{}", bytes(&raised));

        for _ in 0..11 {
            let before = raised.places.len();
            raised.fold();
            assert!(raised.places.len() <= before / 2);
        }
        assert_eq!(raised, raised.folded());
    }

    fn any_fence() -> impl Strategy<Value = Fence> {
        let covers = prop_oneof![
            6 => (0..40_u8).prop_map(|path| target(&format!("/{path}"))),
            2 => prop_oneof!["shelf", "product:[0-9]"].prop_map(|text| tag("acme", &text)),
            1 => Just(Covers::Tenant("acme".to_owned())),
            1 => Just(Covers::Tenant("other".to_owned())),
            1 => Just(Covers::All),
        ];
        (covers, 0..100_u64, any::<bool>())
            .prop_map(|(covers, millis, is_soft)| Fence::new(covers, at(millis), is_soft))
    }

    /// What the fences do to what began then at this path.
    fn expected(fences: &[Fence], path: &str, millis: u64) -> Option<Cover> {
        let (key, stored) = (key(path), began(millis));
        let covers = |fence: &&Fence| match fence.scope() {
            Scope::Target(_, _, target) => target == path,
            Scope::Tag(_, tag) => stored.tags().iter().any(|own| **own == *tag),
            Scope::Tenant(tenant) => tenant == key.target().0,
            Scope::All => true,
        };
        let covering = fences.iter().filter(covers).filter(|fence| stored.began() <= fence.at());
        covering.map(|fence| if fence.is_soft() { Cover::Soft } else { Cover::Hard }).min()
    }

    proptest! {
        #[test]
        fn no_fence_is_lost_however_they_are_merged_and_folded(
            fences in prop::collection::vec(any_fence(), 0..30),
            split in 0..30_usize,
            folds in 0..3_u8,
            path in 0..40_u8,
            millis in 1..101_u64,
        ) {
            let (some, others) = fences.split_at(split.min(fences.len()));
            let (mut there, news) = (items(others), items(some));
            for (key, news) in &news {
                let raised = there.entry(key.clone()).or_default();
                raised.merge(news);
                prop_assert!(raised.has(news));
                for _ in 0..folds {
                    raised.fold();
                }
                prop_assert!(raised.has(&Raised::default()));
            }
            let path = format!("/{path}");
            let (found, expected) = (found(&there, &path, millis), expected(&fences, &path, millis));
            // No cover at all is the least.
            let strength = |cover: Option<Cover>| cover.map_or(2, |cover| cover as u8);
            prop_assert!(strength(found) <= strength(expected), "{:?} {:?}", found, expected);
            if folds == 0 && there.values().all(|raised| raised.places.values().all(|place| place.check != SHARED)) {
                prop_assert_eq!(found, expected);
            }
        }
    }
}
