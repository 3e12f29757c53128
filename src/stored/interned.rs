//! Field values that many responses share, as static text: a hit clones and drops them without counting
//! references, so that threads that answer from one stored response do not meet at its counters.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

use http::{HeaderName, HeaderValue};

/// The static twin of `value`, if fields of this name have few values and there is room for it.
///
/// What is interned stays for as long as the process lives: `MOST` values of at most `LONGEST` bytes. Only what an
/// origin says gets here, never what a client says.
pub(crate) fn interned(name: &HeaderName, value: &HeaderValue) -> Option<HeaderValue> {
    if !has_few_values(name) || value.is_sensitive() {
        return None;
    }
    let text = value.to_str().ok().filter(|text| text.len() <= LONGEST)?;
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let known = known.get_or_insert_default();
    if let Some(there) = known.get(text) {
        return Some(HeaderValue::from_static(there));
    }
    if known.len() >= MOST {
        return None;
    }
    let kept: &'static str = Box::leak(text.to_owned().into_boxed_str());
    known.insert(kept);
    Some(HeaderValue::from_static(kept))
}

static KNOWN: Mutex<Option<HashSet<&'static str>>> = Mutex::new(None);

const MOST: usize = 1_024;
const LONGEST: usize = 128;

/// Whether the values of a field are a matter of configuration, not of the single response.
fn has_few_values(name: &HeaderName) -> bool {
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
        let value = HeaderValue::from_static("text/x-interned");
        let twins = [interned(&header::CONTENT_TYPE, &value), interned(&header::CONTENT_TYPE, &value)];
        let [Some(one), Some(two)] = twins else { panic!("not interned") };
        assert_eq!(one, value);
        assert_eq!(one.as_bytes().as_ptr(), two.as_bytes().as_ptr());

        assert_eq!(interned(&header::ETAG, &value), None);
        let long = HeaderValue::try_from("x".repeat(LONGEST + 1)).unwrap();
        assert_eq!(interned(&header::SERVER, &long), None);
        let bytes = HeaderValue::from_bytes(b"\xe9").unwrap();
        assert_eq!(interned(&header::SERVER, &bytes), None);
    }
}
