//! Which requests a stored response may answer, by what it varies on (RFC 9111 §4.1).
//!
//! Compares what requests say, and picks nothing: which variant is tried first is for the store to say.

use http::header::VARY;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::normal::normal_form;
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
    fields: Vec<Field>,
}

/// One nominated field, as a request had it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Field {
    name: HeaderName,
    /// In order; no lines means that the request did not have it.
    lines: Vec<HeaderValue>,
    /// What the lines mean, if they have a normal form.
    normal: Option<Box<str>>,
}

impl Nominated {
    /// Copies the nominated fields of a request, so that they do not keep the buffer it was read from.
    pub(crate) fn new(names: &[HeaderName], request: &HeaderMap) -> Self {
        Self { fields: names.iter().map(|name| Field::new(name, request)).collect() }
    }

    /// Whether a request says the same in these fields. A field that is absent matches only where it is absent, so
    /// not where it is empty.
    pub(crate) fn matches(&self, request: &HeaderMap) -> bool {
        self.fields.iter().all(|field| field.matches(request))
    }

    /// The nominated fields, sorted.
    pub(crate) fn names(&self) -> impl Iterator<Item = &HeaderName> {
        self.fields.iter().map(|field| &field.name)
    }

    /// The lines that the request had in them, in order: with the names, all that this was made from.
    #[cfg(feature = "memcached")]
    pub(crate) fn lines(&self) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
        self.fields.iter().flat_map(|field| field.lines.iter().map(|line| (&field.name, line)))
    }

    /// What this holds on the heap, in bytes, about.
    pub(crate) fn weight_bytes(&self) -> usize {
        self.fields.iter().map(|field| size_of::<Field>() + field.weight_bytes()).sum()
    }
}

impl Field {
    fn new(name: &HeaderName, request: &HeaderMap) -> Self {
        Self {
            name: name.clone(),
            lines: request.get_all(name).into_iter().map(copy).collect(),
            normal: normal_form(request, name).map(String::into_boxed_str),
        }
    }

    /// Whether a request has this field in the same normal form or, for want of one, in the same lines in the same
    /// order, byte for byte. Does not allocate if the lines are the same.
    ///
    /// RFC 9111 §4.1 allows to overlook more. To overlook less costs a miss, the opposite can cost a wrong answer.
    fn matches(&self, request: &HeaderMap) -> bool {
        // The same lines have the same normal form.
        if request.get_all(&self.name).into_iter().eq(&self.lines) {
            return true;
        }
        let Some(normal) = self.normal.as_deref() else {
            return false;
        };
        normal_form(request, &self.name).is_some_and(|other| other == normal)
    }

    fn weight_bytes(&self) -> usize {
        let lines: usize = self.lines.iter().map(|line| size_of::<HeaderValue>() + line.len()).sum();
        self.name.as_str().len() + lines + self.normal.as_deref().map_or(0, str::len)
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
    use crate::rfc9111::normal::testing::negotiating;

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
    fn spelling_does_not_matter_where_the_field_says_that_it_means_the_same() {
        type Lines = &'static [&'static str];
        let cases: [(&str, Lines, Lines, bool); 27] = [
            ("accept-encoding", &["gzip, br"], &["br,gzip"], true),
            ("accept-encoding", &["gzip, br"], &["GZIP", "", "Br;q=1.0"], true),
            ("accept-encoding", &["gzip;q=0.5"], &["gzip ; q=0.50"], true),
            ("accept-encoding", &["x-gzip"], &["gzip"], true),
            ("accept-encoding", &["br;q=x"], &["br;q=x"], true),
            ("accept-encoding", &[""], &[","], true),
            ("accept-encoding", &[], &[""], false),
            ("accept-encoding", &[], &["*"], false),
            ("accept-encoding", &[""], &["*"], false),
            ("accept-encoding", &[""], &["identity"], false),
            ("accept-encoding", &["gzip"], &["gzip;q=0"], false),
            ("accept-encoding", &["gzip"], &["gzip, br;q=0"], false),
            ("accept-encoding", &["gzip"], &["gzip, gzip;q=0.5"], false),
            ("accept-encoding", &["br;q=x"], &["br; q=x"], false),
            ("accept-encoding", &["br;x=1, gzip"], &["gzip, br;x=1"], false),
            ("accept-encoding", &["\"gzip, br"], &["\"gzip", "br"], false),
            ("accept-language", &["de, en;q=0.5"], &["EN;q=0.500,DE"], true),
            ("accept-language", &["de, en"], &["de", "en"], true),
            ("accept-language", &["de, en"], &["en, de"], false),
            ("accept-language", &["de"], &["de-AT"], false),
            ("accept-language", &["de"], &["de, *"], false),
            ("accept-language", &["de-*"], &["DE-*"], false),
            ("accept-language", &["de;q=0.5"], &["de;q=0.501"], false),
            ("accept-language", &[], &[""], false),
            ("accept-language", &["x-gzip"], &["gzip"], false),
            ("accept", &["a/b, c/d"], &["a/b,c/d"], false),
            ("accept-charset", &["utf-8"], &["UTF-8"], false),
        ];
        for (name, one, other, expected) in cases {
            let lines = |lines: Lines| headers(&lines.iter().map(|line| (name, line)).collect::<Vec<_>>());
            let (one, other) = (lines(one), lines(other));
            let matches = |one, other| Nominated::new(&names(&[name]), one).matches(other);

            assert_eq!(matches(&one, &other), expected, "{one:?} {other:?}");
            assert_eq!(matches(&other, &one), expected, "{other:?} {one:?}");
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
    fn a_normal_form_is_weighed_too() {
        let weigh = |request: &HeaderMap| Nominated::new(&names(&["accept-encoding"]), request).weight_bytes();
        let lines = size_of::<HeaderValue>() + "gzip;q=1".len();

        let present = weigh(&headers(&[("accept-encoding", "gzip;q=1")]));

        assert_eq!(present, weigh(&HeaderMap::new()) + lines + "gzip".len());
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
        assert!(nominated.fields[0].lines[0].is_sensitive());
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

        #[test]
        fn matching_is_mutual(one in negotiating(), other in negotiating()) {
            for name in names(&["accept", "accept-encoding", "accept-language"]) {
                let names = [name];
                let (left, right) = (Nominated::new(&names, &one), Nominated::new(&names, &other));

                prop_assert!(left.matches(&one));
                prop_assert_eq!(left.matches(&other), right.matches(&one));
            }
        }
    }
}
