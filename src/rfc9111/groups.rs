//! Which groups a response is in, and which it makes invalid (RFC 9875).
//!
//! A group is a string that means nothing but itself, compared character by character, and one only within an origin
//! (§2.1): which origin that is, and what is stored in the group, is for the caller to know.
//!
//! §2.2.1 lets a cache end a whole group when one stored response of it becomes invalid. Here it does not: an origin
//! that wants that says so, with `Cache-Group-Invalidation`.

use std::collections::BTreeSet;
use std::convert::Infallible;

use http::{HeaderMap, HeaderName, Method};
use sfv::visitor::{EntryVisitor, Ignored, InnerListVisitor, ItemVisitor, ListVisitor, ParameterVisitor};
use sfv::{BareItemFromInput, Parser};

use super::invalidation::is_safe;
use crate::field;

/// The groups that a response is in (RFC 9875 §2).
pub(crate) fn groups(response: &HeaderMap) -> BTreeSet<String> {
    strings(response, &CACHE_GROUPS)
}

/// The groups that this response to a request with `method` makes invalid, at the origin of that request (RFC 9875
/// §3).
///
/// The standard names no status here: what failed may have changed something before it did, and the origin would not
/// say so for nothing.
pub(crate) fn invalidated(method: &Method, response: &HeaderMap) -> BTreeSet<String> {
    // §3: ignored where the method is safe.
    if is_safe(method) { BTreeSet::new() } else { strings(response, &CACHE_GROUP_INVALIDATION) }
}

/// The members of a List of Strings; none if the field is absent or malformed, which is the same (RFC 9651 §4.2).
///
/// There is no limit: the standard wants 32 members of 32 characters, at least.
fn strings(headers: &HeaderMap, name: &HeaderName) -> BTreeSet<String> {
    let lines: Vec<_> = headers.get_all(name).iter().map(|line| field::trim_ows(line.as_bytes())).collect();
    if lines.is_empty() {
        return BTreeSet::new();
    }
    // RFC 9651 §4.2: the lines are one value, so an error in one of them is an error in all.
    let value = lines.join(b", ".as_slice());
    Parser::new(&value).parse_list_with_visitor(Members::default()).ok().flatten().unwrap_or_default()
}

/// The members of a List, without their parameters (RFC 9875 §2, §3).
#[derive(Debug, Default)]
struct Members {
    strings: BTreeSet<String>,
    has_others: bool,
}

impl<'a> ListVisitor<'a> for Members {
    type Out = Option<BTreeSet<String>>;
    type Error = Infallible;

    fn entry(&mut self) -> Result<impl EntryVisitor<'a>, Infallible> {
        Ok(Member(self))
    }

    fn finish(self) -> Result<Self::Out, Infallible> {
        // RFC 9651 §2: a member of a type that the field does not have makes the whole field void.
        Ok((!self.has_others).then_some(self.strings))
    }
}

/// Where a member goes.
#[derive(Debug)]
struct Member<'a>(&'a mut Members);

impl<'de> EntryVisitor<'de> for Member<'_> {
    type Error = Infallible;

    fn item(self) -> Result<impl ItemVisitor<'de>, Infallible> {
        Ok(self)
    }

    fn inner_list(self) -> Result<impl InnerListVisitor<'de>, Infallible> {
        self.0.has_others = true;
        Ok(Ignored)
    }
}

impl<'de> ItemVisitor<'de> for Member<'_> {
    type Out = ();
    type Error = Infallible;

    fn bare_item(self, item: BareItemFromInput<'de>) -> Result<impl ParameterVisitor<'de, Out = ()>, Infallible> {
        match item {
            BareItemFromInput::String(string) => {
                self.0.strings.insert(string.as_str().to_owned());
            }
            BareItemFromInput::Boolean(_)
            | BareItemFromInput::Integer(_)
            | BareItemFromInput::Decimal(_)
            | BareItemFromInput::ByteSequence(_)
            | BareItemFromInput::Token(_)
            | BareItemFromInput::Date(_)
            | BareItemFromInput::DisplayString(_) => self.0.has_others = true,
        }
        Ok(Ignored)
    }
}

