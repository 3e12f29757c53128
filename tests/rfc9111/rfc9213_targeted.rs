//! RFC 9213: what does a field that is meant for this cache say?

use http::HeaderName;

use crate::{
    common::{SECOND, field},
    exchange::{DAY, Fields, IN_A_MINUTE, TEN_HOURS_AGO, Then, Then::*, given, plain},
};

const CDN: &str = "cdn-cache-control";

/// The lines of `CDN-Cache-Control` next to `Cache-Control: max-age=60`, and the seconds for which it is fresh.
const TABLE: &[(&[&str], u64)] = &[
    // RFC 9213 §2.2: a valid field that is not empty decides alone.
    (&["max-age=10"], 10),
    (&["max-age=600"], 600),
    (&["max-age=600, public"], 600),
    (&["s-maxage=10, max-age=600"], 10),
    (&["max-age=10", "public"], 10),
    (&["public", "max-age=10"], 10),
    (&[" max-age=10 ,\tpublic "], 10),
    (&["max-age=0"], 0),
    (&["no-store"], 0),
    (&["no-cache"], 0),
    (&["private"], 0),
    (&["none"], 0),
    (&["x"], 0),
    (&["must-revalidate"], 0),
    // RFC 9213 §2.2: no-store and no-cache make max-age inoperative; what is unknown is ignored.
    (&["max-age=10, no-store"], 0),
    (&["max-age=10, no-cache"], 0),
    (&["max-age=10, private"], 0),
    (&["max-age=10, no-cache=\"x-a\""], 0),
    (&["max-age=10, x=1, y=\"a\", z=(1 2);q, *a=?0"], 10),
    // RFC 9213 §2.1: parameters are ignored.
    (&["max-age=10;max-age=600"], 10),
    (&["max-age=10;x;no-store=1"], 10),
    (&["max-age=10, x;no-store"], 10),
    (&["no-store; max-age=10"], 0),
    (&["public;a=\"b\", max-age=10"], 10),
    // RFC 9651 §4.2.2: of several members with one name the last.
    (&["max-age=600, max-age=10"], 10),
    (&["max-age=10, max-age=600"], 600),
    (&["max-age=10", "max-age=600"], 600),
    (&["no-store, max-age=10, no-store=?0"], 10),
    (&["max-age=2147483648"], 1 << 31),
    (&["max-age=999999999999999"], 1 << 31),
    // RFC 9213 §2.1: a value of the wrong type is not consumed.
    (&["max-age=\"10\""], 0),
    (&["max-age=10.0"], 0),
    (&["max-age=-10"], 0),
    (&["max-age=ten"], 0),
    (&["max-age"], 0),
    (&["max-age=(10)"], 0),
    (&["max-age=:MTA=:"], 0),
    // RFC 9213 §2.1: empty, or an error, and it is as if it were not there.
    (&[], 60),
    (&[""], 60),
    (&["", " "], 60),
    (&[","], 60),
    (&["max-age=10,"], 60),
    (&[",max-age=10"], 60),
    (&["max-age=10,,public"], 60),
    (&["max-age=10", ""], 60),
    (&["max-age=10 public"], 60),
    (&["max-age = 10"], 60),
    (&["max-age= 10"], 60),
    (&["max-age=10a"], 60),
    (&["max-age=\"10"], 60),
    (&["Max-Age=10"], 60),
    (&["max-age=10, Public"], 60),
    (&["MAX-AGE=10"], 60),
    (&["max-age=+10"], 60),
    (&["max-age=1.2345"], 60),
    (&["max-age=1000000000000000"], 60),
    (&["no-store,"], 60),
    (&["No-Store"], 60),
    (&["no-store private"], 60),
    (&["private=?2"], 60),
    (&["no-store \u{e4}"], 60),
];

#[tokio::test]
async fn a_targeted_field_decides_alone_if_it_is_valid_and_not_empty() {
    for (lines, seconds) in TABLE {
        let mut said = vec![("cache-control", "max-age=60")];
        said.extend(lines.iter().map(|line| (CDN, *line)));
        assert!(given(200, &said).lasts(*seconds).await, "{lines:?} is not fresh for {seconds} s");
    }
}

