//! One spelling for all that say the same, in the request fields whose definition tells which do (RFC 9111 §4.1).
//!
//! Only values that follow the grammar to the letter have it. All others, and all other fields, are compared as they
//! are: an origin may read there what a cache does not.

use std::cmp::Reverse;
use std::fmt::Write as _;

use http::header::{ACCEPT_ENCODING, ACCEPT_LANGUAGE};
use http::{HeaderMap, HeaderName};

use crate::field;

/// The normal form of a field over all its lines: a value of that field, in visible ASCII, that means the same.
///
/// `None` if it has none. An absent field has none: absent means anything, and empty does not (RFC 9110 §12.5.3).
pub(crate) fn normal_form(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let syntax = Syntax::of(name)?;
    if !headers.contains_key(name) {
        return None;
    }
    let mut places = [Member::default(); MAX_MEMBERS];
    let mut count = 0;
    // RFC 9110 §5.3: several lines are one list.
    for (index, member) in field::list(headers, name).enumerate() {
        if index == MAX_MEMBERS {
            return None;
        }
        let member = Member::parse(member, syntax)?;
        let twin = places.get(..count)?.iter().find(|twin| twin.name.eq_ignore_ascii_case(member.name));
        match twin {
            Some(twin) if twin.weight == member.weight => {}
            // Nothing says which of two weights counts.
            Some(_) => return None,
            None => {
                *places.get_mut(count)? = member;
                count += 1;
            }
        }
    }
    let members = places.get_mut(..count)?;
    syntax.sort(members);
    Some(text(members))
}

/// What the members of a field are.
#[derive(Clone, Copy)]
enum Syntax {
    /// Content codings (RFC 9110 §12.5.3).
    Codings,
    /// Language ranges (RFC 9110 §12.5.4).
    Languages,
}

impl Syntax {
    fn of(name: &HeaderName) -> Option<Self> {
        if name == ACCEPT_ENCODING {
            Some(Self::Codings)
        } else if name == ACCEPT_LANGUAGE {
            Some(Self::Languages)
        } else {
            None
        }
    }

    /// What a member names, in any case, if it may stand in the field.
    fn name(self, name: &[u8]) -> Option<&[u8]> {
        match self {
            Self::Codings => coding(name),
            Self::Languages => is_language_range(name).then_some(name),
        }
    }

    fn sort(self, members: &mut [Member<'_>]) {
        match self {
            // RFC 9110 §12.5.3: only weights tell which coding is preferred, so any order will do.
            Self::Codings => members.sort_unstable_by(|one, other| one.lower_case().cmp(other.lower_case())),
            // RFC 9110 §12.5.4: weights give the order of preference, and many origins prefer the first of equals.
            Self::Languages => members.sort_by_key(|member| Reverse(member.weight)),
        }
    }
}

/// A member of a list with weights.
#[derive(Clone, Copy, Default)]
struct Member<'a> {
    /// In any case.
    name: &'a [u8],
    /// In thousandths.
    weight: u16,
}

impl<'a> Member<'a> {
    fn parse(member: &'a [u8], syntax: Syntax) -> Option<Self> {
        let (name, weight) = match member.iter().position(|byte| *byte == b';') {
            // RFC 9110 §12.4.2: no weight is a weight of 1.
            None => (member, FULL_WEIGHT),
            Some(at) => {
                let (name, parameter) = member.split_at(at);
                (field::trim_ows(name), weight(field::trim_ows(parameter.get(1..)?))?)
            }
        };
        Some(Self { name: syntax.name(name)?, weight })
    }

    fn lower_case(&self) -> impl Iterator<Item = u8> + use<'a> {
        self.name.iter().map(u8::to_ascii_lowercase)
    }
}

/// Reads a content coding by its one name (RFC 9110 §8.4.1); `*` is a token like others.
fn coding(name: &[u8]) -> Option<&[u8]> {
    if name.is_empty() || !name.iter().all(|byte| field::is_token_byte(*byte)) {
        return None;
    }
    // RFC 9110 §8.4.1.1, §8.4.1.3: these are to be taken for one another.
    Some(match name {
        _ if name.eq_ignore_ascii_case(b"x-gzip") => b"gzip",
        _ if name.eq_ignore_ascii_case(b"x-compress") => b"compress",
        _ => name,
    })
}

/// Whether this is a basic language range (RFC 4647 §2.1).
fn is_language_range(name: &[u8]) -> bool {
    let is_subtag = |subtag: &[u8]| (1..=8).contains(&subtag.len()) && subtag.iter().all(u8::is_ascii_alphanumeric);
    let is_first = |subtag: &[u8]| subtag.iter().all(u8::is_ascii_alphabetic);
    let mut subtags = name.split(|byte| *byte == b'-');
    name == b"*" || subtags.clone().all(is_subtag) && subtags.next().is_some_and(is_first)
}

