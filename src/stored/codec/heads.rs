//! Heads that were read before. What many ask for comes in the same bytes each time, and to read a head anew takes most
//! of what a frame takes: the same bytes give the same head.
//!
//! Nobody waits for anybody here, and what comes once leaves nothing but its seal.

use std::sync::{
    Arc, RwLock,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use bytes::Bytes;
use http::HeaderValue;

use super::head;
use crate::stored::StoredHead;

/// At most `PLACES` heads that take `MOST_BYTES` each: about a megabyte.
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
        let place = &self.places[usize::try_from(seal % PLACES).unwrap_or(0)];
        // Written only where it is news, so that threads do not meet here for what all ask for.
        if place.last.load(Relaxed) != seal {
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
        if may_be_kept(&head, bytes)
            && let Ok(mut read) = place.read.try_write()
        {
            *read = Some(Read { bytes: bytes.into(), head: Arc::clone(&head) });
        }
        Some(head)
    }
}

/// A sensitive value is kept nowhere else.
fn may_be_kept(head: &StoredHead, bytes: &[u8]) -> bool {
    head.size_bytes() + bytes.len() <= MOST_BYTES && !head.headers.values().any(HeaderValue::is_sensitive)
}

const PLACES: u64 = 256;

/// More than most heads take, with the bytes that they are read from.
const MOST_BYTES: usize = 4_096;

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

    /// Whether any is kept.
    fn has_any(heads: &Heads) -> bool {
        heads.places.iter().any(|place| place.read.read().unwrap().is_some())
    }

    #[test]
    fn of_what_comes_once_is_long_or_is_sensitive_nothing_is_kept() {
        let heads = Heads::new();
        let mut fields = headers(&[("x-a", "1")]);
        fields.values_mut().for_each(|value| value.set_sensitive(true));
        let sensitive = head::write(&tests::head(fields, Nominated::default())).into();
        let table = [
            (bytes("1"), [1, 2, PLACES + 1, PLACES + 2]),
            (bytes(&"1".repeat(MOST_BYTES)), [SEAL; 4]),
            (bytes(&"1".repeat(MOST_BYTES / 2)), [SEAL; 4]),
            (sensitive, [SEAL; 4]),
        ];
        for (bytes, seals) in table {
            for seal in seals {
                drop(heads.read(seal, &bytes, None).unwrap());
            }
            assert!(!has_any(&heads), "{} bytes", bytes.len());
        }
    }

    #[test]
    fn all_of_them_take_about_a_megabyte() {
        let names: Vec<String> = (0..20).map(|number| format!("x-{number}")).collect();
        for most in 1..=names.len() {
            let lines: Vec<_> = names[..most].iter().map(|name| (name.as_str(), "1")).collect();
            let bytes: Bytes = head::write(&tests::head(headers(&lines), Nominated::default())).into();
            let heads = Heads::new();

            let held = allocation_counter::measure(|| {
                for seal in (0..PLACES).flat_map(|seal| [seal; 2]) {
                    drop(heads.read(seal, &bytes, None).unwrap());
                }
            });

            assert!(held.bytes_current < 5 << 18, "{} bytes for {most} fields", held.bytes_current);
        }
    }

    #[test]
    fn threads_that_read_at_the_same_place_get_each_its_own() {
        let (heads, all) = (Heads::new(), [0, 1, 2].map(|number| (number.to_string(), bytes(&number.to_string()))));
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (heads, all) = (&heads, &all);
                scope.spawn(move || {
                    for round in 0..5_000 {
                        let (text, bytes) = &all[(round / 3 + thread) % all.len()];
                        assert_eq!(value(heads.read(SEAL, bytes, Some(bytes))), *text);
                    }
                });
            }
        });
        assert!(has_any(&heads));
    }
}
