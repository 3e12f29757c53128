//! Heads that were read before. What many ask for comes in the same bytes each time, and to read a head anew takes most
//! of what a frame takes: the same bytes give the same head.
//!
//! Nobody waits for anybody here, and what comes once leaves nothing but its seal.

use std::sync::{
    Arc, RwLock,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use bytes::Bytes;

use super::head;
use crate::stored::StoredHead;

/// At most `PLACES` heads of at most `LONGEST` bytes: about a megabyte.
pub(super) struct Heads {
    places: Box<[Place]>,
}

#[derive(Default)]
struct Place {
    /// Whose head was read here last.
    last: AtomicU64,
    read: RwLock<Option<Read>>,
}

struct Read {
    bytes: Box<[u8]>,
    head: Arc<StoredHead>,
}

impl Heads {
    pub(super) fn new() -> Self {
        Self { places: (0..PLACES).map(|_| Place::default()).collect() }
    }

    /// The head that these bytes are, of the frame with this seal. With `kept`, which they are part of, the values of its
    /// fields may be slices of that.
    pub(super) fn read(&self, seal: u64, bytes: &[u8], kept: Option<&Bytes>) -> Option<Arc<StoredHead>> {
        let Some(place) = usize::try_from(seal % PLACES).ok().and_then(|place| self.places.get(place)) else {
            return head::read(bytes, kept).map(Arc::new);
        };
        if place.last.load(Relaxed) != seal || bytes.len() > LONGEST {
            place.last.store(seal, Relaxed);
            return head::read(bytes, kept).map(Arc::new);
        }
        // A seal may be the same by chance, or because somebody made it so: the bytes are never.
        if let Ok(read) = place.read.try_read()
            && let Some(read) = read.as_ref().filter(|read| *read.bytes == *bytes)
        {
            return Some(Arc::clone(&read.head));
        }
        // Without slices, so that it keeps no body.
        let head = Arc::new(head::read(bytes, None)?);
        if let Ok(mut read) = place.read.try_write() {
            *read = Some(Read { bytes: bytes.into(), head: Arc::clone(&head) });
        }
        Some(head)
    }
}

const PLACES: u64 = 256;

/// Longer than most heads are.
const LONGEST: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{field::testing::headers, rfc9111::variants::Nominated, stored::codec::tests};

    const SEAL: u64 = 7 << 32;

    /// The bytes of a head with this field.
    fn bytes(value: &str) -> Bytes {
        head::write(&tests::head(headers(&[("x-a", value)]), Nominated::default())).into()
    }

    fn value(head: Option<Arc<StoredHead>>) -> String {
        head.unwrap().headers["x-a"].to_str().unwrap().to_owned()
    }

    #[test]
    fn what_comes_again_is_read_no_more() {
        let (heads, bytes) = (Heads::new(), bytes("1"));
        let [first, second, third] = [(); 3].map(|()| heads.read(SEAL, &bytes, Some(&bytes)).unwrap());

        assert!(Arc::ptr_eq(&second, &third) && !Arc::ptr_eq(&first, &second));
        assert_eq!(format!("{first:?}"), format!("{third:?}"));
        drop([first, second, third]);
        assert!(bytes.is_unique(), "what is kept keeps no body");
    }

    #[test]
    fn the_same_seal_says_nothing() {
        let heads = Heads::new();
        for text in ["1", "1", "1", "2", "2", "1", "3", "3"] {
            assert_eq!(value(heads.read(SEAL, &bytes(text), None)), text);
            assert!(heads.read(SEAL, b"no head", None).is_none());
        }
    }

    #[test]
    fn of_what_comes_once_or_is_long_nothing_is_kept() {
        let (heads, long) = (Heads::new(), bytes(&"1".repeat(LONGEST)));
        for (bytes, seals) in [(&long, [SEAL; 4]), (&bytes("1"), [0, 1, PLACES, PLACES + 1])] {
            for seal in seals {
                drop(heads.read(seal, bytes, None).unwrap());
            }
        }

        assert!(heads.places.iter().all(|place| place.read.read().unwrap().is_none()));
    }
}