/// Reads a weight in thousandths (RFC 9110 §12.4.2): `q`, in any case, and no blanks around `=`.
fn weight(parameter: &[u8]) -> Option<u16> {
    let (whole, decimals) = match parameter {
        [b'q' | b'Q', b'=', whole] => (whole, &[][..]),
        [b'q' | b'Q', b'=', whole, b'.', decimals @ ..] => (whole, decimals),
        _ => return None,
    };
    if decimals.len() > 3 || !decimals.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let thousandths = decimals.iter().zip([100, 10, 1]).map(|(digit, worth)| u16::from(digit - b'0') * worth).sum();
    match (whole, thousandths) {
        (b'0', thousandths) => Some(thousandths),
        (b'1', 0) => Some(FULL_WEIGHT),
        _ => None,
    }
}

/// Writes members in the one way that the normal form has.
fn text(members: &[Member<'_>]) -> String {
    let length = members.iter().map(|member| member.name.len() + ",;q=0.000".len()).sum();
    let mut text = String::with_capacity(length);
    for (index, member) in members.iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        text.extend(member.lower_case().map(char::from));
        if member.weight < FULL_WEIGHT {
            // Writing to a string can not fail.
            let _ = write!(text, ";q=0.{:03}", member.weight);
        }
    }
    text
}

/// A weight of 1.
const FULL_WEIGHT: u16 = 1000;

/// The longest list that is worth reading.
const MAX_MEMBERS: usize = 64;

/// Requests for the tests of what compares them.
#[cfg(test)]
pub(crate) mod testing {
    use http::HeaderMap;
    use proptest::prelude::*;

    use crate::field::testing::{any_value, headers};

    /// Up to three lines of fields with and without a normal form, made of few pieces, so that many mean the same.
    pub(crate) fn negotiating() -> impl Strategy<Value = HeaderMap> {
        const PIECES: &[&str] = &[
            "gzip", "GZIP", "x-gzip", "br", "de", "DE", "de-AT", "*", ",", ",", ", ", ",\t", ";q=1", ";q=0", "; q=0.5",
            ";Q=0.5", ";q=.5", ";q=1.000", ";q=\"1\"", ";", "q=", " ", "|", "%7C",
        ];
        let few = prop::collection::vec(prop::sample::select(PIECES), 0..6);
        let value = prop_oneof![9 => few.prop_map(|pieces| pieces.concat().into_bytes()), 1 => any_value()];
        let name = prop::sample::select(vec!["accept", "accept-encoding", "accept-language"]);
        prop::collection::vec((name, value), 0..4).prop_map(|lines| headers(&lines))
    }
}

#[cfg(test)]
mod tests {
    use http::header::ACCEPT;
    use proptest::prelude::*;

    use super::testing::negotiating;
    use super::*;
    use crate::field::testing::{any_value, headers};

    fn of(name: &HeaderName, lines: &[&str]) -> Option<String> {
        let lines: Vec<_> = lines.iter().map(|line| (name.as_str(), line)).collect();
        normal_form(&headers(&lines), name)
    }

    #[test]
    fn codings_are_a_sorted_set_of_names_in_lower_case_with_weights() {
        let cases: [(&[&str], &str); 20] = [
            (&[""], ""),
            (&[" \t"], ""),
            (&[",, ,", ""], ""),
            (&["*"], "*"),
            (&["gzip"], "gzip"),
            (&["GZip"], "gzip"),
            (&["gzip, deflate, br, zstd"], "br,deflate,gzip,zstd"),
            (&["zstd,br", "", "deflate", ",gzip,"], "br,deflate,gzip,zstd"),
            (&["gzip;q=1"], "gzip"),
            (&["gzip;q=1."], "gzip"),
            (&["gzip;q=1.000"], "gzip"),
            (&["gzip \t; \tQ=0.5"], "gzip;q=0.500"),
            (&["gzip;q=0"], "gzip;q=0.000"),
            (&["gzip;q=0."], "gzip;q=0.000"),
            (&["gzip;q=0.001,br;q=0.999"], "br;q=0.999,gzip;q=0.001"),
            (&["*;q=0, identity;q=0.5, gzip"], "*;q=0.000,gzip,identity;q=0.500"),
            (&["gzip;q=0.5, br, GZIP;q=0.50"], "br,gzip;q=0.500"),
            (&["x-gzip, X-Compress;q=0.1"], "compress;q=0.100,gzip"),
            (&["x-gzip, gzip"], "gzip"),
            (&["a|b~%"], "a|b~%"),
        ];
        for (lines, expected) in cases {
            assert_eq!(of(&ACCEPT_ENCODING, lines).as_deref(), Some(expected), "{lines:?}");
        }
    }

