//! Which requests a stored response may answer, by what it varies on (RFC 9111 §4.1).
//!
//! Compares what requests say, and picks nothing: which variant is tried first is for the store to say.

use http::header::VARY;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::field;

/// The request fields that a response depends on (RFC 9110 §12.5.5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Vary {
    /// None: the field is absent or names nothing.
    None,
    /// On more than fields, or on what can not be known: no other request matches.
    Any,
    /// These, at least one, sorted by name, each once.
    Names(Vec<HeaderName>),
}

impl Vary {
    /// Reads all `Vary` lines of a response.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let mut names = Vec::new();
        for member in field::list(headers, &VARY) {
            // RFC 9111 §4.1: a `*` among the members always fails to match. `http` would take it for a name.
            match HeaderName::from_bytes(member) {
                Ok(name) if name != "*" => names.push(name),
                // What is no name may stand for a field that we would have to compare.
                Ok(_) | Err(_) => return Self::Any,
            }
        }
        if names.is_empty() {
            return Self::None;
        }
        names.sort_unstable_by(|one, other| one.as_str().cmp(other.as_str()));
        names.dedup();
        Self::Names(names)
    }
}

/// What a request said in the fields that a response to it varies on (RFC 9111 §4.1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Nominated {
    /// Each field with its lines in order; no lines means that the request did not have it.
    fields: Vec<(HeaderName, Vec<HeaderValue>)>,
}

impl Nominated {
    /// Copies the nominated fields of a request, so that they do not keep the buffer it was read from.
    pub(crate) fn new(names: &[HeaderName], request: &HeaderMap) -> Self {
        let lines = |name: &HeaderName| request.get_all(name).into_iter().map(copy).collect();
        Self { fields: names.iter().map(|name| (name.clone(), lines(name))).collect() }
    }

    /// Whether a request says the same in these fields: the same lines in the same order, byte for byte. A field that
    /// is absent matches only where it is absent, so not where it is empty.
    ///
    /// RFC 9111 §4.1 allows to overlook differences in spacing, order and case. None are overlooked: that costs a
    /// miss, the opposite can cost a wrong answer.
    pub(crate) fn matches(&self, request: &HeaderMap) -> bool {
        self.fields.iter().all(|(name, lines)| request.get_all(name).into_iter().eq(lines))
    }

    /// The nominated fields, sorted.
    pub(crate) fn names(&self) -> impl Iterator<Item = &HeaderName> {
        self.fields.iter().map(|(name, _)| name)
    }

    /// What this holds on the heap, in bytes, about.
    pub(crate) fn weight_bytes(&self) -> usize {
        let field = |(name, lines): &(HeaderName, Vec<HeaderValue>)| {
            let lines: usize = lines.iter().map(|line| size_of::<HeaderValue>() + line.len()).sum();
            size_of::<(HeaderName, Vec<HeaderValue>)>() + name.as_str().len() + lines
        };
        self.fields.iter().map(field).sum()
    }
}

