//! What is stale after a request that may have changed something (RFC 9111 §4.4).
//!
//! Names the targets. What is stored for them is for the caller to find and to drop.

use std::str;

use http::header::{CONTENT_LOCATION, LOCATION};
use http::uri::{Authority, PathAndQuery};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use url::{Position, Url};

use crate::field::{self, Singleton};

/// Whether a method is known to change nothing (RFC 9110 §9.2.1).
///
/// The safe methods of the IANA registry. RFC 9111 §4.4: a method whose safety is unknown counts as unsafe. Methods are
/// read in their exact case (RFC 9110 §9.1).
pub(crate) fn is_safe(method: &Method) -> bool {
    matches!(method.as_str(), "GET" | "HEAD" | "OPTIONS" | "PRI" | "PROPFIND" | "QUERY" | "REPORT" | "SEARCH" | "TRACE")
}

/// Whether what is stored for the target of an unsafe request is invalid after this response to it (RFC 9111 §4.4).
pub(crate) fn invalidates(status: StatusCode) -> bool {
    // §4.4: a response that is no error, so 2xx or 3xx.
    status.is_success() || status.is_redirection()
}

/// What a response that [`invalidates`] says that it changed besides its own target: the URIs in `Location` and
/// `Content-Location` (RFC 9111 §4.4), as they would be asked for.
///
/// `host`: the request's `Host`, which counts where the target has no authority (RFC 9110 §7.1). A field with lines
/// that differ names nothing.
pub(crate) fn further_targets(target: &Uri, host: Option<&HeaderValue>, response: &HeaderMap) -> Vec<PathAndQuery> {
    let reference = |name| match field::singleton(response, name) {
        Singleton::One(value) => str::from_utf8(value.as_bytes()).ok(),
        Singleton::Absent | Singleton::Conflicting => None,
    };
    let references: Vec<&str> = [LOCATION, CONTENT_LOCATION].iter().filter_map(reference).collect();
    if references.is_empty() {
        return Vec::new();
    }
    let bases = bases(target, host);
    references.iter().filter_map(|reference| bases.iter().find_map(|base| resolve(base, reference))).collect()
}

/// The URIs that the target may stand for: one for each scheme that it may have. None if it is no place on a host.
fn bases(target: &Uri, host: Option<&HeaderValue>) -> Vec<Url> {
    let Some(path_and_query) = target.path_and_query().filter(|whole| whole.as_str().starts_with('/')) else {
        return Vec::new();
    };
    let Some(authority) = authority(target, host) else {
        return Vec::new();
    };
    // Without a scheme in the target only the server knows whether TLS was used, if it does itself.
    let schemes = target.scheme_str().map_or_else(|| vec!["http", "https"], |scheme| vec![scheme]);
    let base = |scheme| Url::parse(&format!("{scheme}://{authority}{path_and_query}")).ok();
    schemes.into_iter().filter_map(base).collect()
}

/// Who the request is addressed to (RFC 9110 §7.1); none if that can not be read.
fn authority(target: &Uri, host: Option<&HeaderValue>) -> Option<Authority> {
    if let Some(authority) = target.authority() {
        return Some(authority.clone());
    }
    match host.map(|host| field::trim_ows(host.as_bytes())) {
        None | Some([]) => Some(Authority::from_static(NOBODY)),
        Some(host) => Authority::try_from(host).ok(),
    }
}

/// The host of requests that name none. It can not be another's (RFC 6761 §6.4), so that relative references alone are
/// of the same origin.
const NOBODY: &str = "unknown.invalid";

