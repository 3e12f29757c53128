//! RFC 9111 §4.2.4: when may a stale response be served?

use microcache::Policy;

use crate::{
    common::{Does, SECOND, ask, cache, field, get, get_with, reply, send},
    exchange::{Fields, Then, Then::*, given, plain, then},
};

const TAG: (&str, &str) = ("etag", "\"a\"");
const ASKED: Then = Asked("if-none-match: \"a\"");

/// The operator's contract with the origin: stale for ten minutes, in both cases.
fn contract() -> Policy {
    plain().stale_while_revalidate(600 * SECOND).stale_if_error(600 * SECOND)
}

/// What the origin says, and what becomes of a request 61 seconds later: alone, and under a contract.
const TABLE: &[(Fields<'_>, Then, Then)] = &[
    // §4.2.4: never by itself.
    (&[TAG, ("cache-control", "max-age=60")], ASKED, Refreshed),
    (&[TAG, ("expires", "Sun, 13 Sep 2020 12:27:40 GMT")], ASKED, Refreshed),
    (&[TAG, ("expires", "0")], ASKED, Refreshed),
    (&[TAG, ("cache-control", "public, max-age=60")], ASKED, Refreshed),
    (&[("cache-control", "max-age=60")], Forwarded, Refreshed),
    (&[TAG, ("cache-control", "max-age=60, immutable")], ASKED, Refreshed),
    // §4.2.4, RFC 5861: where the origin permits it.
    (&[TAG, ("cache-control", "max-age=60, stale-while-revalidate=10")], Refreshed, Refreshed),
    (&[TAG, ("cache-control", "max-age=60, stale-while-revalidate=0")], ASKED, ASKED),
    // §4.2.4: never where a directive prohibits it, whoever else permits it.
    (&[TAG, ("cache-control", "max-age=60, must-revalidate")], ASKED, ASKED),
    (&[TAG, ("cache-control", "max-age=60, proxy-revalidate")], ASKED, ASKED),
    (&[TAG, ("cache-control", "s-maxage=60")], ASKED, ASKED),
    (&[TAG, ("cache-control", "max-age=60, no-cache")], ASKED, ASKED),
    (&[TAG, ("cache-control", "max-age=60, MUST-REVALIDATE")], ASKED, ASKED),
    (&[TAG, ("cache-control", "max-age=60, must-revalidate=x")], ASKED, ASKED),
    (&[TAG, ("cache-control", "max-age=60, proxy-revalidate=\"x\"")], ASKED, ASKED),
    (&[TAG, ("cache-control", "max-age=60, s-maxage=x")], ASKED, ASKED),
    (&[TAG, ("cache-control", "max-age=60, no-cache=\"x-a\"")], ASKED, ASKED),
    (&[TAG, ("cache-control", "max-age=60, must-revalidate, stale-while-revalidate=10")], ASKED, ASKED),
    (&[TAG, ("cache-control", "max-age=60, proxy-revalidate, stale-while-revalidate=10")], ASKED, ASKED),
    (&[TAG, ("cache-control", "s-maxage=60, stale-while-revalidate=10")], ASKED, ASKED),
    (&[TAG, ("cache-control", "no-cache, stale-while-revalidate=600")], ASKED, ASKED),
    (&[("cache-control", "max-age=60, must-revalidate")], Forwarded, Forwarded),
];

#[tokio::test]
async fn a_stale_response_is_served_only_where_somebody_permits_and_nobody_prohibits_it() {
    for (said, alone, by_contract) in TABLE {
        let stale = given(200, said).after(61 * SECOND);
        assert_eq!(stale.clone().second().await, *alone, "{said:?}");
        assert_eq!(stale.policy(contract()).second().await, *by_contract, "{said:?} under a contract");
    }
}

/// What the origin says, and whether a failure of it 61 seconds later is hidden: alone, and under a contract.
const FAILURES: &[(&str, bool, bool)] = &[
    // §4.2.4 would let a disconnected cache do so by itself; this one does not.
    ("max-age=60", false, true),
    ("max-age=60, stale-if-error=10", true, true),
    ("max-age=60, stale-if-error=0", false, false),
    // §5.2.2.2, §5.2.2.8, §5.2.2.10, §5.2.2.4: an error, in all circumstances.
    ("max-age=60, must-revalidate", false, false),
    ("max-age=60, proxy-revalidate", false, false),
    ("s-maxage=60", false, false),
    ("max-age=60, no-cache", false, false),
    ("max-age=60, must-revalidate, stale-if-error=600", false, false),
    ("max-age=60, proxy-revalidate, stale-if-error=600", false, false),
    ("s-maxage=60, stale-if-error=600", false, false),
    ("no-cache, stale-if-error=600", false, false),
];

#[tokio::test]
async fn a_failure_of_the_origin_is_an_error_unless_stale_is_permitted() {
    for (said, alone, by_contract) in FAILURES {
        let only_on_error = plain().stale_if_error(600 * SECOND);
        for (policy, is_hidden) in [(plain(), *alone), (only_on_error, *by_contract)] {
            for code in [None, Some(500), Some(502), Some(503), Some(504)] {
                let (mut cache, origin, clock) = cache(policy.clone());
                origin.queue([reply(200, &[TAG, ("cache-control", said)], "one")]);
                ask(&mut cache, get("/")).await;
                clock.advance(61 * SECOND);
                origin.queue_does([code.map_or(Does::Fail, |code| Does::Reply(reply(code, &[], "sick")))]);

                let found = match send(&mut cache, get("/")).await {
                    Ok(answer) => Some(answer.status().as_u16()),
                    Err(_) => None,
                };
                let expected = if is_hidden { Some(200) } else { code };
                assert_eq!(found, expected, "{said} and then {code:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_stale_response_shows_its_age() {
    for (after, age) in [(60, "60"), (65, "65")] {
        let said = [("cache-control", "max-age=60, stale-while-revalidate=60")];
        let answer = given(200, &said).after(after * SECOND).answer().await.unwrap();
        assert_eq!(field(&answer, "age"), age);
    }
}

#[tokio::test]
async fn a_variant_or_a_guess_is_not_served_stale_to_those_whom_it_never_answered() {
    let (mut cache, origin, clock) = cache(contract());
    origin.queue([reply(200, &[("cache-control", "max-age=60"), ("vary", "x-a")], "one")]);
    ask(&mut cache, get_with("/", &[("x-a", "1")])).await;
    clock.advance(61 * SECOND);
    for asked in [&[][..], &[("x-a", "2")]] {
        let second = then(&mut cache, &origin, get_with("/", asked)).await;
        assert_eq!(second, Forwarded, "{asked:?}");
    }
}
