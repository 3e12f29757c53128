//! Which server keeps which key.
//!
//! Pure, and made of BLAKE3 alone, so that every process on every platform finds a key where another one put it. A
//! key falls into a bucket, and for each bucket the server with the highest weight keeps it (rendezvous hashing):
//!
//! * the bucket of a key is the first two bytes of the digest of its text, little-endian, modulo 4,096;
//! * the weight of a server for bucket *n* is bytes 8*n* to 8*n* + 7 of the extended digest of its name,
//!   little-endian; of equal weights, that of the name that sorts last is the higher.
//!
//! None of this may ever change: a change loses most of what is stored, and while processes of both kinds run, one
//! removes a key where another does not look. `tests/golden/placement.txt` pins it.

use std::{collections::HashSet, fmt};

use crate::{key::CacheKey, layers::ConfigError};

/// Which of several servers keeps which key.
///
/// The keys fall into 4,096 buckets, and each bucket has one server, by the names of the servers alone: not by
/// their order, the process, or the platform. One server more or less among `n` moves about one `n`th of the keys,
/// those that it gets or had, and no other.
///
/// All processes that share the servers must name the same ones in the same way, and pin the same buckets. Those that
/// do not, look for a key in different places, so that what one removes another may still find. What a server keeps of
/// keys that moved away stays there until it expires, and is found again if they move back.
///
/// ```
/// use microcache::{KeySpec, Placement, RequestHead, Tenant};
///
/// let placement = Placement::new(["cache-1:11211", "cache-2:11211"])?;
/// let request = http::Request::get("/products").header("host", "shop.example").body(()).unwrap();
/// let key = KeySpec::new().key(RequestHead::of(&request), &Tenant::named("acme")).unwrap();
/// assert_eq!(placement.bucket_of(&key), 696);
/// assert_eq!(placement.server_of(&key), "cache-1:11211");
///
/// // Everybody asks for this one: it goes to the server that is less busy.
/// let placement = placement.pin(696, "cache-2:11211")?;
/// assert_eq!(placement.server_of(&key), "cache-2:11211");
///
/// assert_eq!(Placement::new([""; 0]).unwrap_err().setting(), "servers");
/// # Ok::<(), microcache::ConfigError>(())
/// ```
#[doc(alias = "rendezvous hashing")]
#[doc(alias = "consistent hashing")]
#[doc(alias = "sharding")]
#[derive(Clone)]
pub struct Placement {
    servers: Vec<String>,
    /// For each bucket the place of its server in `servers`.
    owners: Box<[u16]>,
}

impl Placement {
    /// Places keys on these servers. A name is any text; it is the name that counts, so a server that moves to another
    /// address under its old name keeps its keys.
    ///
    /// # Errors
    ///
    /// Without a server, with more than 1,024, with two of the same name, and with one whose name is empty. The
    /// setting is `servers`.
    pub fn new(servers: impl IntoIterator<Item = impl Into<String>>) -> Result<Self, ConfigError> {
        let wrong = |message| Err(ConfigError::new("servers", message));
        let servers: Vec<String> = servers.into_iter().map(Into::into).take(MAX_SERVERS + 1).collect();
        match servers.len() {
            0 => return wrong("there is none: name at least one".to_owned()),
            1..=MAX_SERVERS => {}
            _ => return wrong(format!("there are more than {MAX_SERVERS}: name fewer")),
        }
        let mut seen = HashSet::new();
        for server in &servers {
            if server.is_empty() {
                return wrong("one has an empty name: name it or leave it out".to_owned());
            }
            if !seen.insert(server) {
                return wrong(format!("`{server}` is there twice: name each once"));
            }
        }
        let owners = owners(&servers);
        Ok(Self { servers, owners })
    }

    /// Gives one bucket to a server by hand, whatever the weights say. Of several pins of one bucket the last counts.
    ///
    /// # Errors
    ///
    /// When there is no such bucket or no such server. The setting is `pin`.
    pub fn pin(mut self, bucket: u16, server: impl Into<String>) -> Result<Self, ConfigError> {
        let server = server.into();
        let Some(owner) = self.owners.get_mut(usize::from(bucket)) else {
            let message = format!("there is no bucket {bucket}: the last one is {}", BUCKETS - 1);
            return Err(ConfigError::new("pin", message));
        };
        let Some((index, _)) = (0..).zip(&self.servers).find(|(_, name)| **name == server) else {
            let message = format!("`{server}` is none of the servers: name one of them");
            return Err(ConfigError::new("pin", message));
        };
        *owner = index;
        Ok(self)
    }

    /// The bucket of a key, below 4,096. It does not depend on the servers.
    #[must_use]
    pub fn bucket_of(&self, key: &CacheKey) -> u16 {
        let [low, high, ..] = *blake3::hash(key.as_str().as_bytes()).as_bytes();
        u16::from_le_bytes([low, high]) % BUCKETS
    }

    /// The name of the server that keeps a key.
    #[must_use]
    pub fn server_of(&self, key: &CacheKey) -> &str {
        // An owner is the place of a server.
        &self.servers[self.index_of(key)]
    }