/// All that is said, and the seconds for which the response is fresh.
const TOGETHER: &[(Fields<'_>, u64)] = &[
    // RFC 9213 §3.1: its examples.
    (&[("cache-control", "max-age=60, s-maxage=120"), (CDN, "max-age=600")], 600),
    (&[(CDN, "max-age=600"), ("cache-control", "no-store")], 600),
    (&[("cache-control", "no-store")], 0),
    // RFC 9213 §2.2: Cache-Control and Expires are ignored.
    (&[("cache-control", "private"), (CDN, "max-age=600")], 600),
    (&[("cache-control", "no-cache"), (CDN, "max-age=600")], 600),
    (&[("cache-control", "s-maxage=600, public"), (CDN, "no-store")], 0),
    (&[("cache-control", "max-age=600"), (CDN, "private")], 0),
    (&[("expires", IN_A_MINUTE), (CDN, "max-age=600")], 600),
    (&[("expires", IN_A_MINUTE), (CDN, "none")], 0),
    (&[("expires", "0"), (CDN, "max-age=600")], 600),
    (&[("expires", IN_A_MINUTE), (CDN, "")], 60),
    (&[("expires", IN_A_MINUTE), (CDN, "no-store,")], 60),
    (&[(CDN, "max-age=600")], 600),
    (&[(CDN, "max-age=600"), ("age", "100")], 500),
    // RFC 9213 §2.2, §2.4: fields that are not on the list change nothing, whatever their name ends in.
    (&[("cache-control", "max-age=60"), ("example-cache-control", "no-store")], 60),
    (&[("cache-control", "max-age=60"), ("x-cdn-cache-control", "max-age=600")], 60),
    (&[("cache-control", "max-age=60"), ("surrogate-control", "max-age=600")], 60),
    (&[("example-cache-control", "max-age=600")], 0),
];

#[tokio::test]
async fn other_fields_count_where_it_does_not() {
    for (said, seconds) in TOGETHER {
        assert!(given(200, said).lasts(*seconds).await, "{said:?} is not fresh for {seconds} s");
    }
}

#[tokio::test]
async fn a_field_that_says_nothing_of_freshness_leaves_a_guess() {
    // RFC 9213 §3.1: this prevents all caches but this one from storing the response.
    let said = [("cache-control", "no-store"), (CDN, "none"), ("last-modified", TEN_HOURS_AGO)];
    assert!(given(200, &said).policy(plain().heuristic_freshness(DAY)).lasts(3_600).await);
}

#[tokio::test]
async fn the_first_field_of_the_list_decides() {
    let own = "example-cache-control";
    let table: [(Fields<'_>, u64); 8] = [
        (&[(own, "max-age=10"), (CDN, "max-age=600")], 10),
        (&[(CDN, "max-age=600"), (own, "max-age=10")], 10),
        (&[(own, "max-age=10"), (CDN, "no-store")], 10),
        (&[(own, "no-store"), (CDN, "max-age=600")], 0),
        (&[(own, "none"), (CDN, "max-age=600")], 0),
        (&[(own, ""), (CDN, "max-age=600")], 600),
        (&[(own, "no-store,"), (CDN, "max-age=600")], 600),
        (&[(own, "="), (CDN, "="), ("cache-control", "max-age=60")], 60),
    ];
    for (said, seconds) in table {
        let policy = plain().targeted_fields([own, CDN].map(HeaderName::from_static));
        assert!(given(200, said).policy(policy).lasts(seconds).await, "{said:?} is not fresh for {seconds} s");
    }
    let nobodys = given(200, &[("cache-control", "max-age=60"), (CDN, "no-store")]);
    assert!(nobodys.policy(plain().targeted_fields([])).lasts(60).await);
}

#[tokio::test]
async fn directives_mean_the_same_as_in_cache_control() {
    // RFC 9213 §2.2.
    let table: [(&str, u32, Then); 10] = [
        ("max-age=60", 60, Asked("if-none-match: \"a\"")),
        ("max-age=60, stale-while-revalidate=60", 61, Refreshed),
        ("max-age=60, stale-while-revalidate=60, must-revalidate", 61, Asked("if-none-match: \"a\"")),
        ("max-age=60, stale-while-revalidate=60, proxy-revalidate", 61, Asked("if-none-match: \"a\"")),
        ("s-maxage=60, stale-while-revalidate=60", 61, Asked("if-none-match: \"a\"")),
        ("no-cache", 0, Asked("if-none-match: \"a\"")),
        ("private", 0, Forwarded),
        ("no-store", 0, Forwarded),
        ("must-understand, no-store, max-age=60", 0, Stored),
        ("max-age=60, stale-while-revalidate=\"60\"", 61, Asked("if-none-match: \"a\"")),
    ];
    for (said, after, expected) in table {
        let said = [(CDN, said), ("cache-control", "stale-while-revalidate=600"), ("etag", "\"a\"")];
        let found = given(200, &said).after(after * SECOND).second().await;
        assert_eq!(found, expected, "{said:?} after {after} s");
    }
}

#[tokio::test]
async fn it_allows_sharing_what_authorization_brought_as_cache_control_does() {
    // RFC 9213 §2.2, RFC 9111 §3.5.
    let table = [
        ("max-age=60", Forwarded),
        ("max-age=60, public", Stored),
        ("s-maxage=60", Stored),
        ("max-age=60, must-revalidate", Stored),
        ("max-age=60, public=1", Forwarded),
        ("max-age=60, public=?0", Forwarded),
    ];
    for (said, expected) in table {
        let said = [(CDN, said), ("cache-control", "public")];
        let given = given(200, &said).asked("GET", &[("authorization", "Basic YQ==")]);
        assert_eq!(given.second().await, expected, "{said:?}");
    }
}

#[tokio::test]
async fn targeted_fields_are_passed_on() {
    let said = [("cache-control", "max-age=1"), (CDN, "max-age=60"), ("example-cache-control", "max-age=5")];
    let hit = given(200, &said).after(30 * SECOND).answer().await.unwrap();
    for (name, value) in said {
        assert_eq!(field(&hit, name), value);
    }
    assert_eq!(field(&hit, "age"), "30");
}