    #[test]
    fn languages_are_sorted_by_weight_and_equals_keep_their_order() {
        let cases: [(&[&str], &str); 12] = [
            (&[""], ""),
            (&["*"], "*"),
            (&["de"], "de"),
            (&["de-AT, EN-us"], "de-at,en-us"),
            (&["en, de"], "en,de"),
            (&["en", "de"], "en,de"),
            (&["en;q=0.5, de"], "de,en;q=0.500"),
            (&["fr;q=0.1, en;q=0.5, de;q=0.500, it"], "it,en;q=0.500,de;q=0.500,fr;q=0.100"),
            (&["de-CH, de;q=0.9, en;q=0.8, *;q=0.5"], "de-ch,de;q=0.900,en;q=0.800,*;q=0.500"),
            (&["en, de, EN"], "en,de"),
            (&["zh-Hant-TW-x-12345678"], "zh-hant-tw-x-12345678"),
            (&["x-gzip"], "x-gzip"),
        ];
        for (lines, expected) in cases {
            assert_eq!(of(&ACCEPT_LANGUAGE, lines).as_deref(), Some(expected), "{lines:?}");
        }
    }

    #[test]
    fn what_the_grammar_does_not_allow_has_no_normal_form() {
        let both = [
            "de;",
            "de;q",
            "de;q=",
            "de;q=2",
            "de;q=1.1",
            "de;q=1.001",
            "de;q=0.1234",
            "de;q=.5",
            "de;q=00",
            "de;q=01",
            "de;q=-1",
            "de;q=+1",
            "de;q=0.5.5",
            "de;q= 1",
            "de;q =1",
            "de; q = 1",
            "de;q=0.5 5",
            "de;q=1;",
            "de;q=\"1\"",
            "de;q=\"0,5\"",
            "de;x=1",
            "de;x=1;q=1",
            "de;q=1;x=1",
            "de;q=1;q=1",
            "de q=1",
            "de q",
            ";q=1",
            "q=1",
            "de;q=0.5, de",
            "de, DE;q=0.9",
            "de, en, x;;",
            "\"de\"",
            "\"de, en\"",
            "de, \"",
            "d\u{e9}",
            "de/en",
            "(de)",
            "de=1",
            "{}",
        ];
        for value in both {
            assert_eq!(of(&ACCEPT_ENCODING, &[value]), None, "{value}");
            assert_eq!(of(&ACCEPT_LANGUAGE, &[value]), None, "{value}");
            assert_eq!(of(&ACCEPT_LANGUAGE, &["fr", value]), None, "{value}");
        }
        assert_eq!(of(&ACCEPT_ENCODING, &["gzip, x-gzip;q=0.5"]), None);
        for value in
            ["de-", "-de", "de--at", "de_AT", "*-CH", "de-*", "d3", "1", "abcdefghi", "de-abcdefghi", "d.e", "de;q=0,5"]
        {
            assert_eq!(of(&ACCEPT_LANGUAGE, &[value]), None, "{value}");
        }
    }

    #[test]
    fn absent_fields_and_all_others_have_no_normal_form() {
        assert_eq!(of(&ACCEPT_ENCODING, &[]), None);
        assert_eq!(of(&ACCEPT_LANGUAGE, &[]), None);
        assert_eq!(of(&ACCEPT, &["a/b"]), None);
        assert_eq!(of(&HeaderName::from_static("x-accept-encoding"), &["gzip"]), None);
    }

    #[test]
    fn a_list_of_more_than_64_members_has_no_normal_form() {
        let list = |count: usize| vec!["gzip"; count].join(",,");

        assert_eq!(of(&ACCEPT_ENCODING, &[&list(64)]).as_deref(), Some("gzip"));
        assert_eq!(of(&ACCEPT_ENCODING, &[&list(65)]), None);
        let distinct: Vec<_> = (0..64_u8).map(|n| format!("x{n:02};q=0.1")).collect();
        let expected = distinct.join(",").replace("0.1", "0.100");
        assert_eq!(of(&ACCEPT_ENCODING, &[&distinct.join(", ")]), Some(expected));
    }

    proptest! {
        #[test]
        fn any_bytes_can_be_read_and_a_normal_form_is_its_own(few in negotiating(), value in any_value()) {
            let any = headers(&[("accept-encoding", value.as_slice()), ("accept-language", &value)]);
            let requests = [&few, &few, &any, &any];
            let names = [ACCEPT_ENCODING, ACCEPT_LANGUAGE, ACCEPT_ENCODING, ACCEPT_LANGUAGE];
            for (request, name) in requests.into_iter().zip(names) {
                let Some(form) = normal_form(request, &name) else { continue };

                prop_assert!(form.bytes().all(|byte| byte.is_ascii_graphic() && !byte.is_ascii_uppercase()));
                prop_assert_eq!(of(&name, &[&form]), Some(form));
            }
        }
    }
}