/// Where a reference leads from `base` (RFC 3986 §5), without its fragment, if that is at the same origin.
fn resolve(base: &Url, reference: &str) -> Option<PathAndQuery> {
    let resolved = base.join(reference).ok()?;
    // RFC 9111 §4.4: another origin's responses are not ours to drop; anybody could empty the cache of anybody.
    let is_same_origin = resolved.scheme() == base.scheme()
        && resolved.host() == base.host()
        && resolved.port_or_known_default() == base.port_or_known_default();
    if !is_same_origin {
        return None;
    }
    PathAndQuery::try_from(&resolved[Position::BeforePath..Position::AfterQuery]).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::field::testing::{any_headers, any_value, headers};

    #[test]
    fn methods_that_are_not_known_as_safe_are_unsafe() {
        for method in ["GET", "HEAD", "OPTIONS", "PRI", "PROPFIND", "QUERY", "REPORT", "SEARCH", "TRACE"] {
            assert!(is_safe(&method.parse().unwrap()), "{method}");
        }
        for method in ["POST", "PUT", "DELETE", "PATCH", "CONNECT", "PURGE", "MKCOL", "PROPPATCH", "get", "GETS", "X"] {
            assert!(!is_safe(&method.parse().unwrap()), "{method}");
        }
    }

    #[test]
    fn an_unsafe_request_invalidates_unless_it_failed() {
        let cases = [
            ("POST", 200, true),
            ("POST", 201, true),
            ("DELETE", 204, true),
            ("PUT", 299, true),
            ("POST", 303, true),
            ("UNKNOWN", 304, true),
            ("PATCH", 399, true),
            ("POST", 100, false),
            ("POST", 199, false),
            ("POST", 400, false),
            ("POST", 404, false),
            ("DELETE", 500, false),
            ("POST", 600, false),
            ("GET", 200, false),
            ("HEAD", 301, false),
            ("QUERY", 200, false),
        ];
        for (method, status, expected) in cases {
            let is_unsafe = !is_safe(&method.parse().unwrap());
            let found = is_unsafe && invalidates(StatusCode::from_u16(status).unwrap());

            assert_eq!(found, expected, "{method} {status}");
        }
    }

    fn targets(target: &str, host: Option<&str>, response: &[(&str, &[u8])]) -> Vec<String> {
        let host = host.map(|host| HeaderValue::from_str(host).unwrap());
        let found = further_targets(&target.parse().unwrap(), host.as_ref(), &headers(response));
        found.iter().map(|found| found.as_str().to_owned()).collect()
    }

    /// Target, `Host`, `Location`, and what is stale.
    type Case = (&'static str, Option<&'static str>, &'static str, Option<&'static str>);

    const REFERENCES: &[Case] = &[
        ("/items", Some("a"), "/items/1", Some("/items/1")),
        ("/items", Some("a"), "/items/1?x=%2F#top", Some("/items/1?x=%2F")),
        ("/items", Some("a"), "items/1", Some("/items/1")),
        ("/items/", Some("a"), "1", Some("/items/1")),
        ("/items/2/", Some("a"), "../1", Some("/items/1")),
        ("/items/2", Some("a"), "../../../1", Some("/1")),
        ("/items?x=1", Some("a"), "?y=2", Some("/items?y=2")),
        ("/items?x=1", Some("a"), "#top", Some("/items?x=1")),
        ("/items?x=1", Some("a"), "", Some("/items?x=1")),
        ("/items", Some("a"), "./a:b", Some("/a:b")),
        ("/items", Some("a"), "/a%2fB%7e~//c;d=|^[]'", Some("/a%2fB%7e~//c;d=|^[]'")),
        ("/items", Some("a"), "/a?", Some("/a?")),
        ("/items", Some("a"), " /b\t", Some("/b")),
        ("/items", Some("a"), "/a b", Some("/a%20b")),
        ("//b/items", Some("a"), "1", Some("//b/1")),
        ("/items", None, "1?x", Some("/1?x")),
        ("/items", Some(""), "/1", Some("/1")),
        ("http://a/items", None, "1", Some("/1")),
        ("http://a", None, "1", Some("/1")),
        ("*", Some("a"), "/1", None),
        ("a:443", Some("a:443"), "/1", None),
    ];

    const ORIGINS: &[Case] = &[
        ("/", Some("a"), "http://a/1", Some("/1")),
        ("/", Some("a"), "https://a/1", Some("/1")),
        ("/", Some("a"), "HTTPS://A:443/1?x#y", Some("/1?x")),
        ("/", Some("a"), "http://a:80/1", Some("/1")),
        ("/", Some("a"), "http://a", Some("/")),
        ("/", Some("a"), "//a/1", Some("/1")),
        ("/", Some("a"), "//a:443/1", Some("/1")),
        ("/", Some("a"), "http://a:443/1", None),
        ("/", Some("a"), "https://a:80/1", None),
        ("/", Some("a"), "http://a:8080/1", None),
        ("/", Some("a:8080"), "http://a:8080/1", Some("/1")),
        ("/", Some("a:8080"), "https://a:8080/1", Some("/1")),
        ("/", Some("a:8080"), "http://a/1", None),
        ("/", Some("a:443"), "https://a/1", Some("/1")),
        ("/", Some("a:443"), "http://a/1", None),
        ("/", Some("[2001:DB8::1]:80"), "http://[2001:db8:0::1]/1", Some("/1")),
        ("/", Some("a"), "ftp://a/1", None),
        ("/", Some("a"), "http://b/1", None),
        ("/", Some("a"), "http://a.b/1", None),
        ("/", Some("a"), "http://a@b/1", None),
        ("/", Some("a"), "http://b@a/1", Some("/1")),
        ("/", Some("a"), "//b/1", None),
        ("/", Some("a"), "\\\\b\\1", None),
        ("/", Some("a"), "///b/1", None),
        ("/", Some("a"), "\t//b/1", None),
        ("/", Some("a"), "http:b/1", Some("/b/1")),
        ("/", Some("a"), "blob:http://a/1", None),
        ("/", Some("a"), "mailto:a", None),
        ("/", Some("a"), "http://", None),
        ("/", Some("a"), "http://a:99999/1", None),
        ("/", Some("a b"), "/1", None),
        ("/", Some("a/b"), "/1", None),
        ("/", Some("a\\b"), "/1", None),
        ("/", Some("a,b"), "http://b/1", None),
        ("/", None, "http://a/1", None),
        ("/", Some(""), "//a/1", None),
        ("http://a/", None, "http://a/1", Some("/1")),
        ("http://a/", None, "https://a/1", None),
        ("https://a/", None, "https://a:443/1", Some("/1")),
        ("https://a/", None, "http://a/1", None),
        ("https://a/", None, "http://a:443/1", None),
        ("http://a:80/", Some("b"), "http://a/1", Some("/1")),
        ("http://a/", Some("b"), "http://b/1", None),
        ("x://a/", None, "x://b/1", None),
    ];

    #[test]
    fn references_are_resolved_and_other_origins_are_left_alone() {
        for &(target, host, location, expected) in REFERENCES.iter().chain(ORIGINS) {
            let found = targets(target, host, &[("location", location.as_bytes())]);

            assert_eq!(
                found,
                expected.map(str::to_owned).into_iter().collect::<Vec<_>>(),
                "{target} {host:?} {location}"
            );
        }
    }

    #[test]
    fn both_fields_count_and_each_alone_if_it_can_be_read() {
        type Lines = &'static [(&'static str, &'static [u8])];
        let cases: [(Lines, &[&str]); 7] = [
            (&[], &[]),
            (&[("content-location", b"/2"), ("location", b"/1")], &["/1", "/2"]),
            (&[("content-location", b"/2"), ("location", b"http://b/1")], &["/2"]),
            (&[("location", b"/1"), ("location", b"/1")], &["/1"]),
            (&[("location", b"/1"), ("location", b"/2"), ("content-location", b"/3")], &["/3"]),
            (&[("location", b"/\xff"), ("content-location", b"/\xc3\xa9")], &["/%C3%A9"]),
            (&[("link", b"/1"), ("refresh", b"/2")], &[]),
        ];
        for (response, expected) in cases {
            assert_eq!(targets("/", Some("a"), response), expected, "{response:?}");
        }
    }

    #[test]
    fn a_location_too_long_for_a_target_names_nothing() {
        let long = format!("/{}?x", "a".repeat(70_000));

        assert_eq!(targets("/", Some("a"), &[("location", long.as_bytes())]), [""; 0]);
    }

    proptest! {
        #[test]
        fn any_bytes_can_be_read(
            target in any_value(), path in any_value(), host in any_value(), further in any_value(),
            response in any_headers(),
        ) {
            let mut response = response;
            response.insert(LOCATION, HeaderValue::from_bytes(&further).unwrap());
            response.insert(CONTENT_LOCATION, HeaderValue::from_bytes(&path).unwrap());
            let host = HeaderValue::from_bytes(&host).unwrap();
            for target in [target, [b"/", &path[..]].concat(), [b"http://a/", &path[..]].concat()] {
                let Ok(target) = Uri::try_from(target) else { continue };
                for host in [None, Some(&host)] {
                    let found = further_targets(&target, host, &response);

                    prop_assert!(found.len() <= 2);
                    prop_assert!(found.iter().all(|found| found.as_str().starts_with('/')));
                    prop_assert!(!found.iter().any(|found| found.as_str().contains('#')));
                }
            }
        }

        #[test]
        fn another_host_gives_nothing(
            host in "[a-m]{1,4}(\\.[a-m]{1,4})?(:[0-9]{1,4})?", other in "[n-z]{1,4}(\\.[a-z]{1,4})?(:[0-9]{1,4})?",
            scheme in "(https?:)?(//|\\\\\\\\|///)(a@)?", target in "(https?://HOST)?/[a-z/]{0,8}", path in any_value(),
        ) {
            let target = target.replace("HOST", &host);
            let location = [scheme.as_bytes(), other.as_bytes(), b"/", &path].concat();
            let host = HeaderValue::try_from(host).unwrap();
            for name in [LOCATION, CONTENT_LOCATION] {
                let response = HeaderMap::from_iter([(name, HeaderValue::from_bytes(&location).unwrap())]);

                prop_assert_eq!(further_targets(&target.parse().unwrap(), Some(&host), &response), [""; 0]);
                prop_assert_eq!(further_targets(&Uri::from_static("/"), None, &response), [""; 0]);
            }
        }
    }
}
