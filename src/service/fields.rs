//! The fields of a request that is with the origin: what its response varies on is known only when that is there.

use http::{HeaderMap, HeaderName, HeaderValue};

/// A copy in two allocations, however many fields there are: most responses vary on none of them.
#[derive(Debug, Default)]
pub(super) struct Fields {
    lines: Vec<Line>,
    /// Their values, one after the other.
    values: Vec<u8>,
}

#[derive(Debug)]
struct Line {
    name: HeaderName,
    /// Where its value ends.
    end: usize,
    is_sensitive: bool,
}

impl Fields {
    pub(super) fn of(request: &HeaderMap) -> Self {
        let mut values = Vec::with_capacity(request.values().map(HeaderValue::len).sum());
        let mut lines = Vec::with_capacity(request.len());
        for (name, value) in request {
            values.extend_from_slice(value.as_bytes());
            lines.push(Line { name: name.clone(), end: values.len(), is_sensitive: value.is_sensitive() });
        }
        Self { lines, values }
    }

    /// All lines of the fields of these names, as the request had them.
    pub(super) fn named<'a>(&self, names: impl Iterator<Item = &'a HeaderName>) -> HeaderMap {
        let mut named = HeaderMap::new();
        for name in names {
            // Once for a name that is given twice.
            if named.contains_key(name) {
                continue;
            }
            let mut start = 0;
            for line in &self.lines {
                let value = self.values.get(start..line.end).unwrap_or_default();
                start = line.end;
                // Fails for no request that a wire brings: it was a value, and a map holds tens of thousands of names.
                if line.name == *name
                    && let Ok(mut value) = HeaderValue::from_bytes(value)
                {
                    value.set_sensitive(line.is_sensitive);
                    let _ = named.try_append(name.clone(), value);
                }
            }
        }
        named
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::field::testing::any_headers;

    proptest! {
        #[test]
        fn what_is_named_is_there_as_the_request_had_it_and_nothing_else(request in any_headers(), picks: u64) {
            let is_picked = |at: usize| picks >> (at % 64) & 1 == 1;
            let names: Vec<_> = request.keys().enumerate().filter(|(at, _)| is_picked(*at)).map(|(_, name)| name).collect();

            // Each twice, since a name may be.
            let named = Fields::of(&request).named(names.iter().chain(&names).copied());

            prop_assert_eq!(named.keys_len(), names.len());
            for name in names {
                prop_assert!(named.get_all(name).iter().eq(request.get_all(name).iter()));
            }
        }
    }

    #[test]
    fn what_is_absent_stays_absent_and_what_is_secret_secret() {
        let (key, absent) = (HeaderName::from_static("x-key"), HeaderName::from_static("x-absent"));
        let mut secret = HeaderValue::from_static("s");
        secret.set_sensitive(true);
        let mut request = HeaderMap::new();
        request.append(&key, secret);
        request.append(&key, HeaderValue::from_static("t"));

        let named = Fields::of(&request).named([&key, &absent].into_iter());

        let sensitive: Vec<_> = named.get_all(&key).iter().map(HeaderValue::is_sensitive).collect();
        assert_eq!((sensitive, named.contains_key(&absent)), (vec![true, false], false));
    }
}
