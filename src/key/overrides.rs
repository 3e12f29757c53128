//! Fields that many servers take for the target of a request, in place of what the request itself says.
//!
//! A load balancer sets them, and so can anybody. When a request carries one it goes into the key by itself: a
//! service behind a load balancer still hits, and a poisoned answer reaches only who sent the same field.

use http::{HeaderMap, HeaderName, header};

use super::{KeyError, escape, push_field, within_limit};

/// What becomes of a request that has a field which may override its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OverrideRule {
    /// The origin does not look at it.
    Irrelevant,
    /// It is part of the key: who sends another value gets another response.
    Keyed,
    /// The request goes to the origin, past the cache.
    Bypass,
}

/// What the operator says of single fields, on top of the list below.
#[derive(Clone, Debug, Default)]
pub(super) struct Overrides {
    /// Sorted by name, each once.
    rules: Vec<(HeaderName, OverrideRule)>,
}

impl Overrides {
    pub(super) fn set(&mut self, name: HeaderName, rule: OverrideRule) {
        match self.rules.binary_search_by(|(other, _)| other.as_str().cmp(name.as_str())) {
            Ok(at) => self.rules[at].1 = rule,
            Err(at) => self.rules.insert(at, (name, rule)),
        }
    }

    /// What is done with a request that has a field of this name; none for nearly all names.
    #[inline]
    pub(super) fn rule(&self, name: &str) -> Option<OverrideRule> {
        // By the first two bytes, which few other names share.
        let is_suspect = matches!(
            name.as_bytes(),
            [b'x', b'-' | b'_', ..] | [b'f', ..] | [b'c', b'f' | b'l', ..] | [b's', b'c', ..]
        );
        if is_suspect || !self.rules.is_empty() { self.find(name) } else { None }
    }

    /// Apart, so that the names of no concern pass it by in a few instructions.
    #[inline(never)]
    fn find(&self, name: &str) -> Option<OverrideRule> {
        let find = |name: &str| self.said(name).or_else(|| is_default(name).then_some(OverrideRule::Keyed));
        find(name).or_else(|| find(&with_hyphens(name)?))
    }

    fn said(&self, name: &str) -> Option<OverrideRule> {
        let at = self.rules.binary_search_by(|(other, _)| other.as_str().cmp(name)).ok()?;
        self.rules.get(at).map(|(_, rule)| *rule)
    }

    /// Appends the keyed fields that the request carries, in one order, but for those that are `chosen` anyway.
    pub(super) fn push(&self, out: &mut String, chosen: &[HeaderName], headers: &HeaderMap) -> Result<(), KeyError> {
        let is_keyed = |name: &&HeaderName| self.rule(name.as_str()) == Some(OverrideRule::Keyed);
        let mut names: Vec<_> = headers.keys().filter(is_keyed).filter(|name| !chosen.contains(name)).collect();
        names.sort_unstable_by_key(|name| name.as_str());
        for name in names {
            if *name == header::FORWARDED {
                push_forwarded(out, headers)?;
            } else {
                push_field(out, "|h:", name, headers)?;
            }
        }
        Ok(())
    }
}

/// Whether the field asks to be taken for another method: some frameworks believe it more than the request line.
pub(crate) fn is_method_override(name: &str) -> bool {
    name.len() >= SHORTEST_METHOD
        && (METHODS.contains(&name) || with_hyphens(name).is_some_and(|name| METHODS.contains(&name.as_str())))
}

/// The name as servers read it that know fields by the names of variables; none if that is the name itself.
fn with_hyphens(name: &str) -> Option<String> {
    name.contains('_').then(|| name.replace('_', "-"))
}

/// By their beginnings, so that a name is compared to few others.
fn is_default(name: &str) -> bool {
    let Some(name) = name.strip_prefix("x-") else { return WITHOUT_X.contains(&name) };
    if let Some(what) = name.strip_prefix("forwarded-") {
        FORWARDED.contains(&what)
    } else if let Some(what) = name.strip_prefix("original-").or_else(|| name.strip_prefix("envoy-original-")) {
        ORIGINAL.contains(&what)
    } else {
        OTHERS.contains(&name)
    }
}

