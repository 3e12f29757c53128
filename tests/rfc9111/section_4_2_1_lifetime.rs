//! RFC 9111 §4.2 and §4.2.1: for how long is a response fresh?

use crate::{
    common::MILLI,
    exchange::{A_MINUTE_AGO, DAY, Fields, IN_A_MINUTE, NOW, TEN_HOURS_AGO, Then, Then::*, given, plain},
};

const IN_TEN_SECONDS: &str = "Sun, 13 Sep 2020 12:26:50 GMT";

/// What the origin says, and the seconds for which the response is fresh.
const ORDER: &[(Fields<'_>, u64)] = &[
    // §4.2.1: s-maxage before max-age before Expires.
    (&[("cache-control", "s-maxage=10")], 10),
    (&[("cache-control", "max-age=20")], 20),
    (&[("expires", IN_A_MINUTE)], 60),
    (&[("cache-control", "s-maxage=10, max-age=20"), ("expires", IN_A_MINUTE)], 10),
    (&[("cache-control", "max-age=20, s-maxage=30"), ("expires", IN_TEN_SECONDS)], 30),
    (&[("cache-control", "max-age=20"), ("expires", IN_A_MINUTE)], 20),
    (&[("cache-control", "max-age=20"), ("expires", IN_TEN_SECONDS)], 20),
    (&[("cache-control", "max-age=20"), ("expires", "0")], 20),
    (&[("cache-control", "s-maxage=20"), ("expires", "0")], 20),
    (&[("cache-control", "max-age=0"), ("expires", IN_A_MINUTE)], 0),
    (&[("cache-control", "s-maxage=0, max-age=20"), ("expires", IN_A_MINUTE)], 0),
    (&[("cache-control", "public"), ("expires", IN_A_MINUTE)], 60),
    // §4.2.1: Expires minus Date, so that the origin's clock need not be right.
    (&[("date", NOW), ("expires", IN_A_MINUTE)], 60),
    (&[("date", IN_A_MINUTE), ("expires", "Sun, 13 Sep 2020 12:27:50 GMT")], 10),
    (&[("date", IN_A_MINUTE), ("expires", IN_A_MINUTE)], 0),
    (&[("date", A_MINUTE_AGO), ("expires", IN_TEN_SECONDS)], 10),
    (&[("date", A_MINUTE_AGO), ("expires", NOW)], 0),
    (&[("date", "Fri, 13 Sep 2030 12:26:40 GMT"), ("expires", "Fri, 13 Sep 2030 12:26:50 GMT")], 10),
    (&[("date", IN_A_MINUTE), ("expires", NOW)], 0),
    // §4.2.1: without a Date, minus the time of receipt.
    (&[("expires", IN_TEN_SECONDS)], 10),
    (&[("date", "x"), ("expires", IN_TEN_SECONDS)], 10),
    (&[("expires", NOW)], 0),
    (&[("expires", A_MINUTE_AGO)], 0),
    // §4.2.1: nothing of the kind.
    (&[], 0),
    (&[("cache-control", "public")], 0),
    (&[("last-modified", TEN_HOURS_AGO)], 0),
];

const INVALID: &[(Fields<'_>, u64)] = &[
    // §4.2.1: of several values the response has the first, or is stale. This one takes the most restrictive.
    (&[("cache-control", "max-age=10, max-age=60")], 10),
    (&[("cache-control", "max-age=60, max-age=10")], 10),
    (&[("cache-control", "max-age=10"), ("cache-control", "max-age=60")], 10),
    (&[("cache-control", "s-maxage=10, s-maxage=60")], 10),
    (&[("cache-control", "max-age=10, max-age=10")], 10),
    (&[("cache-control", "max-age=0, max-age=60")], 0),
    (&[("expires", IN_A_MINUTE), ("expires", IN_TEN_SECONDS)], 0),
    (&[("expires", IN_A_MINUTE), ("expires", "0")], 0),
    (&[("expires", "0"), ("expires", IN_A_MINUTE)], 0),
    (&[("expires", IN_A_MINUTE), ("expires", IN_A_MINUTE)], 60),
    // §4.2.1: of directives that conflict the most restrictive counts.
    (&[("cache-control", "max-age=60, no-cache")], 0),
    (&[("cache-control", "no-cache, max-age=60")], 0),
    (&[("cache-control", "s-maxage=60, no-cache")], 0),
    (&[("cache-control", "no-cache"), ("expires", IN_A_MINUTE)], 0),
    (&[("cache-control", "public, private, max-age=60")], 0),
    (&[("cache-control", "public, no-store, max-age=60")], 0),
    (&[("cache-control", "immutable, no-cache, max-age=60")], 0),
    // §4.2.1: what is no time is stale, and no other directive makes it good.
    (&[("cache-control", "max-age")], 0),
    (&[("cache-control", "max-age=")], 0),
    (&[("cache-control", "max-age=-1")], 0),
    (&[("cache-control", "max-age=+60")], 0),
    (&[("cache-control", "max-age=60.0")], 0),
    (&[("cache-control", "max-age=60.5")], 0),
    (&[("cache-control", "max-age=60s")], 0),
    (&[("cache-control", "max-age=a60")], 0),
    (&[("cache-control", "max-age=0x60")], 0),
    (&[("cache-control", "max-age=1e3")], 0),
    (&[("cache-control", "max-age='60'")], 0),
    (&[("cache-control", "max-age=\"60")], 0),
    (&[("cache-control", "max-age=60\"")], 0),
    (&[("cache-control", "max-age=\"\"")], 0),
    (&[("cache-control", "max-age=\" 60\"")], 0),
    (&[("cache-control", "max-age =60")], 0),
    (&[("cache-control", "max-age= 60")], 0),
    (&[("cache-control", "max-age:60")], 0),
    (&[("cache-control", "max-age 60")], 0),
    (&[("cache-control", "max-age=60 60")], 0),
    (&[("cache-control", "max-age=x"), ("expires", IN_A_MINUTE)], 0),
    (&[("cache-control", "s-maxage=x, max-age=60")], 0),
    (&[("cache-control", "max-age=60, max-age=x")], 0),
    (&[("cache-control", "max-age=x, max-age=60")], 0),
];

const FORMS: &[(Fields<'_>, u64)] = &[
    // §5.2: token or quoted string, names in any case, empty members.
    (&[("cache-control", "max-age=\"60\"")], 60),
    (&[("cache-control", "s-maxage=\"60\"")], 60),
    (&[("cache-control", "MAX-AGE=60")], 60),
    (&[("cache-control", "S-MaxAge=60")], 60),
    (&[("cache-control", "max-age=060")], 60),
    (&[("cache-control", "max-age=00")], 0),
    (&[("cache-control", ",max-age=60,")], 60),
    (&[("cache-control", " \tmax-age=60\t , public")], 60),
    (&[("cache-control", ""), ("cache-control", "max-age=60")], 60),
    (&[("cache-control", "public"), ("cache-control", "max-age=60")], 60),
    // §1.2.2: what is too large is 2^31 seconds.
    (&[("cache-control", "max-age=2147483647")], (1 << 31) - 1),
    (&[("cache-control", "max-age=2147483648")], 1 << 31),
    (&[("cache-control", "max-age=2147483649")], 1 << 31),
    (&[("cache-control", "max-age=4294967296")], 1 << 31),
    (&[("cache-control", "max-age=18446744073709551616")], 1 << 31),
    (&[("cache-control", "max-age=99999999999999999999999999999999999999")], 1 << 31),
    (&[("cache-control", "s-maxage=9223372036854775808")], 1 << 31),
];

#[tokio::test]
async fn a_response_is_fresh_for_just_as_long_as_it_says() {
    for (said, seconds) in ORDER.iter().chain(INVALID).chain(FORMS) {
        assert!(given(200, said).lasts(*seconds).await, "{said:?} is not fresh for {seconds} s");
    }
}

#[tokio::test]
async fn the_policy_does_not_make_good_what_the_origin_said_badly() {
    // §4.2.2: no heuristic where there is an explicit expiration time, however broken.
    for (said, seconds) in ORDER.iter().chain(INVALID).filter(|(said, _)| !matches!(said, [] | [("last-modified", _)]))
    {
        let policy = plain().default_freshness(DAY).heuristic_freshness(DAY);
        if **said == [("cache-control", "public")] {
            continue;
        }
        assert!(given(200, said).policy(policy).lasts(*seconds).await, "{said:?} is not fresh for {seconds} s");
    }
}

#[tokio::test]
async fn a_response_is_fresh_while_its_lifetime_is_greater_than_its_age() {
    // §4.2: response_is_fresh = (freshness_lifetime > current_age).
    let table: [(&str, &str, Then); 6] = [
        ("60", "59", Stored),
        ("60", "60", Forwarded),
        ("60", "61", Forwarded),
        ("0", "0", Forwarded),
        ("1", "0", Stored),
        ("2147483648", "2147483647", Stored),
    ];
    for (max_age, age, expected) in table {
        let said = format!("max-age={max_age}");
        let found = given(200, &[("cache-control", said.as_str()), ("age", age)]).second().await;
        assert_eq!(found, expected, "max-age={max_age} and age {age}");
    }
    assert_eq!(given(200, &[("cache-control", "max-age=60"), ("age", "59")]).after(999 * MILLI).second().await, Stored);
}