    /// The names of the servers, in the order in which they were given.
    #[must_use]
    pub fn servers(&self) -> impl ExactSizeIterator<Item = &str> {
        self.servers.iter().map(String::as_str)
    }

    /// The place of the server that keeps a key in [`servers`](Self::servers).
    pub(crate) fn index_of(&self, key: &CacheKey) -> usize {
        if self.servers.len() == 1 {
            return 0;
        }
        // There is an owner for each bucket.
        usize::from(self.owners[usize::from(self.bucket_of(key))])
    }
}

impl fmt::Debug for Placement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Placement").field("servers", &self.servers).finish_non_exhaustive()
    }
}

/// For each bucket the place of the server with the highest weight.
fn owners(servers: &[String]) -> Box<[u16]> {
    let mut owners = vec![0; usize::from(BUCKETS)];
    // Names are not empty, so any server outweighs this.
    let mut highest = vec![(0, ""); usize::from(BUCKETS)];
    let mut digest = vec![0; usize::from(BUCKETS) * size_of::<u64>()];
    for (index, server) in (0..).zip(servers) {
        blake3::Hasher::new().update(server.as_bytes()).finalize_xof().fill(&mut digest);
        let (weights, _) = digest.as_chunks();
        for ((owner, highest), weight) in owners.iter_mut().zip(&mut highest).zip(weights) {
            let weight = (u64::from_le_bytes(*weight), server.as_str());
            if weight > *highest {
                (*owner, *highest) = (index, weight);
            }
        }
    }
    owners.into_boxed_slice()
}

/// A power of two, so that each is as likely as the others.
const BUCKETS: u16 = 4096;

/// As many as anybody runs; each has about four buckets then.
const MAX_SERVERS: usize = 1024;

#[cfg(test)]
mod tests {
    use http::Request;
    use proptest::prelude::*;

    use super::*;
    use crate::key::{KeySpec, RequestHead, Tenant};

    fn key(number: u32) -> CacheKey {
        let target = format!("/products/{number}?page={}", number % 13);
        let request = Request::get(target).header("host", "shop.example").body(()).unwrap();
        let tenant = match number % 3 {
            0 => Tenant::shared(),
            _ => Tenant::named(format!("tenant-{}", number % 7)),
        };
        KeySpec::new().key(RequestHead::of(&request), &tenant).unwrap()
    }

    fn names(count: usize) -> Vec<String> {
        (1..=count).map(|number| format!("cache-{number}.example:11211")).collect()
    }

    /// The server of each bucket.
    fn placed(placement: &Placement) -> Vec<&str> {
        placement.owners.iter().map(|owner| placement.servers[usize::from(*owner)].as_str()).collect()
    }

    fn any_names() -> impl Strategy<Value = Vec<String>> {
        prop::collection::hash_set(any::<String>(), 2..6).prop_map(|names| {
            let names = names.into_iter().filter(|name| !name.is_empty()).chain(["a".to_owned(), "b".to_owned()]);
            names.collect::<HashSet<_>>().into_iter().collect()
        })
    }

    /// The file was not written by this code: the first 1,000 keys with their bucket and server, then the digest of
    /// such lines for each 100 of the next 9,000.
    #[test]
    fn no_key_moves_from_one_version_of_this_crate_to_the_next() {
        let placement = Placement::new(names(5)).unwrap();
        let line = |number| {
            let key = key(number);
            format!("{} {} {}\n", placement.bucket_of(&key), placement.server_of(&key), key.as_str())
        };
        let digest = |first| {
            let lines: String = (first..first + 100).map(line).collect();
            format!("{first} {}\n", blake3::hash(lines.as_bytes()))
        };
        let found: String = (0..1000).map(line).chain((1000..10_000).step_by(100).map(digest)).collect();

        let golden = include_str!("../../../tests/golden/placement.txt");
        for (found, expected) in found.lines().zip(golden.lines()) {
            assert_eq!(found, expected);
        }
        assert_eq!(found.lines().count(), golden.lines().count());
    }

    #[test]
    fn each_server_gets_about_its_share_of_buckets_and_keys() {
        let keys: Vec<_> = (0..10_000).map(key).collect();
        for count in 2..=20 {
            let placement = Placement::new(names(count)).unwrap();
            let mut buckets = vec![0_usize; count];
            placement.owners.iter().for_each(|owner| buckets[usize::from(*owner)] += 1);
            let mut kept = vec![0_usize; count];
            keys.iter().for_each(|key| kept[placement.index_of(key)] += 1);

            for (found, all) in [(buckets, usize::from(BUCKETS)), (kept, keys.len())] {
                let fair = all / count;
                assert!(found.iter().all(|found| found.abs_diff(fair) <= fair / 4), "{found:?} of {all}");
            }
        }
    }