/// Of `Forwarded` (RFC 7239) only `host` and `proto` say what was asked for; `for` and `by` say who, and differ
/// with each client. A line with quotes counts whole: cutting it wrongly would be worse than missing.
fn push_forwarded(out: &mut String, headers: &HeaderMap) -> Result<(), KeyError> {
    for line in headers.get_all(header::FORWARDED) {
        within_limit(out.len() + line.len())?;
        let line = line.as_bytes();
        let told = if line.contains(&b'"') { line.to_vec() } else { host_and_proto(line) };
        if told.iter().any(|byte| *byte != b',') {
            out.push_str("|h:forwarded=");
            escape::push(out, &told, |byte| byte == b'=');
        }
    }
    Ok(())
}

/// The pairs of each element that matter, the elements still apart: which one a server believes is its own choice.
fn host_and_proto(line: &[u8]) -> Vec<u8> {
    let matters = |pair: &&[u8]| {
        let name = pair.split(|byte| *byte == b'=').next().unwrap_or_default().trim_ascii();
        name.eq_ignore_ascii_case(b"host") || name.eq_ignore_ascii_case(b"proto")
    };
    let elements = line.split(|byte| *byte == b',').map(|element| {
        let pairs: Vec<&[u8]> = element.split(|byte| *byte == b';').filter(matters).collect();
        pairs.join(&b';')
    });
    elements.collect::<Vec<_>>().join(&b',')
}

/// After `x-forwarded-`: what was asked for. Not `for`, `by` and `client-cert`, which say who asks.
const FORWARDED: [&str; 14] = [
    "host", "proto", "port", "prefix", "scheme", "server", "ssl", "path", "uri", "url", "protocol", "method",
    "context", "pathbase",
];

/// After `x-original-` and `x-envoy-original-`: before a proxy or a filter has rewritten it.
const ORIGINAL: [&str; 6] = ["host", "method", "path", "proto", "uri", "url"];

/// After `x-`. Not `wap-profile`: what a client can show is content negotiation, which `Vary` is for.
const OTHERS: [&str; 18] = [
    "arr-ssl",
    "host",
    "host-override",
    "http-host-override",
    "override-url",
    "proxycontextpath",
    "proxyhost",
    "proxyport",
    "proxyscheme",
    "real-host",
    "real-uri",
    "real-url",
    "request-uri",
    "rewrite-uri",
    "rewrite-url",
    "scheme",
    "script-name",
    "url-scheme",
];

/// What load balancers and edges say of the scheme, where an application is mounted, and RFC 7239.
const WITHOUT_X: [&str; 6] =
    ["forwarded", "front-end-https", "cf-visitor", "cloudfront-forwarded-proto", "fastly-ssl", "script-name"];

