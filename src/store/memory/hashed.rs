//! Keys with their hash: made once for all that is done under a key, and not anew whenever a table is put in order.

use std::{
    hash::{BuildHasher, Hash, Hasher},
    ops::Deref,
    sync::Arc,
};

use foldhash::fast::RandomState;
use moka::Equivalent;

/// What hashes the keys of one store, with a seed of its own.
#[derive(Clone, Default)]
pub(super) struct Hashes(RandomState);

impl Hashes {
    pub(super) fn of<'a>(&self, text: &'a str) -> Sought<'a> {
        Sought { text, hash: self.0.hash_one(text) }
    }
}

/// A key, as it is kept.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Hashed {
    text: Arc<str>,
    hash: u64,
}

impl Deref for Hashed {
    type Target = str;

    fn deref(&self) -> &str {
        &self.text
    }
}

impl Hash for Hashed {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        hasher.write_u64(self.hash);
    }
}

/// A key, as it is asked for.
#[derive(Clone, Copy)]
pub(super) struct Sought<'a> {
    pub(super) text: &'a str,
    pub(super) hash: u64,
}

impl Sought<'_> {
    /// The same, to be kept; `text` is its own.
    pub(super) fn kept(self, text: &Arc<str>) -> Hashed {
        Hashed { text: Arc::clone(text), hash: self.hash }
    }
}

impl Hash for Sought<'_> {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        hasher.write_u64(self.hash);
    }
}

impl Equivalent<Hashed> for Sought<'_> {
    fn equivalent(&self, key: &Hashed) -> bool {
        self.hash == key.hash && *self.text == **key
    }
}

/// Takes the hash of a key as it is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct AsItIs;

impl BuildHasher for AsItIs {
    type Hasher = Taken;

    fn build_hasher(&self) -> Taken {
        Taken(0)
    }
}

/// The hash that was taken.
pub(super) struct Taken(u64);

impl Hasher for Taken {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    /// No key comes here.
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_found_by_its_text_alone() {
        let hashes = Hashes::default();
        let kept = hashes.of("a").kept(&"a".into());
        assert!(hashes.of("a").equivalent(&kept) && !hashes.of("b").equivalent(&kept));
        assert!(!Sought { text: "b", hash: hashes.of("a").hash }.equivalent(&kept), "two keys may share a hash");
        assert_eq!(AsItIs.hash_one(&kept), AsItIs.hash_one(hashes.of("a")));
    }
}
