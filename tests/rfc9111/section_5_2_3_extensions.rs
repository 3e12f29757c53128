//! RFC 9111 §5.2.3: what of directives that nobody here knows?

use crate::exchange::{Then, Then::*, given};

/// `Cache-Control`, and what becomes of a second request.
const TABLE: &[(&str, Then)] = &[
    // §5.2.3: unrecognised directives are ignored, with or without an argument.
    ("max-age=60, foo", Stored),
    ("foo, max-age=60", Stored),
    ("max-age=60, foo=1", Stored),
    ("max-age=60, foo=\"a, b\"", Stored),
    ("max-age=60, foo, foo", Stored),
    ("max-age=60, pre-check=0, post-check=0", Stored),
    ("max-age=60, x-no-store, no-store-x, no_store, nostore", Stored),
    ("max-age=60, x-private, privately, no-caches", Stored),
    ("max-age=60, max-ages=0, xmax-age=0, s-max-age=0", Stored),
    ("max-age=60, !#$%&'*+-.^_`|~=1", Stored),
    // §5.2.3: a request's directives are none of a response.
    ("max-age=60, min-fresh=600, only-if-cached, max-stale=0", Stored),
    // §5.2.3: and they permit nothing.
    ("foo", Forwarded),
    ("foo=60", Forwarded),
    ("x-max-age=60", Forwarded),
    ("s-max-age=60", Forwarded),
    // §5.2.3: the directive next to which they stand counts as if they were not there.
    ("private, community=\"UCI\", max-age=60", Forwarded),
    ("no-store, community=\"UCI\", max-age=60", Forwarded),
];

#[tokio::test]
async fn directives_that_nobody_knows_change_nothing() {
    for (said, expected) in TABLE {
        assert_eq!(given(200, &[("cache-control", said)]).second().await, *expected, "{said}");
    }
}
