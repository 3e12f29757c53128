//! RFC 9111 §4.2.3: how old is a response?

use tokio_test::{assert_pending, assert_ready_ok};

use crate::{
    common::{SECOND, ask, cache, field, get, reply, send, status},
    exchange::{A_MINUTE_AGO, Fields, IN_A_MINUTE, NOW, plain},
};

/// What the origin says after so many seconds, how many pass then, and the age.
type Row = (Fields<'static>, u32, u32, u64);

const TABLE: &[Row] = &[
    // resident_time alone.
    (&[], 0, 0, 0),
    (&[], 0, 25, 25),
    // response_delay: counted from when the request was sent.
    (&[], 5, 0, 5),
    (&[], 5, 25, 30),
    (&[("age", "0")], 5, 25, 30),
    // corrected_age_value = age_value + response_delay.
    (&[("age", "10")], 0, 0, 10),
    (&[("age", "10")], 0, 25, 35),
    (&[("age", "10")], 5, 25, 40),
    // apparent_age = max(0, response_time - date_value).
    (&[("date", NOW)], 0, 25, 25),
    (&[("date", A_MINUTE_AGO)], 0, 0, 60),
    (&[("date", A_MINUTE_AGO)], 0, 25, 85),
    (&[("date", A_MINUTE_AGO)], 5, 25, 90),
    (&[("date", IN_A_MINUTE)], 0, 25, 25),
    (&[("date", IN_A_MINUTE)], 5, 25, 30),
    (&[("date", NOW)], 5, 0, 5),
    (&[("date", "Sunday, 13-Sep-20 12:25:40 GMT")], 0, 0, 60),
    (&[("date", "Sun Sep 13 12:25:40 2020")], 0, 0, 60),
    // corrected_initial_age = max(apparent_age, corrected_age_value).
    (&[("date", A_MINUTE_AGO), ("age", "10")], 0, 0, 60),
    (&[("date", A_MINUTE_AGO), ("age", "70")], 0, 0, 70),
    (&[("date", A_MINUTE_AGO), ("age", "60")], 5, 25, 90),
    (&[("date", A_MINUTE_AGO), ("age", "57")], 5, 0, 65),
    (&[("date", IN_A_MINUTE), ("age", "10")], 0, 0, 10),
    // RFC 9110 §6.6.1: without a Date that can be read, of when it came.
    (&[("date", "0")], 0, 25, 25),
    (&[("date", "Sun, 13 Sep 2020 12:25:40 CET")], 0, 25, 25),
    (&[("date", A_MINUTE_AGO), ("date", NOW)], 0, 25, 25),
];

#[tokio::test]
async fn the_age_is_the_initial_age_and_the_time_since() {
    for (said, delay, after, age) in TABLE {
        let (mut cache, origin, clock) = cache(plain());
        let mut first = send(&mut cache, get("/"));
        assert_pending!(first.poll());
        clock.advance(*delay * SECOND);
        origin.reply(reply(200, &[&[("cache-control", "max-age=600")], *said].concat(), "one"));
        drop(assert_ready_ok!(first.poll()));
        clock.advance(*after * SECOND);

        let hit = ask(&mut cache, get("/")).await;
        assert_eq!(field(&hit, "age"), age.to_string(), "{said:?} {delay} {after}");
        assert_eq!(status(&hit), format!("hit; ttl={}", 600 - age), "{said:?} {delay} {after}");
    }
}

#[tokio::test]
async fn what_took_longer_than_it_lives_is_stale_when_it_comes() {
    for (max_age, is_fresh) in [("max-age=5", false), ("max-age=6", true)] {
        let (mut cache, origin, clock) = cache(plain());
        let mut first = send(&mut cache, get("/"));
        assert_pending!(first.poll());
        clock.advance(5 * SECOND);
        origin.reply(reply(200, &[("cache-control", max_age)], "one"));
        drop(assert_ready_ok!(first.poll()));
        assert_eq!(send(&mut cache, get("/")).poll().is_ready(), is_fresh, "{max_age}");
    }
}

#[tokio::test]
async fn news_make_a_response_as_old_as_they_are() {
    // §4.2.3: time since it was last validated.
    let table: [(Fields<'_>, u32, u64); 6] = [
        (&[], 0, 0),
        (&[], 3, 3),
        (&[("age", "7")], 3, 10),
        (&[("date", "Sun, 13 Sep 2020 12:27:40 GMT")], 3, 3),
        (&[("date", "Sun, 13 Sep 2020 12:27:35 GMT")], 3, 8),
        (&[("date", NOW)], 3, 63),
    ];
    for (news, after, age) in table {
        let (mut cache, origin, clock) = cache(plain());
        let said = [("cache-control", "max-age=60"), ("etag", "\"a\""), ("age", "9"), ("date", A_MINUTE_AGO)];
        origin.queue([reply(200, &said, "one")]);
        ask(&mut cache, get("/")).await;
        clock.advance(60 * SECOND);
        let confirmed = [&[("etag", "\"a\""), ("cache-control", "max-age=600")], news].concat();
        origin.queue([reply(304, &confirmed, "")]);
        ask(&mut cache, get("/")).await;
        clock.advance(after * SECOND);

        let hit = ask(&mut cache, get("/")).await;
        assert_eq!(field(&hit, "age"), age.to_string(), "{news:?} {after}");
        assert_eq!(status(&hit), format!("hit; ttl={}", 600 - age), "{news:?} {after}");
    }
}