const METHODS: [&str; 3] = ["x-http-method", "x-http-method-override", "x-method-override"];
const SHORTEST_METHOD: usize = METHODS[0].len();

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn key(chosen: &[HeaderName], lines: &[(&'static str, &'static str)]) -> String {
        key_by(&Overrides::default(), chosen, lines)
    }

    fn key_by(overrides: &Overrides, chosen: &[HeaderName], lines: &[(&'static str, &'static str)]) -> String {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_static(value));
        }
        let mut out = String::new();
        overrides.push(&mut out, chosen, &headers).unwrap();
        out
    }

    #[test]
    fn a_field_that_overrides_the_target_is_keyed_when_it_is_there() {
        let table: [(&[(&'static str, &'static str)], &str); 14] = [
            (&[("x-forwarded-for", "10.0.0.1"), ("x-request-id", "7"), ("from", "a")], ""),
            (&[("x-forwarded-host", "evil")], "|h:x-forwarded-host=evil"),
            (&[("x-forwarded-host", "")], "|h:x-forwarded-host="),
            (
                &[("x-forwarded-proto", "https"), ("x-forwarded-host", "a"), ("x-forwarded-host", "b")],
                "|h:x-forwarded-host=a=b|h:x-forwarded-proto=https",
            ),
            (&[("x_forwarded_host", "evil")], "|h:x_forwarded_host=evil"),
            (&[("x-forwarded_host", "evil")], "|h:x-forwarded_host=evil"),
            (&[("x-url-scheme", "https"), ("forwarded", "host=a")], "|h:forwarded=host%3Da|h:x-url-scheme=https"),
            (&[("front-end-https", "on"), ("script_name", "/a")], "|h:front-end-https=on|h:script_name=/a"),
            (
                &[("x-envoy-original-path", "/a"), ("x-original-uri", "/b")],
                "|h:x-envoy-original-path=/a|h:x-original-uri=/b",
            ),
            (&[("forwarded", "for=10.0.0.1;by=b")], ""),
            (&[("forwarded", "for=10.0.0.1; Host=evil;proto=http")], "|h:forwarded=%20Host%3Devil;proto%3Dhttp"),
            (&[("forwarded", "for=a, host=x;for=b")], "|h:forwarded=,%20host%3Dx"),
            (&[("forwarded", "host=x;for=a, for=b")], "|h:forwarded=host%3Dx,"),
            (&[("forwarded", "for=\"a;host=x\"")], "|h:forwarded=for%3D\"a;host%3Dx\""),
        ];
        for (lines, expected) in table {
            assert_eq!(key(&[], lines), expected, "{lines:?}");
        }
    }

    #[test]
    fn a_field_that_is_chosen_is_keyed_once() {
        let chosen = [HeaderName::from_static("x-forwarded-host"), header::FORWARDED];

        assert_eq!(key(&chosen, &[("x-forwarded-host", "a"), ("forwarded", "host=b")]), "");
    }

    #[test]
    fn what_the_operator_says_of_a_field_goes_before_the_list() {
        use OverrideRule::{Bypass, Irrelevant, Keyed};
        let mut overrides = Overrides::default();
        for (name, rule) in [
            ("x-forwarded-port", Keyed),
            ("x-forwarded-port", Irrelevant),
            ("x-original-url", Bypass),
            ("accept", Keyed),
            ("forwarded", Irrelevant),
        ] {
            overrides.set(HeaderName::from_static(name), rule);
        }
        for (name, expected) in [
            ("x-forwarded-port", Some(Irrelevant)),
            ("x_forwarded_port", Some(Irrelevant)),
            ("x-original-url", Some(Bypass)),
            ("x_original-url", Some(Bypass)),
            ("accept", Some(Keyed)),
            ("forwarded", Some(Irrelevant)),
            ("x-forwarded-host", Some(Keyed)),
            ("x-forwarded-for", None),
            ("accept-language", None),
        ] {
            assert_eq!(overrides.rule(name), expected, "{name}");
        }
        let lines = [("x-forwarded-port", "1"), ("forwarded", "host=a"), ("accept", "b"), ("x-host", "c")];
        assert_eq!(key_by(&overrides, &[], &lines), "|h:accept=b|h:x-host=c");
        assert_eq!(key_by(&overrides, &[header::ACCEPT], &lines), "|h:x-host=c");
    }

    #[test]
    fn every_name_of_the_list_is_found() {
        let after = |beginning: &str, names: &[&str]| names.iter().map(|name| format!("{beginning}{name}")).collect();
        let lists: [Vec<String>; 5] = [
            after("", &WITHOUT_X),
            after("x-", &OTHERS),
            after("x-forwarded-", &FORWARDED),
            after("x-original-", &ORIGINAL),
            after("x-envoy-original-", &ORIGINAL),
        ];
        for name in lists.concat() {
            let variable = name.replace('-', "_");
            for name in [name, variable] {
                assert_eq!(Overrides::default().rule(&name), Some(OverrideRule::Keyed), "{name}");
            }
        }
    }

    #[test]
    fn names_are_what_they_are_to_servers_that_take_lines_for_hyphens() {
        for (name, is_method) in [
            ("x-http-method", true),
            ("x_http_method_override", true),
            ("x-method_override", true),
            ("x-http-methods", false),
            ("method", false),
        ] {
            assert_eq!(is_method_override(name), is_method, "{name}");
        }
    }
}
