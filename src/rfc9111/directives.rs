//! What a response says in `Cache-Control` (RFC 9111 §5.2.2).
//!
//! Reads, and decides nothing: what a directive forbids or allows is in `storing.rs` and `freshness.rs`.

use std::time::Duration;

use http::HeaderMap;
use http::header::CACHE_CONTROL;

use crate::field;

/// What the `Cache-Control` lines of a response say (RFC 9111 §5.2.2).
///
/// Names are read in any case, arguments as token or quoted string (§5.2). Unknown directives are ignored (§5.2.3).
/// Where a response is unclear, it says the more restrictive of what it could mean.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Directives {
    /// §5.2.2.5. Also set by a member whose quotes are broken, as what they hide can not be known, and by an unclear
    /// `must-understand`.
    pub(crate) no_store: bool,
    /// §5.2.2.4. The form that names fields counts as the whole response.
    pub(crate) no_cache: bool,
    /// §5.2.2.7. The form that names fields counts as the whole response.
    pub(crate) private: bool,
    /// §5.2.2.9. With an argument it is not this directive.
    pub(crate) public: bool,
    /// §5.2.2.2. With an argument it is `proxy-revalidate`.
    pub(crate) must_revalidate: bool,
    /// §5.2.2.8.
    pub(crate) proxy_revalidate: bool,
    /// §5.2.2.3. With an argument it is `no-store`.
    pub(crate) must_understand: bool,
    /// §5.2.2.1. Of several, the smallest, and a malformed one before all.
    pub(crate) max_age: Option<Delta>,
    /// §5.2.2.10. Of several, the smallest, and a malformed one before all.
    pub(crate) s_maxage: Option<Delta>,
    /// RFC 5861 §3. Of several, the smallest, and a malformed one, which allows nothing, before all.
    pub(crate) stale_while_revalidate: Option<Delta>,
    /// RFC 5861 §4. Of several, the smallest, and a malformed one, which allows nothing, before all.
    pub(crate) stale_if_error: Option<Delta>,
    /// RFC 8246 §2. An argument is ignored.
    pub(crate) immutable: bool,
    /// A targeted field said it all, so `Expires` says nothing (RFC 9213 §2.2).
    pub(crate) targeted: bool,
}

impl Directives {
    /// Reads all `Cache-Control` lines of a response. Never fails: see the type for what unclear ones mean.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let mut directives = Self::default();
        let mut may_hide_no_store = false;
        for member in field::list(headers, &CACHE_CONTROL) {
            match directive(member) {
                Some((name, argument)) => {
                    may_hide_no_store |= argument.is_some() && is_must_understand(name);
                    directives.apply(name, argument.map(Delta::parse));
                }
                None => {
                    may_hide_no_store |= member.contains(&b'"') || words(member).any(is_must_understand);
                    directives.salvage(member);
                }
            }
        }
        // §5.2.2.3: it lifts the `no-store` that stands next to it, not the one that we have set for what is unclear.
        directives.must_understand &= !may_hide_no_store;
        directives
    }

    /// Takes over one directive that is written as it should be, with what its argument is as delta-seconds.
    pub(super) fn apply(&mut self, name: &[u8], argument: Option<Delta>) {
        match argument {
            None => self.restrict(name),
            // A restrictive directive with an argument that it does not take still shows the will to restrict.
            Some(_) => self.restrict(without_permission(name)),
        }
        if name.eq_ignore_ascii_case(b"public") {
            self.public |= argument.is_none();
        }
        // RFC 8246 §2: it takes no argument, and one that is there has no meaning.
        self.immutable |= name.eq_ignore_ascii_case(b"immutable");
        // §5.2.2.1, §5.2.2.10, RFC 5861 §3, §4: the argument is required, so none is a malformed one.
        self.limit(name, argument.unwrap_or(Delta::Invalid));
    }

    /// Narrows the time that a directive of this name gives; other names do nothing.
    pub(super) fn limit(&mut self, name: &[u8], delta: Delta) {
        let limits: [(&[u8], &mut Option<Delta>); 4] = [
            (b"max-age", &mut self.max_age),
            (b"s-maxage", &mut self.s_maxage),
            (b"stale-while-revalidate", &mut self.stale_while_revalidate),
            (b"stale-if-error", &mut self.stale_if_error),
        ];
        for (directive, limit) in limits {
            if name.eq_ignore_ascii_case(directive) {
                narrow(limit, delta);
            }
        }
    }

    /// Takes over what a member that is not written as §5.2 says could mean: every word in it that is a restrictive
    /// directive counts, a lifetime is malformed, and a permission is none.
    fn salvage(&mut self, member: &[u8]) {
        // Quotes that are not closed, or not where an argument begins, may have swallowed commas with more
        // directives behind them. Nothing but not storing is safe.
        self.no_store |= member.contains(&b'"');
        for word in words(member) {
            self.restrict(without_permission(word));
            self.limit(word, Delta::Invalid);
        }
    }

    /// Sets what a restrictive directive of this name says; other names do nothing.
    fn restrict(&mut self, name: &[u8]) {
        let restrictive: [(&[u8], &mut bool); 6] = [
            (b"no-store", &mut self.no_store),
            (b"no-cache", &mut self.no_cache),
            (b"private", &mut self.private),
            (b"must-revalidate", &mut self.must_revalidate),
            (b"proxy-revalidate", &mut self.proxy_revalidate),
            (b"must-understand", &mut self.must_understand),
        ];
        for (directive, said) in restrictive {
            *said |= name.eq_ignore_ascii_case(directive);
        }
    }
}

