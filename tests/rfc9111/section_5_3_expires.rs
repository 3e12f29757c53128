//! RFC 9111 §5.3: what does `Expires` say?

use crate::exchange::{IN_A_MINUTE, NOW, given};

/// The lines of `Expires`, and the seconds for which a response with them is fresh.
const TABLE: &[(&[&str], u64)] = &[
    // RFC 9110 §5.6.7: all three forms are accepted.
    (&[IN_A_MINUTE], 60),
    (&["Sunday, 13-Sep-20 12:27:40 GMT"], 60),
    (&["Sun Sep 13 12:27:40 2020"], 60),
    (&["Sun, 06 Sep 2020 12:26:40 GMT"], 0),
    (&["Sun Sep  6 12:26:40 2020"], 0),
    (&["Thu Oct  1 12:26:40 2020"], 1_555_200),
    (&[" Sun, 13 Sep 2020 12:27:40 GMT\t"], 60),
    (&["Sun, 20 Sep 2020 00:00:00 GMT"], 560_000),
    (&["Sunday, 20-Sep-20 00:00:00 GMT"], 560_000),
    // §4.2: in any case.
    (&["sun, 13 sep 2020 12:27:40 gmt"], 60),
    (&["SUN, 13 SEP 2020 12:27:40 GMT"], 60),
    (&["sUNDAY, 13-sEP-20 12:27:40 Gmt"], 60),
    (&["SUN SEP 13 12:27:40 2020"], 60),
    // RFC 9110 §5.6.7: two digits of a year are of the past if they would be more than 50 years ahead.
    (&["Sunday, 06-Nov-94 08:49:37 GMT"], 0),
    (&["Friday, 13-Sep-30 12:26:40 GMT"], 315_532_800),
    (&["Tuesday, 31-Dec-69 23:59:59 GMT"], 1_555_759_999),
    // §5.3: what is no date lies in the past, "0" before all.
    (&["0"], 0),
    (&["-1"], 0),
    (&[""], 0),
    (&["60"], 0),
    (&["1600000060"], 0),
    (&["now"], 0),
    (&["never"], 0),
    (&["2020-09-13T12:27:40Z"], 0),
    (&["13 Sep 2020 12:27:40 GMT"], 0),
    (&["Sun, 13 Sep 2020 12:27:40"], 0),
    (&["Sun, 13 Sep 2020 GMT"], 0),
    (&["Sun, 13 Sep 20 12:27:40 GMT"], 0),
    (&["Sun, 13-Sep-2020 12:27:40 GMT"], 0),
    (&["Sun 13 Sep 2020 12:27:40 GMT"], 0),
    (&["Sun, 13 Sep 2020 12.27.40 GMT"], 0),
    (&["Sun, 13 Sep 2020 25:27:40 GMT"], 0),
    (&["Sun, 13 Sep 2020 12:60:40 GMT"], 0),
    (&["Sun, 31 Sep 2020 12:27:40 GMT"], 0),
    (&["Sun, 13 Foo 2020 12:27:40 GMT"], 0),
    (&["\"Sun, 13 Sep 2020 12:27:40 GMT\""], 0),
    (&["Sun, 13 Sep 2020 12:27:40 GMT; x"], 0),
    (&["Sun, 13 Sep 2020 12:27:40 GMT, Sun, 13 Sep 2020 12:27:40 GMT"], 0),
    (&["0, Sun, 13 Sep 2020 12:27:40 GMT"], 0),
    // §4.2: no other zone than GMT.
    (&["Sun, 13 Sep 2020 12:27:40 UTC"], 0),
    (&["Sun, 13 Sep 2020 12:27:40 UT"], 0),
    (&["Sun, 13 Sep 2020 12:27:40 Z"], 0),
    (&["Sun, 13 Sep 2020 12:27:40 EST"], 0),
    (&["Sun, 13 Sep 2020 14:27:40 CEST"], 0),
    (&["Sun, 13 Sep 2020 14:27:40 +0200"], 0),
    (&["Sun, 13 Sep 2020 12:27:40 +0000"], 0),
    (&["Sunday, 13-Sep-20 12:27:40 PST"], 0),
    // §4.2.1: several that differ.
    (&[IN_A_MINUTE, NOW], 0),
    (&[NOW, IN_A_MINUTE], 0),
    (&[IN_A_MINUTE, "x"], 0),
    (&[IN_A_MINUTE, IN_A_MINUTE], 60),
    // §5.3, §1.2.2: as far away as can be.
    (&["Fri, 31 Dec 9999 23:59:59 GMT"], 1 << 31),
    (&["Tue, 19 Jan 2038 03:14:08 GMT"], 547_483_648),
    (&["Sun, 07 Feb 2106 06:28:16 GMT"], 1 << 31),
    // Long ago.
    (&["Thu, 01 Jan 1970 00:00:00 GMT"], 0),
    (&["Mon, 01 Jan 1900 00:00:00 GMT"], 0),
];

#[tokio::test]
async fn a_response_is_fresh_until_it_expires() {
    for (lines, seconds) in TABLE {
        for date in [&[][..], &[("date", NOW)]] {
            let mut said = date.to_vec();
            said.extend(lines.iter().map(|line| ("expires", *line)));
            assert!(given(200, &said).lasts(*seconds).await, "{said:?} is not fresh for {seconds} s");
        }
    }
}

#[tokio::test]
async fn max_age_and_s_maxage_make_it_say_nothing() {
    for (lines, _) in TABLE {
        for directive in ["max-age=30", "s-maxage=30", "max-age=\"30\", public"] {
            let mut said = vec![("cache-control", directive)];
            said.extend(lines.iter().map(|line| ("expires", *line)));
            assert!(given(200, &said).lasts(30).await, "{said:?} is not fresh for 30 s");
        }
    }
}
