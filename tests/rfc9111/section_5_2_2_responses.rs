//! RFC 9111 §5.2.2: what may an origin ask of the cache, in which spellings?

use crate::{
    common::{SECOND, field, text},
    exchange::{Then, Then::*, given},
};

const ASKED: Then = Asked("if-none-match: \"a\"");

/// The lines of `Cache-Control` of a 200 with the entity tag `"a"`, the seconds that pass, and what becomes of a
/// second request.
type Row = (&'static [&'static str], u32, Then);

const FRESHNESS: &[Row] = &[
    // §5.2.2.1 max-age.
    (&["max-age=60"], 59, Stored),
    (&["max-age=60"], 60, ASKED),
    (&["max-age=\"60\""], 59, Stored),
    (&["Max-Age=60"], 59, Stored),
    (&["max-age=60, max-age=60"], 59, Stored),
    (&["max-age=0"], 0, ASKED),
    (&["max-age=x"], 0, ASKED),
    (&["max-age"], 0, ASKED),
    (&["max-age=60;"], 0, ASKED),
    // §5.2.2.10 s-maxage overrides it, and is proxy-revalidate.
    (&["s-maxage=60, max-age=0"], 59, Stored),
    (&["s-maxage=\"60\""], 59, Stored),
    (&["S-MAXAGE=60"], 59, Stored),
    (&["max-age=60, s-maxage=0"], 0, ASKED),
    (&["max-age=60", "s-maxage=0"], 0, ASKED),
    (&["s-maxage=60, stale-while-revalidate=600"], 60, ASKED),
    (&["max-age=60, s-maxage=x, stale-while-revalidate=600"], 0, ASKED),
    // §5.2.2.2 must-revalidate, §5.2.2.8 proxy-revalidate: only once it is stale.
    (&["max-age=60, must-revalidate"], 59, Stored),
    (&["max-age=60, must-revalidate, stale-while-revalidate=600"], 60, ASKED),
    (&["max-age=60, MUST-revalidate, stale-while-revalidate=600"], 60, ASKED),
    (&["max-age=60, must-revalidate=0, stale-while-revalidate=600"], 60, ASKED),
    (&["max-age=60, must-revalidate=\"\", stale-while-revalidate=600"], 60, ASKED),
    (&["max-age=60, stale-while-revalidate=600", "must-revalidate"], 60, ASKED),
    (&["max-age=60, proxy-revalidate"], 59, Stored),
    (&["max-age=60, proxy-revalidate, stale-while-revalidate=600"], 60, ASKED),
    (&["max-age=60, Proxy-Revalidate=x, stale-while-revalidate=600"], 60, ASKED),
    (&["max-age=60, must-revalidate stale-while-revalidate=600"], 60, ASKED),
];

const FORBIDDING: &[Row] = &[
    // §5.2.2.4 no-cache: validated each time. The form that names fields counts as the whole response.
    (&["no-cache"], 0, ASKED),
    (&["no-cache, max-age=60"], 0, ASKED),
    (&["max-age=60", "no-cache"], 0, ASKED),
    (&["No-Cache, max-age=60"], 0, ASKED),
    (&["no-cache=\"x-a\", max-age=60"], 0, ASKED),
    (&["no-cache=\"x-a, x-b\", max-age=60"], 0, ASKED),
    (&["no-cache=x-a, max-age=60"], 0, ASKED),
    (&["no-cache=\"\", max-age=60"], 0, ASKED),
    (&["max-age=60, no-cache=\"x-a\", no-cache=\"x-b\""], 0, ASKED),
    (&["max-age=60, no-cache; x"], 0, ASKED),
    (&["max-age=60 no-cache"], 0, ASKED),
    (&["max-age=60, no-cache, stale-while-revalidate=600, immutable, public"], 0, ASKED),
    // §5.2.2.5 no-store: not stored.
    (&["no-store"], 0, Forwarded),
    (&["max-age=60, no-store"], 0, Forwarded),
    (&["NO-STORE, max-age=60"], 0, Forwarded),
    (&["max-age=60", "no-store"], 0, Forwarded),
    (&["no-store=x, max-age=60"], 0, Forwarded),
    (&["no-store=\"x\", max-age=60"], 0, Forwarded),
    (&["no-store; max-age=60"], 0, Forwarded),
    (&["max-age=60 no-store"], 0, Forwarded),
    (&["no-store, no-store, max-age=60"], 0, Forwarded),
    (&["no-store, no-cache, max-age=60"], 0, Forwarded),
    // §5.2.2.7 private: not stored. The form that names fields counts as the whole response.
    (&["private"], 0, Forwarded),
    (&["private, max-age=60"], 0, Forwarded),
    (&["PRIVATE, max-age=60"], 0, Forwarded),
    (&["max-age=60", "private"], 0, Forwarded),
    (&["private=\"x-a\", max-age=60"], 0, Forwarded),
    (&["private=\"x-a, set-cookie\", max-age=60"], 0, Forwarded),
    (&["private=x-a, max-age=60"], 0, Forwarded),
    (&["private=\"\", max-age=60"], 0, Forwarded),
    (&["private, public, s-maxage=60"], 0, Forwarded),
    (&["max-age=60 private"], 0, Forwarded),
    // §5.2.2.3 must-understand: a known status, and then no-store does not count.
    (&["must-understand, max-age=60"], 0, Stored),
    (&["must-understand, no-store, max-age=60"], 0, Stored),
    (&["no-store", "must-understand", "max-age=60"], 0, Stored),
    (&["Must-Understand, No-Store, max-age=60"], 0, Stored),
    (&["must-understand, private, max-age=60"], 0, Forwarded),
    (&["must-understand, no-store, no-cache, max-age=60"], 0, ASKED),
    (&["must-understand=x, no-store, max-age=60"], 0, Forwarded),
];