/// The directive that an unclear one of this name counts as: one that restricts no less and permits nothing.
fn without_permission(name: &[u8]) -> &[u8] {
    // §3.5: `must-revalidate` also allows sharing. `proxy-revalidate` is the same to a shared cache without that
    // (§5.2.2.8).
    if name.eq_ignore_ascii_case(b"must-revalidate") {
        return b"proxy-revalidate";
    }
    // §5.2.2.3: `must-understand` also lifts a `no-store`.
    if is_must_understand(name) { b"no-store" } else { name }
}

fn is_must_understand(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"must-understand")
}

/// The argument of `max-age` and others: delta-seconds (RFC 9111 §1.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delta {
    /// Whole seconds, at most [`Delta::MAX_SECONDS`].
    Seconds(u64),
    /// No number: a sign, a fraction, a space, a letter, nothing at all. Counts as stale (§4.2.1).
    Invalid,
}

impl Delta {
    /// What every larger number means (§1.2.2): about 68 years, in seconds.
    pub(crate) const MAX_SECONDS: u64 = 1 << 31;

    /// Reads digits, without quotes or spaces around them.
    pub(crate) fn parse(argument: &[u8]) -> Self {
        field::digits(argument).map_or(Self::Invalid, Self::seconds)
    }

    /// So many seconds, or the most that there can be.
    pub(super) fn seconds(seconds: u64) -> Self {
        // §1.2.2: a value that is too large to represent is 2^31 seconds.
        Self::Seconds(seconds.min(Self::MAX_SECONDS))
    }

    /// The time that it gives: zero when malformed.
    pub(crate) fn lifetime(self) -> Duration {
        match self {
            Self::Seconds(seconds) => Duration::from_secs(seconds),
            Self::Invalid => Duration::ZERO,
        }
    }
}

/// Splits a member into its name and its argument without quotes; `None` if it is not written as §5.2 says.
///
/// A backslash in a quoted argument stays where it is: no directive that is read here needs one.
pub(super) fn directive(member: &[u8]) -> Option<(&[u8], Option<&[u8]>)> {
    let Some(equals) = member.iter().position(|byte| *byte == b'=') else {
        return is_token(member).then_some((member, None));
    };
    let (name, argument) = (&member[..equals], &member[equals + 1..]);
    let argument = match argument {
        [b'"', quoted @ .., b'"'] if is_quoted_text(quoted) => quoted,
        _ if is_token(argument) => argument,
        _ => return None,
    };
    is_token(name).then_some((name, Some(argument)))
}

