//! What a request says in `Cache-Control` (RFC 9111 §5.2.1).
//!
//! Reads, and decides nothing. `Pragma` is not read: it is deprecated (§5.4).

use std::time::Duration;

use http::HeaderMap;
use http::header::CACHE_CONTROL;

use super::directives::{Delta, directive, narrow, words};
use crate::field;

/// What the `Cache-Control` lines of a request say (RFC 9111 §5.2.1).
///
/// Names and arguments are read as in a response. Where a request is unclear, it asks for the stricter of what it
/// could mean: the response that is fresher, or none that is stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RequestDirectives {
    /// §5.2.1.5.
    pub(crate) no_store: bool,
    /// §5.2.1.4.
    pub(crate) no_cache: bool,
    /// §5.2.1.7.
    pub(crate) only_if_cached: bool,
    /// §5.2.1.1. Of several, the smallest, and a malformed one, which is zero, before all.
    pub(crate) max_age: Option<Delta>,
    /// §5.2.1.3. Of several, the largest. A malformed one is the largest of all, so this is never malformed.
    pub(crate) min_fresh: Option<Delta>,
    /// §5.2.1.2. Of several, the smallest. One that is malformed or zero allows nothing, like none at all.
    pub(crate) max_stale: Option<MaxStale>,
}

/// How stale a response may be for the client (RFC 9111 §5.2.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum MaxStale {
    /// For so long, and no longer.
    AtMost(Duration),
    /// Without an argument: for any time.
    Any,
}

impl RequestDirectives {
    /// Nothing is asked.
    pub(crate) const NONE: Self = Self {
        no_store: false,
        no_cache: false,
        only_if_cached: false,
        max_age: None,
        min_fresh: None,
        max_stale: None,
    };

    /// Whether what another request brings may not be what this one asks for.
    pub(crate) fn is_demanding(&self) -> bool {
        self.no_store || self.no_cache || self.max_age.is_some() || self.min_fresh.is_some()
    }

    /// Reads all `Cache-Control` lines of a request. Never fails: see the type for what unclear ones mean.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let mut directives = Self::default();
        for member in field::list(headers, &CACHE_CONTROL) {
            match directive(member) {
                Some((name, argument)) => directives.apply(name, argument.map(Delta::parse)),
                // What is not written as §5.2 says could be any directive that is named in it, malformed.
                None => words(member).for_each(|word| directives.apply(word, Some(Delta::Invalid))),
            }
        }
        directives.max_stale = directives.max_stale.filter(|max_stale| *max_stale != NOT_STALE);
        directives
    }

    /// Takes over one directive, with what its argument is as delta-seconds.
    fn apply(&mut self, name: &[u8], argument: Option<Delta>) {
        let flags: [(&[u8], &mut bool); 3] = [
            (b"no-store", &mut self.no_store),
            (b"no-cache", &mut self.no_cache),
            (b"only-if-cached", &mut self.only_if_cached),
        ];
        for (directive, said) in flags {
            // An argument that it does not take leaves it as strict as it is.
            *said |= name.eq_ignore_ascii_case(directive);
        }
        // §5.2.1.1, §5.2.1.3: the argument is required, so none is a malformed one.
        let delta = argument.unwrap_or(Delta::Invalid);
        if name.eq_ignore_ascii_case(b"max-age") {
            narrow(&mut self.max_age, delta);
        } else if name.eq_ignore_ascii_case(b"min-fresh") {
            self.raise_min_fresh(delta);
        } else if name.eq_ignore_ascii_case(b"max-stale") {
            let other = argument.map_or(MaxStale::Any, |delta| MaxStale::AtMost(delta.lifetime()));
            self.max_stale = Some(self.max_stale.map_or(other, |max_stale| max_stale.min(other)));
        }
    }

    fn raise_min_fresh(&mut self, other: Delta) {
        // Zero seconds would be the mildest request, so a malformed one is the longest.
        let seconds = |delta| match delta {
            Delta::Seconds(seconds) => seconds,
            Delta::Invalid => Delta::MAX_SECONDS,
        };
        let least = self.min_fresh.map_or(0, seconds);
        self.min_fresh = Some(Delta::Seconds(least.max(seconds(other))));
    }
}

