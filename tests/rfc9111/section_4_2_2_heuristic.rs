//! RFC 9111 §4.2.2: for how long may freshness be guessed?

use crate::{
    common::SECOND,
    exchange::{DAY, Fields, IN_A_MINUTE, NOW, TEN_HOURS_AGO, Then::*, given, plain},
};

const MODIFIED: (&str, &str) = ("last-modified", TEN_HOURS_AGO);

/// The status, what the origin says, and the seconds for which the response is fresh if a day is the most.
const TABLE: &[(u16, Fields<'_>, u64)] = &[
    // §4.2.2: a fraction of the time since Last-Modified: a tenth.
    (200, &[MODIFIED], 3_600),
    (200, &[("last-modified", "Sun, 13 Sep 2020 12:26:30 GMT")], 1),
    (200, &[("last-modified", "Sunday, 13-Sep-20 02:26:40 GMT")], 3_600),
    (200, &[("last-modified", "Sun Sep 13 02:26:40 2020")], 3_600),
    (200, &[("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT")], 86_400),
    (404, &[MODIFIED], 3_600),
    (410, &[MODIFIED], 3_600),
    (301, &[MODIFIED], 3_600),
    (501, &[MODIFIED], 3_600),
    // Until the response was made, by the origin's clock. Its age counts from there.
    (200, &[MODIFIED, ("date", NOW)], 3_600),
    (200, &[MODIFIED, ("date", "Sun, 13 Sep 2020 22:26:40 GMT")], 7_200),
    (200, &[MODIFIED, ("age", "600")], 3_000),
    (200, &[MODIFIED, ("age", "3600")], 0),
    // §4.2.2: marked as cacheable.
    (302, &[MODIFIED, ("cache-control", "public")], 3_600),
    (599, &[MODIFIED, ("cache-control", "public")], 3_600),
    (302, &[MODIFIED], 0),
    (302, &[MODIFIED, ("cache-control", "immutable")], 0),
    // Nothing to guess from.
    (200, &[], 0),
    (200, &[("last-modified", "0")], 0),
    (200, &[("last-modified", NOW)], 0),
    (200, &[("last-modified", IN_A_MINUTE)], 0),
    (200, &[MODIFIED, ("last-modified", NOW)], 0),
    // §4.2.2: never where there is an explicit expiration time.
    (200, &[MODIFIED, ("cache-control", "max-age=0")], 0),
    (200, &[MODIFIED, ("cache-control", "max-age=10")], 10),
    (200, &[MODIFIED, ("cache-control", "s-maxage=10")], 10),
    (200, &[MODIFIED, ("expires", IN_A_MINUTE)], 60),
    (200, &[MODIFIED, ("expires", NOW)], 0),
    (200, &[MODIFIED, ("expires", "0")], 0),
    (200, &[MODIFIED, ("expires", "")], 0),
    (200, &[MODIFIED, ("cache-control", "max-age=x")], 0),
    (200, &[MODIFIED, ("cache-control", "max-age")], 0),
    (200, &[MODIFIED, ("cache-control", "s-maxage=-1")], 0),
    // What forbids it anyhow.
    (200, &[MODIFIED, ("cache-control", "no-cache")], 0),
    (200, &[MODIFIED, ("cache-control", "no-store")], 0),
    (200, &[MODIFIED, ("cache-control", "private")], 0),
    (200, &[MODIFIED, ("cache-control", "must-revalidate")], 3_600),
];

#[tokio::test]
async fn what_the_origin_left_open_is_guessed_and_nothing_else() {
    for (code, said, seconds) in TABLE {
        let guess = given(*code, said).policy(plain().heuristic_freshness(DAY));
        assert!(guess.lasts(*seconds).await, "{code} {said:?} is not fresh for {seconds} s");
    }
}

#[tokio::test]
async fn a_guess_ends_where_the_policy_says() {
    for (at_most, seconds) in [(0, 0), (1, 1), (60, 60), (3_599, 3_599), (3_600, 3_600), (3_601, 3_600)] {
        let guess = given(200, &[MODIFIED]).policy(plain().heuristic_freshness(at_most * SECOND));
        assert!(guess.lasts(seconds).await, "{at_most}");
    }
}

#[tokio::test]
async fn a_guess_is_for_requests_without_credentials() {
    let table: [(Fields<'_>, Fields<'_>, bool); 5] = [
        (&[], &[], true),
        (&[], &[("cookie", "a=1")], false),
        (&[], &[("authorization", "Basic YQ==")], false),
        (&[("cookie", "a=1")], &[], false),
        (&[("authorization", "Basic YQ==")], &[], false),
    ];
    for (first, second, is_stored) in table {
        let guess = given(200, &[MODIFIED]).policy(plain().heuristic_freshness(DAY)).asked("GET", first);
        let found = guess.then("GET", second).second().await;
        assert_eq!(found == Stored, is_stored, "{first:?} and then {second:?}: {found:?}");
    }
}
