//! Whether a shared cache may store a response (RFC 9111 §3 and §3.5).
//!
//! What the standard forbids, and no more: the operator's limits, cookies and methods are judged in `policy`.

use http::header::EXPIRES;
use http::{HeaderMap, StatusCode};

use super::directives::{Delta, Directives};

/// Whether a shared cache may store a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Storing {
    /// Nothing in the standard stands against it. It may still be stale from the start.
    Allowed,
    /// The first rule that forbids it.
    Refused(Refusal),
}

/// Why the standard forbids a shared cache to store a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// `no-store`, or quotes in `Cache-Control` that are broken (RFC 9111 §5.2.2.5).
    NoStore,
    /// `private` (RFC 9111 §5.2.2.7).
    Private,
    /// The request had `Authorization`, and the response does not allow sharing it (RFC 9111 §3.5).
    Authorization,
    /// 206: storing parts and joining them (RFC 9111 §3.3, §3.4) is not implemented.
    PartialContent,
    /// 304: it freshens a stored response and is none itself (RFC 9111 §4.3.4).
    NotModified,
    /// 428, 429, 431 or 511: about the one request that it answers (RFC 6585 §3 to §6).
    OneRequest,
    /// 1xx: the final response is still to come (RFC 9111 §3).
    Interim,
    /// Neither explicit freshness, nor `public`, nor a heuristically cacheable status (RFC 9111 §3).
    NoFreshness,
    /// `must-understand` with a status that this crate does not know (RFC 9111 §5.2.2.3).
    MustUnderstand,
}

/// Whether a shared cache may store a response to a request for which caching is defined (RFC 9111 §3).
///
/// `authorized`: the request had `Authorization`. The rules are applied in the order of [`refusal`].
pub(crate) fn may_store(status: StatusCode, headers: &HeaderMap, directives: &Directives, authorized: bool) -> Storing {
    refusal(status, headers, directives, authorized).map_or(Storing::Allowed, Storing::Refused)
}

/// Whether a status alone allows a response to be stored without explicit freshness (RFC 9110 §15.1).
///
/// This is the standard's list, with 206 in it: that one is refused for another reason.
pub(crate) fn is_heuristically_cacheable(status: StatusCode) -> bool {
    matches!(status.as_u16(), 200 | 203 | 204 | 206 | 300 | 301 | 308 | 404 | 405 | 410 | 414 | 501)
}

/// The first reason not to store a response, from what it is to what it says.
fn refusal(status: StatusCode, headers: &HeaderMap, directives: &Directives, authorized: bool) -> Option<Refusal> {
    // RFC 9111 §3: the status is final.
    if status.is_informational() {
        return Some(Refusal::Interim);
    }
    // RFC 9111 §3: a 206 or 304 is stored only by a cache that implements what they are for.
    match status {
        StatusCode::PARTIAL_CONTENT => return Some(Refusal::PartialContent),
        StatusCode::NOT_MODIFIED => return Some(Refusal::NotModified),
        // RFC 6585 §3, §4, §5, §6: MUST NOT be stored by a cache.
        StatusCode::PRECONDITION_REQUIRED
        | StatusCode::TOO_MANY_REQUESTS
        | StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
        | StatusCode::NETWORK_AUTHENTICATION_REQUIRED => return Some(Refusal::OneRequest),
        _ => {}
    }
    // RFC 9111 §5.2.2.3: the status must be understood, and then `no-store`, which stands there for caches that do
    // not know the directive, is to be ignored.
    if directives.must_understand {
        if !is_understood(status) {
            return Some(Refusal::MustUnderstand);
        }
    } else if directives.no_store {
        return Some(Refusal::NoStore);
    }
    // RFC 9111 §3: `private` forbids it to a shared cache.
    if directives.private {
        return Some(Refusal::Private);
    }
    // RFC 9111 §3: with `Authorization` the response must allow sharing.
    if authorized && !allows_sharing(directives) {
        return Some(Refusal::Authorization);
    }
    // RFC 9111 §3: something in the response or its status says that it may be reused.
    let reusable = directives.public
        || directives.s_maxage.is_some()
        || directives.max_age.is_some()
        // RFC 9213 §2.2: a targeted field decides without `Expires`.
        || (!directives.targeted && headers.contains_key(EXPIRES))
        || is_heuristically_cacheable(status);
    (!reusable).then_some(Refusal::NoFreshness)
}

/// Whether the response to a request with `Authorization` may be stored (RFC 9111 §3.5).
fn allows_sharing(directives: &Directives) -> bool {
    // A malformed `s-maxage` gives no lifetime, so it is not taken for a permission either.
    let s_maxage = matches!(directives.s_maxage, Some(Delta::Seconds(_)));
    directives.public || directives.must_revalidate || s_maxage
}

