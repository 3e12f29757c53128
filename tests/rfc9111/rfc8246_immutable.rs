//! RFC 8246: what does `immutable` spare the origin?

use crate::{
    common::SECOND,
    exchange::{Then, Then::*, given, plain},
};

const ASKED: Then = Asked("if-none-match: \"a\"");

/// `Cache-Control` of what is stored, the seconds that pass, that of the request, and what becomes of it.
const TABLE: &[(&str, u32, &str, Then)] = &[
    // RFC 8246 §2.1: while it is fresh, no validation without a sign that one is wanted.
    ("max-age=60, immutable", 10, "max-age=0", Stored),
    ("max-age=60, IMMUTABLE", 10, "max-age=0", Stored),
    ("s-maxage=60, immutable", 10, "max-age=0", Stored),
    ("max-age=60", 10, "max-age=0", ASKED),
    ("max-age=60, immutable", 10, "no-cache", ASKED),
    ("max-age=60, immutable", 10, "no-cache, max-age=0", ASKED),
    // RFC 8246 §2: an argument has no meaning, and several are one.
    ("max-age=60, immutable=1", 10, "max-age=0", Stored),
    ("max-age=60, immutable=\"a, b\"", 10, "max-age=0", Stored),
    ("max-age=60, immutable, immutable", 10, "max-age=0", Stored),
    // RFC 8246 §2: only while it is fresh.
    ("max-age=60, immutable", 60, "max-age=0", ASKED),
    ("max-age=60, immutable", 60, "x", ASKED),
    ("immutable", 0, "x", ASKED),
    ("max-age=0, immutable", 0, "x", ASKED),
    ("no-cache, max-age=60, immutable", 0, "x", ASKED),
    ("no-store, max-age=60, immutable", 0, "x", Forwarded),
    ("private, max-age=60, immutable", 0, "x", Forwarded),
    // RFC 8246 §2: in a request it has no effect.
    ("max-age=60", 10, "max-age=0, immutable", ASKED),
    ("max-age=60", 60, "immutable", ASKED),
];

#[tokio::test]
async fn what_is_immutable_is_not_validated_while_it_is_fresh() {
    for (stored, after, asked, expected) in TABLE {
        let (said, asked) = ([("etag", "\"a\""), ("cache-control", *stored)], [("cache-control", *asked)]);
        let policy = plain().honour_request_directives();
        let found = given(200, &said).policy(policy).after(*after * SECOND).then("GET", &asked).second().await;
        assert_eq!(found, *expected, "{stored} after {after} s, and then {asked:?}");
    }
}