pub(crate) const CACHE_GROUPS: HeaderName = HeaderName::from_static("cache-groups");
const CACHE_GROUP_INVALIDATION: HeaderName = HeaderName::from_static("cache-group-invalidation");

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;
    use crate::field::testing::{any_headers, any_value, headers};

    fn found(lines: &[&[u8]]) -> Vec<String> {
        let lines: Vec<_> = lines.iter().map(|line| ("cache-groups", *line)).collect();
        groups(&headers(&lines)).into_iter().collect()
    }

    #[test]
    fn groups_are_the_strings_of_a_list() {
        let cases: [(&[&[u8]], &[&str]); 14] = [
            (&[], &[]),
            (&[b""], &[]),
            (&[b" \t "], &[]),
            (&[b"\"scripts\""], &["scripts"]),
            (&[b"\"b\", \"a\""], &["a", "b"]),
            (&[b"\"a\",\"b\" ,\t\"c\""], &["a", "b", "c"]),
            (&[b" \t\"a\" \t", b"\t\"b\""], &["a", "b"]),
            (&[b"\"a\", \"a\"", b"\"a\""], &["a"]),
            (&[b"\"a\", \"A\""], &["A", "a"]),
            (&[b"\"\""], &[""]),
            (&[b"\"a, b\""], &["a, b"]),
            (&[br#""a\"b\\c""#], &[r#"a"b\c"#]),
            (&[b"\"a\";x;y=1;z=\"b\", \"c\";revalidate"], &["a", "c"]),
            (&[b"\" !#$%&'()|~\""], &[" !#$%&'()|~"]),
        ];
        for (lines, expected) in cases {
            assert_eq!(found(lines), expected, "{:?}", lines.concat().escape_ascii().to_string());
        }
    }

    #[test]
    fn a_field_that_is_no_list_of_strings_is_ignored_whole() {
        let cases: [&[&[u8]]; 18] = [
            &[b"a"],
            &[b"\"a\", b"],
            &[b"\"a\", 1"],
            &[b"\"a\", 1.5"],
            &[b"\"a\", ?1"],
            &[b"\"a\", @1"],
            &[b"\"a\", :YQ==:"],
            &[b"\"a\", %\"b\""],
            &[b"\"a\", (\"b\")"],
            &[b"\"a\", ()"],
            &[b"\"a\","],
            &[b"\"a\",,\"b\""],
            &[b"\"a\" \"b\""],
            &[b"\"a\", \"b"],
            &[b"\"a\", \"\xc3\xa9\""],
            &[b"\"a\"; b; "],
            &[b"\"a\"", b""],
            &[b"\"a\"", b"b"],
        ];
        for lines in cases {
            assert_eq!(found(lines), [""; 0], "{:?}", lines.concat().escape_ascii().to_string());
        }
    }

    #[test]
    fn only_an_unsafe_method_invalidates_groups() {
        let response =
            headers(&[("cache-group-invalidation", "\"a\";x, \"b\""), ("cache-groups", "\"c\""), ("vary", "x")]);
        for method in ["GET", "HEAD", "OPTIONS", "QUERY", "TRACE"] {
            assert!(invalidated(&method.parse().unwrap(), &response).is_empty(), "{method}");
        }
        for method in ["POST", "PUT", "DELETE", "PATCH", "get", "UNKNOWN"] {
            let found: Vec<_> = invalidated(&method.parse().unwrap(), &response).into_iter().collect();

            assert_eq!(found, ["a", "b"], "{method}");
        }
        assert!(invalidated(&Method::POST, &headers(&[("cache-groups", "\"c\"")])).is_empty());
    }

    proptest! {
        #[test]
        fn any_bytes_can_be_read(lines in prop::collection::vec(any_value(), 0..4), response in any_headers()) {
            let mut response = response;
            for line in &lines {
                response.append(CACHE_GROUPS, HeaderValue::from_bytes(line).unwrap());
                response.append(CACHE_GROUP_INVALIDATION, HeaderValue::from_bytes(line).unwrap());
            }
            let found = groups(&response);

            prop_assert!(found.iter().all(|group| group.bytes().all(|byte| matches!(byte, b' '..=b'~'))));
            prop_assert_eq!(invalidated(&Method::POST, &response), found);
            prop_assert!(invalidated(&Method::GET, &response).is_empty());
        }

        #[test]
        fn what_was_written_as_a_list_of_strings_is_found(
            expected in prop::collection::btree_set("[ -~]{0,40}", 0..70), at in 0..70_usize,
        ) {
            let quoted: Vec<_> = expected
                .iter()
                .map(|group| format!("\"{}\"", group.replace('\\', "\\\\").replace('"', "\\\"")))
                .collect();
            let (first, second) = quoted.split_at(at.min(quoted.len()));
            let lines: Vec<_> =
                [first, second].iter().filter(|part| !part.is_empty()).map(|part| part.join(", ")).collect();
            let lines: Vec<_> = lines.iter().map(String::as_bytes).collect();

            prop_assert_eq!(found(&lines), expected.into_iter().collect::<Vec<_>>());
        }
    }
}
