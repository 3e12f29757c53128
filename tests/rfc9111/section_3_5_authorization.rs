//! RFC 9111 §3.5: who else may have the response to a request with `Authorization`?

use crate::{
    common::SECOND,
    exchange::{Fields, IN_A_MINUTE, Then, Then::*, given},
};

const TAG: (&str, &str) = ("etag", "\"a\"");
const ASKED: Then = Asked("if-none-match: \"a\"");

/// What the origin says, how many seconds pass, and what becomes of the next request.
const TABLE: &[(Fields<'_>, u32, Then)] = &[
    // §3.5: nothing that allows sharing.
    (&[("cache-control", "max-age=60")], 0, Forwarded),
    (&[("cache-control", "max-age=60, immutable")], 0, Forwarded),
    (&[("cache-control", "max-age=60, stale-while-revalidate=60")], 0, Forwarded),
    (&[("cache-control", "max-age=60, proxy-revalidate")], 0, Forwarded),
    (&[("cache-control", "max-age=60, must-understand")], 0, Forwarded),
    (&[("cache-control", "max-age=60, no-transform")], 0, Forwarded),
    (&[("expires", IN_A_MINUTE)], 0, Forwarded),
    (&[("cache-control", "x-public, max-age=60")], 0, Forwarded),
    (&[("cache-control", "x=\"public, s-maxage=60\", max-age=60")], 0, Forwarded),
    (&[TAG, ("cache-control", "max-age=60")], 0, Forwarded),
    (&[TAG, ("cache-control", "no-cache")], 0, Forwarded),
    // §3.5: a permission that is not written as one is none.
    (&[("cache-control", "max-age=60, public=1")], 0, Forwarded),
    (&[("cache-control", "max-age=60, must-revalidate=1")], 0, Forwarded),
    (&[("cache-control", "max-age=60, s-maxage")], 0, Forwarded),
    (&[("cache-control", "max-age=60, s-maxage=x")], 0, Forwarded),
    (&[("cache-control", "max-age=60; public")], 0, Forwarded),
    // §3.5, §5.2.2.9: public.
    (&[("cache-control", "max-age=60, public")], 0, Stored),
    (&[("cache-control", "PUBLIC, max-age=60")], 0, Stored),
    (&[("cache-control", "public"), ("expires", IN_A_MINUTE)], 0, Stored),
    (&[TAG, ("cache-control", "public, max-age=60")], 60, ASKED),
    (&[TAG, ("cache-control", "public, max-age=60, no-cache")], 0, ASKED),
    // §3.5, §5.2.2.2: must-revalidate, and its demand.
    (&[("cache-control", "max-age=60, must-revalidate")], 0, Stored),
    (&[("cache-control", "max-age=60, Must-Revalidate")], 59, Stored),
    (&[("cache-control", "max-age=60, must-revalidate")], 60, Forwarded),
    (&[TAG, ("cache-control", "max-age=60, must-revalidate")], 60, ASKED),
    (&[TAG, ("cache-control", "max-age=60, must-revalidate, stale-while-revalidate=60")], 60, ASKED),
    // §3.5, §5.2.2.10: s-maxage, and its demands.
    (&[("cache-control", "s-maxage=60")], 59, Stored),
    (&[("cache-control", "s-maxage=60, max-age=600")], 60, Forwarded),
    (&[TAG, ("cache-control", "s-maxage=60, stale-while-revalidate=60")], 60, ASKED),
    (&[TAG, ("cache-control", "s-maxage=0")], 0, ASKED),
    // §3: what forbids goes before what allows.
    (&[("cache-control", "s-maxage=60, private")], 0, Forwarded),
    (&[("cache-control", "s-maxage=60, public, no-store")], 0, Forwarded),
];

#[tokio::test]
async fn only_a_directive_that_allows_sharing_makes_it_anybody_elses() {
    let next: [Fields<'_>; 3] = [&[("authorization", "Basic YQ==")], &[("authorization", "Basic Yg==")], &[]];
    for (said, after, expected) in TABLE {
        for next in next {
            let first = given(200, said).asked("GET", &[("authorization", "Basic YQ==")]);
            let second = first.after(*after * SECOND).then("GET", next).second().await;
            assert_eq!(second, *expected, "{said:?} and then {next:?}");
        }
    }
}

#[tokio::test]
async fn what_was_stored_without_authorization_may_answer_a_request_with_it() {
    let next: Fields<'_> = &[("authorization", "Basic YQ==")];
    for said in ["max-age=60", "public, max-age=60", "s-maxage=60"] {
        assert_eq!(given(200, &[("cache-control", said)]).then("GET", next).second().await, Stored, "{said}");
    }
    let varies = [("cache-control", "max-age=60"), ("vary", "authorization")];
    assert_eq!(given(200, &varies).then("GET", next).second().await, Forwarded);
}