/// A value in an allocation of its own.
fn copy(value: &HeaderValue) -> HeaderValue {
    // Can only fail for bytes that no value may hold.
    let mut copy = HeaderValue::from_bytes(value.as_bytes()).unwrap_or_else(|_| value.clone());
    copy.set_sensitive(value.is_sensitive());
    copy
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::field::testing::{any_headers, headers};

    fn names(names: &[&str]) -> Vec<HeaderName> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    #[test]
    fn vary_names_fields_or_matches_nothing() {
        let cases: [(&[&[u8]], Vary); 19] = [
            (&[], Vary::None),
            (&[b""], Vary::None),
            (&[b" , ,"], Vary::None),
            (&[b"accept"], Vary::Names(names(&["accept"]))),
            (&[b"X-B, Accept", b"x-a"], Vary::Names(names(&["accept", "x-a", "x-b"]))),
            (&[b"Accept, accept,ACCEPT", b"accept"], Vary::Names(names(&["accept"]))),
            (&[b"*"], Vary::Any),
            (&[b"*, *"], Vary::Any),
            (&[b"*", b"*"], Vary::Any),
            (&[b", *"], Vary::Any),
            (&[b"", b"*"], Vary::Any),
            (&[b"*, accept"], Vary::Any),
            (&[b"accept, *"], Vary::Any),
            (&[b"accept", b"*"], Vary::Any),
            (&[b"accept cookie"], Vary::Any),
            (&[b"accept; cookie"], Vary::Any),
            (&[b"\"accept\""], Vary::Any),
            (&[b"accept, \"x, cookie"], Vary::Any),
            (&[b"\xff"], Vary::Any),
        ];
        for (lines, expected) in cases {
            let shown: Vec<_> = lines.iter().map(|line| line.escape_ascii().to_string()).collect();
            let lines: Vec<_> = lines.iter().map(|line| ("vary", line)).collect();

            assert_eq!(Vary::of(&headers(&lines)), expected, "{shown:?}");
        }
    }

    #[test]
    fn a_request_matches_when_it_says_the_same_in_the_nominated_fields() {
        type Lines = &'static [(&'static str, &'static str)];
        let cases: [(Lines, Lines, bool); 17] = [
            (&[], &[], true),
            (&[("x-a", "1")], &[("x-a", "1")], true),
            (&[("x-a", "1")], &[("x-a", "1"), ("x-other", "2")], true),
            (&[("x-a", "1"), ("x-b", "2")], &[("x-b", "2"), ("x-a", "1")], true),
            (&[("x-a", "1"), ("x-a", "2")], &[("x-a", "1"), ("x-a", "2")], true),
            (&[("x-a", "")], &[("x-a", "")], true),
            (&[("x-a", "1")], &[], false),
            (&[], &[("x-a", "1")], false),
            (&[("x-a", "")], &[], false),
            (&[], &[("x-a", "")], false),
            (&[("x-a", "1")], &[("x-a", "2")], false),
            (&[("x-a", "a")], &[("x-a", "A")], false),
            (&[("x-a", "1,2")], &[("x-a", "1, 2")], false),
            (&[("x-a", "1"), ("x-a", "2")], &[("x-a", "2"), ("x-a", "1")], false),
            (&[("x-a", "1"), ("x-a", "2")], &[("x-a", "1, 2")], false),
            (&[("x-a", "1")], &[("x-a", "1"), ("x-a", "1")], false),
            (&[("x-a", "1")], &[("x-b", "1")], false),
        ];
        for (one, other, expected) in cases {
            let nominated = Nominated::new(&names(&["x-a", "x-b"]), &headers(one));

            assert_eq!(nominated.matches(&headers(other)), expected, "{one:?} {other:?}");
        }
    }

    #[test]
    fn nothing_nominated_is_empty_weighs_nothing_and_matches_all() {
        let nominated = Nominated::new(&[], &headers(&[("x-a", "1")]));

        assert_eq!(nominated, Nominated::default());
        assert!(nominated.fields.is_empty());
        assert_eq!(nominated.weight_bytes(), 0);
        assert!(nominated.matches(&headers(&[("x-a", "2")])));
    }

    #[test]
    fn every_byte_of_a_value_is_weighed() {
        let weigh = |value: &str| Nominated::new(&names(&["x-a"]), &headers(&[("x-a", value)])).weight_bytes();

        assert_eq!(weigh(&"x".repeat(1001)), weigh("x") + 1000);
    }

    #[test]
    fn the_buffer_of_the_request_is_not_kept() {
        let buffer = Bytes::from(vec![b'x'; 64 * 1024]);
        let mut request = HeaderMap::new();
        let mut value = HeaderValue::from_maybe_shared(buffer.slice(..10)).unwrap();
        value.set_sensitive(true);
        request.insert("x-a", value);

        let nominated = Nominated::new(&names(&["x-a"]), &request);

        assert!(nominated.matches(&request));
        assert!(nominated.fields[0].1[0].is_sensitive());
        drop(request);
        assert!(buffer.is_unique());
    }

    proptest! {
        #[test]
        fn a_request_matches_itself(response in any_headers(), request in any_headers()) {
            if let Vary::Names(names) = Vary::of(&response) {
                prop_assert!(names.is_sorted_by(|one, other| one.as_str() < other.as_str()));
                prop_assert!(Nominated::new(&names, &request).matches(&request));
            }
            let all: Vec<_> = request.keys().cloned().collect();
            prop_assert!(Nominated::new(&all, &request).matches(&request));
        }
    }
}