const PERMITTING: &[Row] = &[
    // §5.2.2.9 public: no freshness of its own.
    (&["public"], 0, ASKED),
    (&["public, max-age=60"], 0, Stored),
    (&["Public, max-age=60"], 0, Stored),
    // §5.2.2.6 no-transform: nothing is.
    (&["no-transform, max-age=60"], 0, Stored),
    // §5.2: no directive at all, and members that are empty.
    (&[""], 0, ASKED),
    (&[",,"], 0, ASKED),
    (&[",, max-age=60 ,,"], 0, Stored),
    // §5.2: a comma in quotes is no end, and what is quoted is no directive.
    (&["x=\"no-store, private\", max-age=60"], 0, Stored),
    (&["x=\"max-age=60\""], 0, ASKED),
    (&["x=\"max-age=600\", max-age=60"], 60, ASKED),
    (&["max-age=60, x=\"max-age=600\""], 60, ASKED),
    (&["x=\"\\\", no-store, \\\"\", max-age=60"], 0, Stored),
    (&["x=\"a\\\\\", no-store, max-age=60"], 0, Forwarded),
    // Quotes that are not closed, or stand where none belong, could hide anything.
    (&["max-age=60, x=\"a"], 0, Forwarded),
    (&["x=\"a, max-age=60"], 0, Forwarded),
    (&["max-age=60, \"no-store\""], 0, Forwarded),
    (&["max-age=60, x=a\"b\""], 0, Forwarded),
];

#[tokio::test]
async fn each_directive_is_obeyed_in_whatever_form_it_comes() {
    for (lines, after, expected) in FRESHNESS.iter().chain(FORBIDDING).chain(PERMITTING) {
        let mut said = vec![("etag", "\"a\"")];
        said.extend(lines.iter().map(|line| ("cache-control", *line)));
        assert_eq!(given(200, &said).after(*after * SECOND).second().await, *expected, "{lines:?} after {after} s");
    }
}

#[tokio::test]
async fn directives_are_passed_on_as_they_are() {
    // §5.2: passed through, whatever they mean here.
    let lines = ["max-age=60, X=\"a,  b\"", "no-transform,,", "stale-if-error=5 , PUBLIC"];
    let said = lines.map(|line| ("cache-control", line));
    let hit = given(200, &said).answer().await.unwrap();
    assert_eq!(hit.headers().get_all("cache-control").iter().collect::<Vec<_>>(), lines);
}

#[tokio::test]
async fn content_is_not_transformed() {
    // §5.2.2.6, RFC 9110 §7.7.
    let said = [("cache-control", "no-transform, max-age=60"), ("content-encoding", "x-own"), ("content-type", "a/b")];
    let hit = given(200, &said).then("GET", &[("accept-encoding", "identity")]).answer().await.unwrap();
    assert_eq!((field(&hit, "content-encoding"), field(&hit, "content-type")), ("x-own", "a/b"));
    assert_eq!(text(hit).await.unwrap(), "one");
}