/// Whether this crate conforms to what RFC 9110 §15 says about caching a status.
///
/// Left out of those defined there: 206 and 304 (see [`Refusal`]), 412 and 416, which answer fields that no key
/// holds, and the unused 306 and 418.
fn is_understood(status: StatusCode) -> bool {
    matches!(
        status.as_u16(),
        200..=205 | 300..=303 | 305 | 307 | 308 | 400..=411 | 413..=415 | 417 | 421 | 422 | 426 | 500..=505
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Refusal::*;
    use super::Storing::{Allowed, Refused};
    use super::*;
    use crate::field::testing::{any_headers, headers};

    fn judge(status: u16, lines: &[(&str, &str)], authorized: bool) -> Storing {
        let headers = headers(lines);
        let status = StatusCode::from_u16(status).unwrap();
        may_store(status, &headers, &Directives::of(&headers), authorized)
    }

    const STATUS_AND_CACHE_CONTROL: &[(u16, &str, Storing)] = &[
        (200, "", Allowed),
        (200, "max-age=60", Allowed),
        (200, "max-age=0", Allowed),
        (200, "max-age=x", Allowed),
        (200, "no-cache", Allowed),
        (200, "must-revalidate", Allowed),
        (428, "public, max-age=60", Refused(OneRequest)),
        (429, "max-age=60", Refused(OneRequest)),
        (431, "s-maxage=60", Refused(OneRequest)),
        (511, "public", Refused(OneRequest)),
        (200, "no-store", Refused(NoStore)),
        (200, "no-store, max-age=60, public", Refused(NoStore)),
        (200, "no-store=1", Refused(NoStore)),
        (200, "max-age=60, x=\"", Refused(NoStore)),
        (200, "private", Refused(Private)),
        (200, "private=\"set-cookie\", max-age=60", Refused(Private)),
        (200, "public, private", Refused(Private)),
        (200, "no-store, private", Refused(NoStore)),
        (200, "must-understand, no-store", Allowed),
        (200, "must-understand", Allowed),
        (200, "must-understand=x, no-store", Refused(NoStore)),
        (200, "no-store, x=\"must-understand", Refused(NoStore)),
        (200, "must-understand, no-store, private", Refused(Private)),
        (299, "must-understand, max-age=60", Refused(MustUnderstand)),
        (299, "must-understand, no-store, max-age=60", Refused(MustUnderstand)),
        (416, "must-understand, max-age=60", Refused(MustUnderstand)),
        (302, "must-understand, no-store, max-age=60", Allowed),
        (206, "max-age=60", Refused(PartialContent)),
        (206, "no-store", Refused(PartialContent)),
        (304, "max-age=60", Refused(NotModified)),
        (100, "max-age=60", Refused(Interim)),
        (103, "", Refused(Interim)),
        (199, "must-understand", Refused(Interim)),
        (201, "", Refused(NoFreshness)),
        (302, "", Refused(NoFreshness)),
        (302, "must-revalidate", Refused(NoFreshness)),
        (302, "no-cache", Refused(NoFreshness)),
        (302, "public", Allowed),
        (302, "public=x", Refused(NoFreshness)),
        (302, "max-age=60", Allowed),
        (302, "s-maxage=60", Allowed),
        (307, "", Refused(NoFreshness)),
        (400, "", Refused(NoFreshness)),
        (404, "", Allowed),
        (500, "", Refused(NoFreshness)),
        (500, "max-age=60", Allowed),
        (501, "", Allowed),
        (299, "max-age=60", Allowed),
        (299, "", Refused(NoFreshness)),
        (999, "", Refused(NoFreshness)),
    ];

    #[test]
    fn the_first_rule_that_forbids_storing_is_named() {
        for &(status, cache_control, expected) in STATUS_AND_CACHE_CONTROL {
            let found = judge(status, &[("cache-control", cache_control)], false);

            assert_eq!(found, expected, "{status} {cache_control:?}");
        }
    }

    #[test]
    fn an_expires_makes_any_final_status_storable_whatever_it_says() {
        for value in ["Sun, 06 Nov 1994 08:49:37 GMT", "0", ""] {
            assert_eq!(judge(302, &[("expires", value)], false), Allowed, "{value:?}");
        }
    }

    #[test]
    fn an_expires_beside_a_targeted_field_makes_nothing_storable() {
        let headers = headers(&[("expires", "Sun, 06 Nov 1994 08:49:37 GMT")]);
        let directives = Directives { targeted: true, ..Directives::default() };

        assert_eq!(may_store(StatusCode::FOUND, &headers, &directives, false), Refused(NoFreshness));
        assert_eq!(may_store(StatusCode::OK, &headers, &directives, false), Allowed);
    }

    #[test]
    fn a_response_to_authorization_is_stored_only_if_it_allows_sharing() {
        let cases = [
            ("", false),
            ("max-age=60", false),
            ("proxy-revalidate, max-age=60", false),
            ("no-cache", false),
            ("public", true),
            ("public=x", false),
            ("must-revalidate", true),
            ("must-revalidate=x", false),
            ("max-age=60; must-revalidate", false),
            ("s-maxage=60", true),
            ("s-maxage=0", true),
            ("s-maxage", false),
            ("s-maxage=x", false),
            ("must-understand", false),
        ];
        for (cache_control, allowed) in cases {
            let found = judge(200, &[("cache-control", cache_control)], true);

            let expected = match allowed {
                true => Allowed,
                false => Refused(Authorization),
            };
            assert_eq!(found, expected, "{cache_control:?}");
        }
    }

    #[test]
    fn heuristically_cacheable_are_the_twelve_of_the_standard() {
        let found: Vec<_> =
            (100..1000).filter(|code| is_heuristically_cacheable(StatusCode::from_u16(*code).unwrap())).collect();

        assert_eq!(found, [200, 203, 204, 206, 300, 301, 308, 404, 405, 410, 414, 501]);
    }

    proptest! {
        #[test]
        fn what_restricts_is_never_stored(headers in any_headers(), status in 100..1000_u16, authorized in any::<bool>()) {
            let directives = Directives::of(&headers);
            let status = StatusCode::from_u16(status).unwrap();

            if may_store(status, &headers, &directives, authorized) == Allowed {
                prop_assert!(!directives.private);
                prop_assert!(!directives.no_store || directives.must_understand);
                prop_assert!(!status.is_informational());
            }
        }
    }
}