    #[test]
    fn one_server_more_among_many_moves_about_its_share() {
        for count in 2..=20 {
            let (before, after) = (Placement::new(names(count - 1)).unwrap(), Placement::new(names(count)).unwrap());
            let moved = (0..4000).filter(|number| before.server_of(&key(*number)) != after.server_of(&key(*number)));
            let (moved, fair) = (moved.count(), 4000 / count);
            assert!(moved.abs_diff(fair) <= fair / 4, "{moved} of 4000 moved to one of {count}");
        }
    }

    #[test]
    fn a_pin_moves_the_keys_of_its_bucket_and_no_others() {
        let placement = Placement::new(names(5)).unwrap();
        for number in 0..50 {
            let bucket = placement.bucket_of(&key(number));
            let there = placement.server_of(&key(number));
            let other = placement.servers().find(|server| *server != there).unwrap();

            let pinned = placement.clone().pin(bucket, other).unwrap();

            assert_eq!(pinned.server_of(&key(number)), other);
            assert_eq!(pinned.bucket_of(&key(number)), bucket);
            let differ =
                placed(&placement).iter().zip(placed(&pinned)).filter(|(before, after)| *before != after).count();
            assert_eq!(differ, 1);
        }
    }

    #[test]
    fn of_two_pins_of_a_bucket_the_last_counts() {
        let placement = Placement::new(names(3)).unwrap();
        let [first, last] = [0, 1].map(|index| names(3)[index].clone());
        for bucket in [0, 1, BUCKETS - 1] {
            let pinned =
                placement.clone().pin(bucket, &first).and_then(|placement| placement.pin(bucket, &last)).unwrap();
            assert_eq!(placed(&pinned)[usize::from(bucket)], last);
        }
    }

    #[test]
    fn servers_that_can_not_work_are_an_error_that_names_the_setting() {
        let cases: [(Vec<String>, Option<&str>); 7] = [
            (vec![], Some("there is none")),
            (vec![String::new()], Some("empty name")),
            (vec!["a".to_owned(), "b".to_owned(), "a".to_owned()], Some("`a` is there twice")),
            (names(MAX_SERVERS + 1), Some("more than 1024")),
            (names(1), None),
            (names(MAX_SERVERS), None),
            // They are different names.
            (vec!["a".to_owned(), "A".to_owned(), "a ".to_owned()], None),
        ];
        for (servers, expected) in cases {
            let error = Placement::new(servers.clone()).err();
            assert_eq!(error.as_ref().map(ConfigError::setting), expected.map(|_| "servers"), "{servers:?}");
            let message = error.map(|error| error.to_string()).unwrap_or_default();
            assert!(message.contains(expected.unwrap_or_default()), "{message}");
        }
        assert!(Placement::new(std::iter::repeat("a")).is_err(), "a list without end is too long");
    }

    #[test]
    fn a_pin_that_can_not_work_is_an_error_that_names_the_setting() {
        let cases = [
            (0, "cache-1.example:11211", None),
            (4095, "cache-2.example:11211", None),
            (4096, "cache-1.example:11211", Some("no bucket 4096: the last one is 4095")),
            (u16::MAX, "cache-1.example:11211", Some("no bucket 65535")),
            (0, "cache-3.example:11211", Some("`cache-3.example:11211` is none of the servers")),
            (0, "", Some("`` is none of the servers")),
        ];
        for (bucket, server, expected) in cases {
            let error = Placement::new(names(2)).unwrap().pin(bucket, server).err();
            assert_eq!(error.as_ref().map(ConfigError::setting), expected.map(|_| "pin"), "{bucket} to {server}");
            let message = error.map(|error| error.to_string()).unwrap_or_default();
            assert!(message.contains(expected.unwrap_or_default()), "{message}");
        }
    }

    #[test]
    fn debug_shows_the_servers_and_no_table() {
        let placement = Placement::new(["a", "b"]).unwrap();
        assert_eq!(format!("{placement:?}"), r#"Placement { servers: ["a", "b"], .. }"#);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn the_order_of_the_servers_does_not_matter(
            (names, shuffled) in any_names().prop_flat_map(|names| (Just(names.clone()), Just(names).prop_shuffle())),
        ) {
            let [placement, other] = [&names, &shuffled].map(|names| Placement::new(names.clone()).unwrap());
            prop_assert_eq!(placed(&placement), placed(&other));
            prop_assert!(other.servers().eq(shuffled.iter().map(String::as_str)));
            for number in 0..50 {
                let index = other.index_of(&key(number));
                prop_assert_eq!(other.servers().nth(index), Some(placement.server_of(&key(number))));
            }
        }

        #[test]
        fn a_server_that_comes_takes_and_one_that_goes_gives_and_nothing_else_moves(names in any_names()) {
            let all = Placement::new(names.clone()).unwrap();
            let (gone, others) = names.split_last().unwrap();
            let without = Placement::new(others.to_vec()).unwrap();
            for (with, without) in placed(&all).into_iter().zip(placed(&without)) {
                prop_assert!(with == without || with == gone);
                prop_assert_ne!(without, gone);
            }
            prop_assert!(placed(&all).contains(&gone.as_str()));
        }
    }
}
