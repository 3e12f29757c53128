//! Field values that many responses share, as static text: a hit clones and drops them without counting
//! references, so that threads that answer from one stored response do not meet at its counters.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

use http::{HeaderMap, HeaderName, HeaderValue};

/// Puts the static twin of a value in its place, where fields of this name have few values and there is room for it.
///
/// What is interned stays for as long as the process lives: `MOST` values of at most `LONGEST` bytes. Only what an
/// origin says gets here, never what a client says.
pub(crate) fn intern(fields: &mut HeaderMap) {
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let known = known.get_or_insert_default();
    for (name, value) in fields {
        if has_few_values(name)
            && value.len() <= LONGEST
            && !value.is_sensitive()
            && let Some(twin) = twin(known, value)
        {
            *value = twin;
        }
    }
}

fn twin(known: &mut HashSet<HeaderValue>, value: &HeaderValue) -> Option<HeaderValue> {
    if let Some(there) = known.get(value) {
        return Some(there.clone());
    }
    let text = value.to_str().ok().filter(|_| known.len() < MOST)?;
    let twin = HeaderValue::from_static(Box::leak(text.to_owned().into_boxed_str()));
    known.insert(twin.clone());
    Some(twin)
}

static KNOWN: Mutex<Option<HashSet<HeaderValue>>> = Mutex::new(None);

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
        let interned = |name: &HeaderName, value: &HeaderValue| {
            let mut fields = HeaderMap::from_iter([(name.clone(), value.clone())]);
            intern(&mut fields);
            let after = fields.remove(name).unwrap();
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