/// What a malformed `max-stale` allows.
const NOT_STALE: MaxStale = MaxStale::AtMost(Duration::ZERO);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::field::testing::{any_headers, any_value, headers};

    fn read(lines: &[&[u8]]) -> RequestDirectives {
        let lines: Vec<_> = lines.iter().map(|line| ("cache-control", line)).collect();
        RequestDirectives::of(&headers(&lines))
    }

    const NONE: RequestDirectives = RequestDirectives::NONE;

    const fn max_age(delta: Delta) -> RequestDirectives {
        RequestDirectives { max_age: Some(delta), ..NONE }
    }

    const fn min_fresh(seconds: u64) -> RequestDirectives {
        RequestDirectives { min_fresh: Some(Delta::Seconds(seconds)), ..NONE }
    }

    const fn max_stale(seconds: u64) -> RequestDirectives {
        RequestDirectives { max_stale: Some(MaxStale::AtMost(Duration::from_secs(seconds))), ..NONE }
    }

    const ANY_STALE: RequestDirectives = RequestDirectives { max_stale: Some(MaxStale::Any), ..NONE };

    #[test]
    fn directives_are_read_in_any_case_and_order_over_all_lines() {
        let cases: [(&[&[u8]], RequestDirectives); 14] = [
            (&[], NONE),
            (&[b" , ,"], NONE),
            (&[b"no-store"], RequestDirectives { no_store: true, ..NONE }),
            (&[b"No-Cache"], RequestDirectives { no_cache: true, ..NONE }),
            (&[b"only-if-cached"], RequestDirectives { only_if_cached: true, ..NONE }),
            (&[b"max-age=0"], max_age(Delta::Seconds(0))),
            (&[b"Max-Age=\"60\""], max_age(Delta::Seconds(60))),
            (&[b"min-fresh=60"], min_fresh(60)),
            (&[b"min-fresh=99999999999999999999"], min_fresh(1 << 31)),
            (&[b"max-stale"], ANY_STALE),
            (&[b"max-stale=60"], max_stale(60)),
            (&[b"max-stale=0"], NONE),
            (&[b"no-transform, no-cachex, x=\"no-cache\", private, s-maxage=0, stale-if-error=9"], NONE),
            (
                &[b"no-store,max-stale=2", b"", b"no-cache ,\tonly-if-cached"],
                RequestDirectives { no_store: true, no_cache: true, only_if_cached: true, ..max_stale(2) },
            ),
        ];
        for (lines, expected) in cases {
            assert_eq!(read(lines), expected, "{lines:?}");
        }
    }

    #[test]
    fn of_several_the_strictest_counts() {
        let cases: [(&[u8], RequestDirectives); 9] = [
            (b"max-age=60, max-age=5", max_age(Delta::Seconds(5))),
            (b"max-age=5, max-age=x, max-age=60", max_age(Delta::Invalid)),
            (b"min-fresh=5, min-fresh=60", min_fresh(60)),
            (b"min-fresh=60, min-fresh=5", min_fresh(60)),
            (b"max-stale, max-stale=60", max_stale(60)),
            (b"max-stale=60, max-stale=5", max_stale(5)),
            (b"max-stale=5, max-stale=60, max-stale", max_stale(5)),
            (b"max-stale=5, max-stale=x", NONE),
            (b"max-stale=x, max-stale", NONE),
        ];
        for (line, expected) in cases {
            assert_eq!(read(&[line]), expected, "{:?}", line.escape_ascii().to_string());
        }
    }

    #[test]
    fn what_is_malformed_asks_for_no_less() {
        let cases: [(&[u8], RequestDirectives); 16] = [
            (b"no-cache=x", RequestDirectives { no_cache: true, ..NONE }),
            (b"no-store=\"\"", RequestDirectives { no_store: true, ..NONE }),
            (b"only-if-cached=1", RequestDirectives { only_if_cached: true, ..NONE }),
            (b"max-age", max_age(Delta::Invalid)),
            (b"max-age=", max_age(Delta::Invalid)),
            (b"max-age=-1", max_age(Delta::Invalid)),
            (b"max-age= 60", max_age(Delta::Invalid)),
            (b"min-fresh", min_fresh(1 << 31)),
            (b"min-fresh=", min_fresh(1 << 31)),
            (b"min-fresh=1.5, min-fresh=1", min_fresh(1 << 31)),
            (b"max-stale=", NONE),
            (b"max-stale=\"\"", NONE),
            (b"max-stale x", NONE),
            (b"max-stale=60; no-cache", RequestDirectives { no_cache: true, ..NONE }),
            (b"x=\"a, max-age=60, no-store", RequestDirectives { no_store: true, ..max_age(Delta::Invalid) }),
            (b"\xff, no-cache", RequestDirectives { no_cache: true, ..NONE }),
        ];
        for (line, expected) in cases {
            assert_eq!(read(&[line]), expected, "{:?}", line.escape_ascii().to_string());
        }
    }

    #[test]
    fn pragma_says_nothing() {
        assert_eq!(RequestDirectives::of(&headers(&[("pragma", "no-cache")])), NONE);
    }

    /// Members without quotes.
    fn clear_line() -> impl Strategy<Value = Vec<u8>> {
        let members =
            vec!["no-store", "no-cache", "only-if-cached", "max-age=60", "min-fresh=60", "max-stale", "max-stale=60"];
        prop::collection::vec(prop::sample::select(members), 1..5).prop_map(|line| line.join(",").into_bytes())
    }

    proptest! {
        #[test]
        fn any_bytes_can_be_read(headers in any_headers()) {
            let found = RequestDirectives::of(&headers);

            for delta in [found.max_age, found.min_fresh].into_iter().flatten() {
                prop_assert!(delta.lifetime() <= Duration::from_secs(Delta::MAX_SECONDS));
            }
            prop_assert_ne!(found.min_fresh, Some(Delta::Invalid));
        }

        #[test]
        fn what_stands_beside_a_directive_takes_nothing_away(
            clear in clear_line(),
            other in any_value(),
            first in any::<bool>(),
        ) {
            let without = read(&[&clear]);
            let with = match first {
                true => read(&[&[clear.as_slice(), b",", &other].concat()]),
                false => read(&[&[other.as_slice(), b",", &clear].concat()]),
            };

            prop_assert!(with.no_store >= without.no_store);
            prop_assert!(with.no_cache >= without.no_cache);
            prop_assert!(with.only_if_cached >= without.only_if_cached);
            // Without one any age would do.
            let longest_age = |delta: Option<Delta>| delta.map_or(Duration::MAX, Delta::lifetime);
            prop_assert!(longest_age(with.max_age) <= longest_age(without.max_age));
            prop_assert!(with.min_fresh.map(Delta::lifetime) >= without.min_fresh.map(Delta::lifetime));
            // No piece of `any_value` is a `max-stale`.
            prop_assert!(with.max_stale <= without.max_stale);
        }
    }
}
