//! What a response says to some caches alone, in a targeted field such as `CDN-Cache-Control` (RFC 9213).
//!
//! A targeted field is a Dictionary of Structured Fields (RFC 9651), and so reads otherwise than `Cache-Control`: one
//! error makes the whole field void, and of several members with one name the last counts.

use std::collections::BTreeMap;
use std::convert::Infallible;

use http::{HeaderMap, HeaderName};
use sfv::visitor::{DictionaryVisitor, EntryVisitor, Ignored, InnerListVisitor, ItemVisitor, ParameterVisitor};
use sfv::{BareItemFromInput, Integer, KeyRef, Parser};

use super::directives::{Delta, Directives};
use crate::field;

/// What a response says to a cache that reads these targeted `fields`, the most specific first (RFC 9213 §2.2).
///
/// What a member of the wrong type means is in [`Argument`].
pub(crate) fn directives(headers: &HeaderMap, fields: &[HeaderName]) -> Directives {
    // RFC 9213 §2.2: the first field with a valid value that is not empty decides, and `Cache-Control` says nothing.
    fields.iter().find_map(|name| targeted(headers, name)).unwrap_or_else(|| Directives::of(headers))
}

/// What one targeted field says; `None` if it is absent, empty or malformed, which is the same (RFC 9213 §2.1).
fn targeted(headers: &HeaderMap, name: &HeaderName) -> Option<Directives> {
    let lines: Vec<_> = headers.get_all(name).iter().map(|line| field::trim_ows(line.as_bytes())).collect();
    if lines.is_empty() {
        return None;
    }
    // RFC 9651 §4.2: the lines are one value, so an error in one of them is an error in all.
    let value = lines.join(b", ".as_slice());
    let members = Parser::new(&value).parse_dictionary_with_visitor(Members::default()).ok()?;
    if members.is_empty() {
        return None;
    }
    // A field that names no directive of ours decides as well: nothing is said then, not even by `Cache-Control`.
    let mut directives = Directives { targeted: true, ..Directives::default() };
    for (name, argument) in members {
        match argument {
            Argument::None => directives.apply(name.as_bytes(), None),
            Argument::Delta(delta) => directives.apply(name.as_bytes(), Some(delta)),
            Argument::False => directives.limit(name.as_bytes(), Delta::Invalid),
        }
    }
    Some(directives)
}

/// What a member says about its directive (RFC 9213 §2.1).
///
/// A value of a type that the directive does not have is not taken for another: it makes a time malformed, gives no
/// permission, and restricts like an argument in `Cache-Control` that is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Argument {
    /// True: the directive is there without an argument.
    None,
    /// False: the directive is not there. A time is malformed by it.
    False,
    /// An integer, or [`Delta::Invalid`] for one below zero and for all that is neither integer nor boolean.
    Delta(Delta),
}

impl Argument {
    fn of(item: &BareItemFromInput<'_>) -> Self {
        match item {
            BareItemFromInput::Boolean(true) => Self::None,
            BareItemFromInput::Boolean(false) => Self::False,
            BareItemFromInput::Integer(integer) => Self::Delta(delta(*integer)),
            BareItemFromInput::Decimal(_)
            | BareItemFromInput::String(_)
            | BareItemFromInput::ByteSequence(_)
            | BareItemFromInput::Token(_)
            | BareItemFromInput::Date(_)
            | BareItemFromInput::DisplayString(_) => Self::Delta(Delta::Invalid),
        }
    }
}

fn delta(integer: Integer) -> Delta {
    u64::try_from(i64::from(integer)).map_or(Delta::Invalid, Delta::seconds)
}

/// The members of a Dictionary, without their parameters (RFC 9213 §2.1).
#[derive(Debug, Default)]
struct Members<'a>(BTreeMap<&'a str, Argument>);

