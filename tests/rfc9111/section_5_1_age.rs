//! RFC 9111 §5.1: what does the `Age` of a response say?

use crate::{
    common::{ask, cache, field, get, reply},
    exchange::{Fields, given, plain},
};

/// The lines of `Age`, and the seconds that they mean.
const TABLE: &[(&[&str], u64)] = &[
    (&["0"], 0),
    (&["30"], 30),
    (&["030"], 30),
    (&[" 30\t"], 30),
    // §5.1: of a list the first member is used.
    (&["30, 0"], 30),
    (&["0, 30"], 0),
    (&["30,0,40"], 30),
    (&["30", "0"], 30),
    (&["0", "30"], 0),
    (&["30, x"], 30),
    (&["30", "x"], 30),
    // §5.1: what is no non-negative integer is ignored.
    (&[""], 0),
    (&["x"], 0),
    (&["-30"], 0),
    (&["+30"], 0),
    (&["30.0"], 0),
    (&["30.5"], 0),
    (&["3e1"], 0),
    (&["30s"], 0),
    (&["s30"], 0),
    (&["30;a=1"], 0),
    (&["3 0"], 0),
    (&["\"30\""], 0),
    (&["0x30"], 0),
    (&["x, 30"], 0),
    (&["-30, 30"], 0),
    (&["x", "30"], 0),
    // §1.2.2: what is too large is 2^31.
    (&["2147483647"], (1 << 31) - 1),
    (&["2147483648"], 1 << 31),
    (&["4294967296"], 1 << 31),
    (&["99999999999999999999999999"], 1 << 31),
];

#[tokio::test]
async fn the_first_age_counts_if_it_is_a_number() {
    for (lines, age) in TABLE {
        // Stale by its age, or not by so much as a second.
        let limit = format!("max-age={age}");
        let more = format!("max-age={}", (age + 1).min(1 << 31));
        for (said, is_fresh) in [(&limit, false), (&more, *age < 1 << 31)] {
            let mut fields = vec![("cache-control", said.as_str())];
            fields.extend(lines.iter().map(|line| ("age", *line)));
            let answer = given(200, &fields).answer().await;
            let shown = answer.as_ref().map(|answer| field(answer, "age").to_owned());
            assert_eq!(shown, is_fresh.then(|| age.to_string()), "{lines:?} {said}");
        }
    }
}

#[tokio::test]
async fn the_age_of_a_forwarded_response_is_left_as_the_origin_sent_it() {
    let table: [(Fields<'_>, &[&str]); 3] =
        [(&[], &[]), (&[("age", "7")], &["7"]), (&[("age", "7"), ("age", "8")], &["7", "8"])];
    for (said, expected) in table {
        let (mut cache, origin, _) = cache(plain());
        origin.queue([reply(200, &[&[("cache-control", "max-age=60")], said].concat(), "one")]);
        let answer = ask(&mut cache, get("/")).await;
        let ages: Vec<_> = answer.headers().get_all("age").iter().collect();
        assert_eq!(ages, expected, "{said:?}");
    }
}