/// The words of a member that is not written as §5.2 says: what could be the name of a directive.
pub(super) fn words(member: &[u8]) -> impl Iterator<Item = &[u8]> {
    member.split(|byte| !field::is_token_byte(*byte))
}

fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().copied().all(field::is_token_byte)
}

/// Whether these bytes between two quotes leave both in force (RFC 9110 §5.6.4).
fn is_quoted_text(bytes: &[u8]) -> bool {
    let mut bytes = bytes.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => return false,
            // With nothing after it, it escapes the closing quote.
            b'\\' if bytes.next().is_none() => return false,
            _ => {}
        }
    }
    true
}

/// §4.2.1: of values that conflict the most restrictive is honoured, and a malformed one makes the response stale.
pub(super) fn narrow(limit: &mut Option<Delta>, other: Delta) {
    *limit = Some(match (*limit, other) {
        (None, other) => other,
        (Some(Delta::Seconds(one)), Delta::Seconds(other)) => Delta::Seconds(one.min(other)),
        (Some(Delta::Invalid), _) | (Some(_), Delta::Invalid) => Delta::Invalid,
    });
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::field::testing::{any_headers, any_value, headers};

    fn read(lines: &[&[u8]]) -> Directives {
        let lines: Vec<_> = lines.iter().map(|line| ("cache-control", line)).collect();
        Directives::of(&headers(&lines))
    }

    const NONE: Directives = Directives {
        no_store: false,
        no_cache: false,
        private: false,
        public: false,
        must_revalidate: false,
        proxy_revalidate: false,
        must_understand: false,
        max_age: None,
        s_maxage: None,
        stale_while_revalidate: None,
        stale_if_error: None,
        immutable: false,
        targeted: false,
    };

    const fn max_age(seconds: u64) -> Directives {
        Directives { max_age: Some(Delta::Seconds(seconds)), ..NONE }
    }

    const INVALID: Directives = Directives { max_age: Some(Delta::Invalid), ..NONE };

    #[test]
    fn directives_are_read_in_any_case_and_order_over_all_lines() {
        let cases: [(&[&[u8]], Directives); 20] = [
            (&[], NONE),
            (&[b""], NONE),
            (&[b" , ,"], NONE),
            (&[b"no-store"], Directives { no_store: true, ..NONE }),
            (&[b"No-StOrE"], Directives { no_store: true, ..NONE }),
            (&[b"no-cache"], Directives { no_cache: true, ..NONE }),
            (&[b"private"], Directives { private: true, ..NONE }),
            (&[b"PUBLIC"], Directives { public: true, ..NONE }),
            (&[b"must-revalidate"], Directives { must_revalidate: true, ..NONE }),
            (&[b"proxy-revalidate"], Directives { proxy_revalidate: true, ..NONE }),
            (&[b"must-understand"], Directives { must_understand: true, ..NONE }),
            (&[b"max-age=60"], max_age(60)),
            (&[b"S-MaxAge=5"], Directives { s_maxage: Some(Delta::Seconds(5)), ..NONE }),
            (&[b"Immutable"], Directives { immutable: true, ..NONE }),
            (&[b"stale-while-revalidate=9"], Directives { stale_while_revalidate: Some(Delta::Seconds(9)), ..NONE }),
            (&[b"Stale-If-Error=\"9\""], Directives { stale_if_error: Some(Delta::Seconds(9)), ..NONE }),
            (&[b"community=\"UCI\", max-age=60, x=1, y=\"2\", only-if-cached, max-stale=9"], max_age(60)),
            (&[b"x-no-store, no-storex, nostore, no_store, no, store"], NONE),
            (
                &[b"public,\tmax-age=1", b"", b"s-maxage=2 , private"],
                Directives { public: true, private: true, s_maxage: Some(Delta::Seconds(2)), ..max_age(1) },
            ),
            (&[b"max-age=1", b"no-store", b"no-cache"], Directives { no_store: true, no_cache: true, ..max_age(1) }),
        ];
        for (lines, expected) in cases {
            assert_eq!(read(lines), expected, "{lines:?}");
        }
    }

    #[test]
    fn lifetimes_are_digits_with_or_without_quotes() {
        let cases: [(&[u8], Directives); 24] = [
            (b"max-age=0", max_age(0)),
            (b"max-age=003600", max_age(3600)),
            (b"max-age=\"60\"", max_age(60)),
            (b"max-age=2147483648", max_age(1 << 31)),
            (b"max-age=2147483649", max_age(1 << 31)),
            (b"max-age=99999999999999999999999999", max_age(1 << 31)),
            (b"max-age", INVALID),
            (b"max-age=", INVALID),
            (b"max-age=\"\"", INVALID),
            (b"max-age=-1", INVALID),
            (b"max-age=+1", INVALID),
            (b"max-age=60.0", INVALID),
            (b"max-age=1e3", INVALID),
            (b"max-age=a60", INVALID),
            (b"max-age=60a", INVALID),
            (b"max-age=0x10", INVALID),
            (b"max-age='60'", INVALID),
            (b"max-age =60", INVALID),
            (b"max-age= 60", INVALID),
            (b"max-age=6 0", INVALID),
            (b"max-age=\" 60\"", INVALID),
            (b"max-age=\"6\\0\"", INVALID),
            (b"max-age==60", INVALID),
            (b"max-age=\xb2", INVALID),
        ];
        for (line, expected) in cases {
            assert_eq!(read(&[line]), expected, "{:?}", line.escape_ascii().to_string());
        }
    }

    #[test]
    fn of_several_lifetimes_the_smallest_counts_and_a_malformed_one_before_all() {
        let cases: [(&[&[u8]], Directives); 7] = [
            (&[b"max-age=60, max-age=60"], max_age(60)),
            (&[b"max-age=60, max-age=1"], max_age(1)),
            (&[b"max-age=1, max-age=60"], max_age(1)),
            (&[b"max-age=60", b"max-age=1"], max_age(1)),
            (&[b"max-age=60, max-age=x, max-age=1"], INVALID),
            (&[b"max-age=x", b"max-age=1"], INVALID),
            (&[b"max-age=60, max-age"], INVALID),
        ];
        for (lines, expected) in cases {
            assert_eq!(read(lines), expected, "{lines:?}");
        }
    }

    #[test]
    fn an_argument_that_is_not_taken_restricts_but_never_permits() {
        let cases: [(&[u8], Directives); 13] = [
            (b"no-store=1", Directives { no_store: true, ..NONE }),
            (b"no-store=\"a, b\"", Directives { no_store: true, ..NONE }),
            (b"private=\"x-a, x-b\"", Directives { private: true, ..NONE }),
            (b"private=x-a", Directives { private: true, ..NONE }),
            (b"no-cache=\"set-cookie\"", Directives { no_cache: true, ..NONE }),
            (b"must-revalidate=0", Directives { proxy_revalidate: true, ..NONE }),
            (
                b"must-revalidate, must-revalidate=0",
                Directives { must_revalidate: true, proxy_revalidate: true, ..NONE },
            ),
            (b"proxy-revalidate=x", Directives { proxy_revalidate: true, ..NONE }),
            (b"must-understand=x", Directives { no_store: true, ..NONE }),
            (b"must-understand=\"\", no-store", Directives { no_store: true, ..NONE }),
            (b"immutable=x", Directives { immutable: true, ..NONE }),
            (b"public=x", NONE),
            (b"public=\"\"", NONE),
        ];
        for (line, expected) in cases {
            assert_eq!(read(&[line]), expected, "{:?}", line.escape_ascii().to_string());
        }
    }

    #[test]
    fn a_malformed_time_for_stale_reuse_allows_none() {
        for argument in ["", "=", "=x", "=-1", "=1.5", " =9", "=9 9", "=9, stale-if-error=x", "=x, stale-if-error=9"] {
            let line = format!("stale-if-error{argument}");

            let found = read(&[line.as_bytes()]);

            assert_eq!(found, Directives { stale_if_error: Some(Delta::Invalid), ..NONE }, "{line:?}");
        }
        let smallest = read(&[b"stale-while-revalidate=9, stale-while-revalidate=2"]);
        assert_eq!(smallest, Directives { stale_while_revalidate: Some(Delta::Seconds(2)), ..NONE });
    }

    #[test]
    fn directives_inside_the_quotes_of_another_are_not_said() {
        let cases: [(&[u8], Directives); 5] = [
            (b"x=\"max-age=3600\", max-age=1", max_age(1)),
            (b"max-age=1, x=\"max-age=0\"", max_age(1)),
            (b"x=\"no-store\", max-age=1", max_age(1)),
            (b"x=\"a, no-store, private\", max-age=1", max_age(1)),
            (b"x=\"a\\\", no-store, \\\\\", max-age=1", max_age(1)),
        ];
        for (line, expected) in cases {
            assert_eq!(read(&[line]), expected, "{:?}", line.escape_ascii().to_string());
        }
    }

    #[test]
    fn a_malformed_list_loses_no_restriction_and_gains_no_permission() {
        const NO_STORE: Directives = Directives { no_store: true, ..NONE };
        const PRIVATE: Directives = Directives { private: true, ..NONE };
        let cases: [(&[&[u8]], Directives); 27] = [
            (&[b"x=\""], NO_STORE),
            (&[b"max-age=60, x=\"a"], Directives { no_store: true, ..max_age(60) }),
            (&[b"must-understand, max-age=60, x=\"a"], Directives { no_store: true, ..max_age(60) }),
            (&[b"must-understand, must-understand=1"], NO_STORE),
            (&[b"x=\"a, max-age=60"], Directives { no_store: true, ..INVALID }),
            (&[b"x=\"a, private"], Directives { no_store: true, ..PRIVATE }),
            (&[b"private, x=\"a, public"], Directives { no_store: true, ..PRIVATE }),
            (&[b"x=\"a\\\", private"], Directives { no_store: true, ..PRIVATE }),
            (&[b"x=a\"b, private, c\""], Directives { no_store: true, ..PRIVATE }),
            (&[b"x=\"a\"b, private"], Directives { no_store: true, ..PRIVATE }),
            (&[b"\"private\""], Directives { no_store: true, ..PRIVATE }),
            (&[b"max-age=\"60"], Directives { no_store: true, ..INVALID }),
            (&[b"x=\"a", b"private"], Directives { no_store: true, ..PRIVATE }),
            (&[b"private; max-age=60"], Directives { private: true, ..INVALID }),
            (&[b"max-age=60; private"], Directives { private: true, ..INVALID }),
            (&[b"max-age=60 private"], Directives { private: true, ..INVALID }),
            (&[b"public no-store"], NO_STORE),
            (&[b"public; max-age=60"], INVALID),
            (&[b"no-store\xff"], NO_STORE),
            (&[b"\xff\xfe, private"], PRIVATE),
            (&[b"=, =1, =\"\", private="], Directives { no_store: true, ..PRIVATE }),
            (&[b"private ="], PRIVATE),
            (&[b"max-age=60; must-revalidate"], Directives { proxy_revalidate: true, ..INVALID }),
            (&[b"must-understand =, max-age=60"], Directives { no_store: true, ..max_age(60) }),
            (&[b"x=\"must-understand"], NO_STORE),
            (&[b"immutable x"], NONE),
            (&[b"stale-while-revalidate: 9"], Directives { stale_while_revalidate: Some(Delta::Invalid), ..NONE }),
        ];
        for (lines, expected) in cases {
            let shown: Vec<_> = lines.iter().map(|line| line.escape_ascii().to_string()).collect();
            assert_eq!(read(lines), expected, "{shown:?}");
        }
    }

    /// Members that are written as §5.2 says, all with quotes closed.
    fn clear_line() -> impl Strategy<Value = Vec<u8>> {
        let members = vec![
            "no-store",
            "no-cache",
            "no-cache=\"a, b\"",
            "private",
            "public",
            "must-revalidate",
            "proxy-revalidate",
            "must-understand",
            "immutable",
            "max-age=60",
            "s-maxage=60",
            "stale-while-revalidate=60",
            "stale-if-error=60",
            "x=1",
        ];
        prop::collection::vec(prop::sample::select(members), 0..6).prop_map(|line| line.join(",").into_bytes())
    }

    /// One member that is not written as §5.2 says.
    fn broken_member() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            any_value(),
            prop::sample::select(vec![
                "must-revalidate",
                "must-understand",
                "immutable",
                "s-maxage=60",
                "stale-if-error=60",
                "stale-while-revalidate=60",
            ])
            .prop_map(|piece| piece.as_bytes().to_vec()),
        ];
        prop::collection::vec(piece, 0..4)
            .prop_map(|pieces| pieces.join(&b' ').into_iter().filter(|byte| *byte != b',').collect::<Vec<_>>())
            .prop_filter("clear", |line| directive(field::trim_ows(line)).is_none())
    }

    proptest! {
        #[test]
        fn any_bytes_can_be_read(headers in any_headers()) {
            for delta in [Directives::of(&headers).max_age, Directives::of(&headers).s_maxage].into_iter().flatten() {
                prop_assert!(delta.lifetime() <= Duration::from_secs(Delta::MAX_SECONDS));
            }
        }

        #[test]
        fn a_delta_is_at_most_two_to_the_31(argument in prop_oneof![any_value(), "[0-9]{0,40}".prop_map(String::into_bytes)]) {
            if let Delta::Seconds(seconds) = Delta::parse(&argument) {
                prop_assert!(seconds <= Delta::MAX_SECONDS);
            }
        }

        #[test]
        fn no_store_before_or_after_anything_is_never_lost(other in any_value(), first in any::<bool>()) {
            let line = match first {
                true => [b"no-store,".as_slice(), &other].concat(),
                false => [&other, b",no-store".as_slice()].concat(),
            };
            prop_assert!(read(&[&line]).no_store);
        }

        #[test]
        fn what_is_broken_takes_no_restriction_away_and_gives_no_permission(
            clear in clear_line(),
            broken in broken_member(),
            place in 0..3,
        ) {
            let without = read(&[&clear]);
            let with = match place {
                0 => read(&[&[clear.as_slice(), b",", &broken].concat()]),
                1 => read(&[&[broken.as_slice(), b",", &clear].concat()]),
                _ => read(&[&broken, &clear]),
            };

            prop_assert!(with.no_store >= without.no_store);
            prop_assert!(with.no_cache >= without.no_cache);
            prop_assert!(with.private >= without.private);
            prop_assert!(never_stale(&with) >= never_stale(&without));
            // A clear `must-understand` that a quote swallowed forbids storing.
            prop_assert!(with.must_understand || with.no_store || !without.must_understand);
            prop_assert!(with.must_understand <= without.must_understand);
            prop_assert!(with.must_revalidate <= without.must_revalidate);
            prop_assert!(with.public <= without.public);
            prop_assert!(with.immutable <= without.immutable);
            prop_assert!(lifetime(&with) <= lifetime(&without));
            prop_assert!(time(with.stale_while_revalidate) <= time(without.stale_while_revalidate));
            prop_assert!(time(with.stale_if_error) <= time(without.stale_if_error));
        }
    }

    fn never_stale(directives: &Directives) -> bool {
        directives.must_revalidate || directives.proxy_revalidate || directives.s_maxage.is_some()
    }

    fn time(delta: Option<Delta>) -> Duration {
        delta.map_or(Duration::ZERO, Delta::lifetime)
    }

    /// The explicit lifetime; one that is unspecified could be any.
    fn lifetime(directives: &Directives) -> Duration {
        directives.s_maxage.or(directives.max_age).map_or(Duration::MAX, Delta::lifetime)
    }
}