impl<'a> DictionaryVisitor<'a> for Members<'a> {
    type Out = BTreeMap<&'a str, Argument>;
    type Error = Infallible;

    fn entry(&mut self, name: &'a KeyRef) -> Result<impl EntryVisitor<'a>, Infallible> {
        // RFC 9651 §4.2.2: of several members with one name the last counts.
        let member = self.0.entry(name.as_str()).or_insert(Argument::False);
        Ok(Member(member))
    }

    fn finish(self) -> Result<Self::Out, Infallible> {
        Ok(self.0)
    }
}

/// Where the value of a member goes.
#[derive(Debug)]
struct Member<'a>(&'a mut Argument);

impl<'de> EntryVisitor<'de> for Member<'_> {
    type Error = Infallible;

    fn item(self) -> Result<impl ItemVisitor<'de>, Infallible> {
        Ok(self)
    }

    fn inner_list(self) -> Result<impl InnerListVisitor<'de>, Infallible> {
        *self.0 = Argument::Delta(Delta::Invalid);
        Ok(Ignored)
    }
}

impl<'de> ItemVisitor<'de> for Member<'_> {
    type Out = ();
    type Error = Infallible;

    fn bare_item(self, item: BareItemFromInput<'de>) -> Result<impl ParameterVisitor<'de, Out = ()>, Infallible> {
        *self.0 = Argument::of(&item);
        Ok(Ignored)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::field::testing::{any_value, headers};

    const FIELDS: [HeaderName; 2] =
        [HeaderName::from_static("example-cache-control"), HeaderName::from_static("cdn-cache-control")];

    fn read(lines: &[&[u8]]) -> Directives {
        let mut lines: Vec<_> = lines.iter().map(|line| ("cdn-cache-control", *line)).collect();
        lines.push(("cache-control", b"x, max-age=3600"));
        directives(&headers(&lines), &FIELDS)
    }

    /// What `read` finds where the targeted field is as if it were absent.
    fn absent() -> Directives {
        Directives { max_age: Some(Delta::Seconds(3600)), ..Directives::default() }
    }

    fn none() -> Directives {
        Directives { targeted: true, ..Directives::default() }
    }

    fn max_age(delta: Delta) -> Directives {
        Directives { max_age: Some(delta), ..none() }
    }

    #[test]
    fn a_valid_field_replaces_cache_control() {
        let cases: [(&[&[u8]], Directives); 21] = [
            (&[b"none"], none()),
            (&[b"x=1, y=\"a\", z=(1 2), *=@1"], none()),
            (&[b"no-store"], Directives { no_store: true, ..none() }),
            (&[b"no-cache"], Directives { no_cache: true, ..none() }),
            (&[b"no-cache=\"set-cookie, x\""], Directives { no_cache: true, ..none() }),
            (&[b"private"], Directives { private: true, ..none() }),
            (&[b"public"], Directives { public: true, ..none() }),
            (&[b"public=?1"], Directives { public: true, ..none() }),
            (&[b"must-revalidate"], Directives { must_revalidate: true, ..none() }),
            (&[b"proxy-revalidate"], Directives { proxy_revalidate: true, ..none() }),
            (&[b"must-understand"], Directives { must_understand: true, ..none() }),
            (&[b"immutable"], Directives { immutable: true, ..none() }),
            (&[b"max-age=60"], max_age(Delta::Seconds(60))),
            (&[b"max-age=999999999999999"], max_age(Delta::Seconds(1 << 31))),
            (&[b"s-maxage=5"], Directives { s_maxage: Some(Delta::Seconds(5)), ..none() }),
            (&[b"stale-if-error=5"], Directives { stale_if_error: Some(Delta::Seconds(5)), ..none() }),
            (&[b"stale-while-revalidate=5"], Directives { stale_while_revalidate: Some(Delta::Seconds(5)), ..none() }),
            (&[b"max-age=60;max-age=1;no-store, no-store=?0;x"], max_age(Delta::Seconds(60))),
            (&[b" \tmax-age=60 ,\tpublic \t"], Directives { public: true, ..max_age(Delta::Seconds(60)) }),
            (&[b"max-age=60", b"private"], Directives { private: true, ..max_age(Delta::Seconds(60)) }),
            (&[b"x=\"max-age=1, no-store\", max-age=60"], max_age(Delta::Seconds(60))),
        ];
        for (lines, expected) in cases {
            assert_eq!(read(lines), expected, "{:?}", lines.concat().escape_ascii().to_string());
        }
    }

    #[test]
    fn an_empty_or_malformed_field_is_as_if_absent() {
        let cases: [&[&[u8]]; 24] = [
            &[],
            &[b""],
            &[b" \t "],
            &[b"", b""],
            &[b","],
            &[b"no-store,"],
            &[b"no-store,,private"],
            &[b"no-store", b""],
            &[b"no-store", b"="],
            &[b"no-store, x=\"a"],
            &[b"No-Store"],
            &[b"no-store, Private"],
            &[b"max-age="],
            &[b"max-age =60"],
            &[b"max-age= 60"],
            &[b"max-age=60a"],
            &[b"max-age=+60"],
            &[b"max-age=1.2345"],
            &[b"max-age=1000000000000000"],
            &[b"no-store; private; "],
            &[b"no-store private"],
            &[b"private=(a"],
            &[b"private=\"\xff\""],
            &[b"no-store\xff"],
        ];
        for lines in cases {
            assert_eq!(read(lines), absent(), "{:?}", lines.concat().escape_ascii().to_string());
        }
    }

    #[test]
    fn a_member_of_the_wrong_type_restricts_but_never_permits() {
        let private = Directives { private: true, ..none() };
        let no_store = Directives { no_store: true, ..none() };
        let cases: [(&[u8], Directives); 26] = [
            (b"max-age", max_age(Delta::Invalid)),
            (b"max-age=?0", max_age(Delta::Invalid)),
            (b"max-age=\"10\"", max_age(Delta::Invalid)),
            (b"max-age=ten", max_age(Delta::Invalid)),
            (b"max-age=10.0", max_age(Delta::Invalid)),
            (b"max-age=-1", max_age(Delta::Invalid)),
            (b"max-age=@10", max_age(Delta::Invalid)),
            (b"max-age=:MTA=:", max_age(Delta::Invalid)),
            (b"max-age=%\"10\"", max_age(Delta::Invalid)),
            (b"max-age=(10)", max_age(Delta::Invalid)),
            (b"max-age=();a=1", max_age(Delta::Invalid)),
            (b"s-maxage=\"10\"", Directives { s_maxage: Some(Delta::Invalid), ..none() }),
            (b"stale-if-error=1.5", Directives { stale_if_error: Some(Delta::Invalid), ..none() }),
            (b"no-store=5", no_store),
            (b"no-store=false", no_store),
            (b"no-store=?0", none()),
            (b"private=(\"a\" \"b\")", private),
            (b"private=\"a\"", private),
            (b"private=a", private),
            (b"private=?0, public=?0, immutable=?0", none()),
            (b"public=1", none()),
            (b"public=()", none()),
            (b"immutable=1", Directives { immutable: true, ..none() }),
            (b"must-revalidate=1", Directives { proxy_revalidate: true, ..none() }),
            (b"must-understand=1", no_store),
            (b"must-understand=(), no-store", no_store),
        ];
        for (line, expected) in cases {
            assert_eq!(read(&[line]), expected, "{:?}", line.escape_ascii().to_string());
        }
    }

    #[test]
    fn of_several_members_with_one_name_the_last_counts() {
        let cases: [(&[&[u8]], Directives); 5] = [
            (&[b"max-age=5, max-age=60"], max_age(Delta::Seconds(60))),
            (&[b"max-age=60", b"max-age=5"], max_age(Delta::Seconds(5))),
            (&[b"max-age=x, max-age=60"], max_age(Delta::Seconds(60))),
            (&[b"no-store, no-store=?0"], none()),
            (&[b"must-revalidate, must-revalidate=1"], Directives { proxy_revalidate: true, ..none() }),
        ];
        for (lines, expected) in cases {
            assert_eq!(read(lines), expected, "{:?}", lines.concat().escape_ascii().to_string());
        }
    }

    #[test]
    fn the_first_valid_field_of_the_list_decides_alone() {
        const OTHER: &str = "example-cache-control";
        const CDN: &str = "cdn-cache-control";
        let cases: [(&[(&str, &str)], Directives); 7] = [
            (&[], Directives::default()),
            (&[(CDN, "max-age=60"), (OTHER, "private")], Directives { private: true, ..none() }),
            (&[(CDN, "max-age=60"), (OTHER, "x")], none()),
            (&[(CDN, "max-age=60"), (OTHER, "")], max_age(Delta::Seconds(60))),
            (&[(CDN, "max-age=60"), (OTHER, "private,")], max_age(Delta::Seconds(60))),
            (
                &[(CDN, "="), (OTHER, "="), ("cache-control", "no-store")],
                Directives { no_store: true, ..Directives::default() },
            ),
            (&[("surrogate-control", "max-age=60")], Directives::default()),
        ];
        for (lines, expected) in cases {
            assert_eq!(directives(&headers(lines), &FIELDS), expected, "{lines:?}");
        }
        let untargeted = directives(&headers(&[(CDN, "max-age=60"), ("cache-control", "private")]), &[]);
        assert_eq!(untargeted, Directives { private: true, ..Directives::default() });
    }

    /// A value that is no integer that a lifetime could be.
    fn wrong_value() -> impl Strategy<Value = &'static str> {
        prop::sample::select(vec![
            "", "=\"60\"", "=1.5", "=-1", "=?0", "=a", "=()", "=(60)", "=@60", "=:YQ==:", ";a=60",
        ])
    }

    const LIMITS: [&str; 4] = ["max-age", "s-maxage", "stale-while-revalidate", "stale-if-error"];
    const RESTRICTIONS: [&str; 6] =
        ["no-store", "no-cache", "private", "must-revalidate", "proxy-revalidate", "must-understand"];

    proptest! {
        #[test]
        fn any_bytes_can_be_read(lines in prop::collection::vec(any_value(), 0..4)) {
            let lines: Vec<_> = lines.iter().map(Vec::as_slice).collect();
            let found = read(&lines);

            for delta in [found.max_age, found.s_maxage].into_iter().flatten() {
                prop_assert!(delta.lifetime().as_secs() <= Delta::MAX_SECONDS);
            }
            prop_assert!(found.targeted || found == absent());
        }

        #[test]
        fn a_member_of_the_wrong_type_never_lengthens_a_time(
            name in prop::sample::select(LIMITS.to_vec()),
            value in wrong_value(),
            first in any::<bool>(),
        ) {
            let clear = LIMITS.iter().filter(|limit| **limit != name).map(|limit| format!("{limit}=60"));
            let wrong = format!("{name}{value}");
            let members: Vec<_> = match first {
                true => std::iter::once(wrong).chain(clear).collect(),
                false => clear.chain([wrong]).collect(),
            };

            let found = read(&[members.join(", ").as_bytes()]);

            let limits = [found.max_age, found.s_maxage, found.stale_while_revalidate, found.stale_if_error];
            for (limit, found) in LIMITS.into_iter().zip(limits) {
                let expected = if limit == name { Delta::Invalid } else { Delta::Seconds(60) };
                prop_assert_eq!(found, Some(expected));
            }
        }

        #[test]
        fn a_member_of_the_wrong_type_restricts_and_gives_no_permission(
            name in prop::sample::select(RESTRICTIONS.to_vec()),
            value in wrong_value().prop_filter("a boolean", |value| !matches!(*value, "" | "=?0" | ";a=60")),
        ) {
            let found = read(&[format!("public{value}, {name}{value}, no-store").as_bytes()]);

            prop_assert!(found.no_store && !found.public && !found.must_understand && !found.must_revalidate);
            let restricts = match name {
                "no-store" | "must-understand" => found.no_store,
                "no-cache" => found.no_cache,
                "private" => found.private,
                _ => found.proxy_revalidate,
            };
            prop_assert!(restricts);
        }
    }
}
