//! Field values that many responses share, as static text: a hit clones and drops them without counting
//! references, so that threads that answer from one stored response do not meet at its counters.
//!
//! Nobody waits for anybody here: what is interned is only ever added to.

use std::sync::OnceLock;

use http::{HeaderName, HeaderValue};

/// The static twin of a value, where fields of this name have few values and there is room for it.
///
/// What is interned stays for as long as the process lives: `MOST` values of at most `LONGEST` bytes. Only what an
/// origin says gets here, never what a client says.
pub(crate) fn twin(name: &HeaderName, value: &HeaderValue) -> Option<HeaderValue> {
    if value.is_sensitive() || !has_few_values(name) {
        return None;
    }
    twin_of_text(value.as_bytes())
}

/// The same of a value that is known to be one of few, if it is text and there is room for it near its place.
pub(crate) fn twin_of_text(value: &[u8]) -> Option<HeaderValue> {
    if value.len() > LONGEST {
        return None;
    }
    let first = hash(value);
    for place in 0..PLACES_TO_LOOK {
        let place = &KNOWN[first.wrapping_add(place) % MOST];
        match place.get() {
            Some(there) if there.as_bytes() == value => return Some(there.clone()),
            Some(_) => {}
            None => {
                // Read as a value first: as static text anything else would be a panic.
                let text = HeaderValue::from_bytes(value).ok()?.to_str().ok()?.to_owned();
                let twin = HeaderValue::from_static(Box::leak(text.into_boxed_str()));
                // Somebody else may be faster, with another value: then this one has its twin the next time.
                return Some(place.get_or_init(|| twin)).filter(|there| there.as_bytes() == value).cloned();
            }
        }
    }
    None
}

/// Spreads texts over a table. Texts that meet there, by chance or because somebody wants them to, are not interned.
pub(crate) fn hash(text: &[u8]) -> usize {
    let (words, rest) = text.as_chunks();
    let last = rest.iter().fold(text.len() as u64, |last, byte| last << 8 | u64::from(*byte));
    let mixed = words
        .iter()
        .map(|word| u64::from_le_bytes(*word))
        .chain([last])
        .fold(0_u64, |hash, word| (hash.rotate_left(5) ^ word).wrapping_mul(SPREAD));
    usize::try_from(mixed >> 48).unwrap_or(0)
}

static KNOWN: [OnceLock<HeaderValue>; MOST] = [const { OnceLock::new() }; MOST];

const MOST: usize = 1_024;
const LONGEST: usize = 128;

/// From the place of its hash.
const PLACES_TO_LOOK: usize = 4;

/// Odd, with as many ones as zeroes: 2^64 over the golden ratio.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// Whether the values of a field are a matter of configuration, not of the single response.
pub(crate) fn has_few_values(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "accept-ranges"
            | "access-control-allow-credentials"
            | "access-control-allow-headers"
            | "access-control-allow-methods"
            | "access-control-allow-origin"
            | "allow"
            | "cache-control"
            | "content-encoding"
            | "content-language"
            | "content-security-policy"
            | "content-type"
            | "cross-origin-resource-policy"
            | "permissions-policy"
            | "referrer-policy"
            | "server"
            | "strict-transport-security"
            | "vary"
            | "via"
            | "x-content-type-options"
            | "x-frame-options"
    )
}

#[cfg(test)]
mod tests {
    use http::header;

    use super::*;

    #[test]
    fn values_of_few_are_kept_once_and_others_not_at_all() {
        let interned = |name: &HeaderName, value: &HeaderValue| {
            let after = twin(name, value).unwrap_or_else(|| value.clone());
            assert_eq!(after, value);
            after.as_bytes().as_ptr()
        };
        let of_its_own = |text: &str| HeaderValue::try_from(text).unwrap();
        let (one, other) = (of_its_own("text/x-interned"), of_its_own("text/x-interned"));
        assert_eq!(interned(&header::CONTENT_TYPE, &one), interned(&header::CONTENT_TYPE, &other));
        assert_ne!(interned(&header::CONTENT_TYPE, &other), other.as_bytes().as_ptr());

        let mut sensitive = of_its_own("text/x-interned");
        sensitive.set_sensitive(true);
        for (name, value) in [
            (header::ETAG, one),
            (header::CONTENT_TYPE, sensitive),
            (header::SERVER, of_its_own(&"x".repeat(LONGEST + 1))),
            (header::SERVER, HeaderValue::from_bytes(b"\xe9").unwrap()),
        ] {
            assert_eq!(interned(&name, &value), value.as_bytes().as_ptr(), "{value:?}");
        }
    }
}
