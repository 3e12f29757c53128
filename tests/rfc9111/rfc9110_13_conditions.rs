//! RFC 9110 §13: in which order do conditions count, and which are none?

use crate::{
    common::text,
    exchange::{A_MINUTE_AGO, Fields, NOW, TEN_HOURS_AGO, given},
};

const STORED: [(&str, &str); 4] =
    [("cache-control", "max-age=60"), ("etag", "\"a\""), ("last-modified", A_MINUTE_AGO), ("date", NOW)];

/// What is asked, the status of the answer from the store, and its content.
const TABLE: &[(Fields<'_>, u16, &str)] = &[
    // §13.2.2: If-None-Match, and not If-Modified-Since next to it.
    (&[("if-none-match", "\"a\""), ("if-modified-since", TEN_HOURS_AGO)], 304, ""),
    (&[("if-none-match", "\"b\""), ("if-modified-since", NOW)], 200, "one"),
    // §13.2.2: then If-Range, and only next to Range.
    (&[("if-none-match", "\"a\""), ("range", "bytes=0-1"), ("if-range", "\"a\"")], 304, ""),
    (&[("if-none-match", "\"b\""), ("range", "bytes=0-1"), ("if-range", "\"a\"")], 206, "on"),
    (&[("if-none-match", "\"b\""), ("range", "bytes=0-1"), ("if-range", "\"b\"")], 200, "one"),
    (&[("if-modified-since", NOW), ("range", "bytes=0-1")], 304, ""),
    (&[("if-modified-since", TEN_HOURS_AGO), ("range", "bytes=0-1")], 206, "on"),
    (&[("if-modified-since", TEN_HOURS_AGO), ("range", "bytes=9-")], 416, ""),
    (&[("if-none-match", "\"a\""), ("range", "bytes=9-")], 304, ""),
    // §13.1.5: If-Range by strong comparison.
    (&[("range", "bytes=0-1"), ("if-range", "\"a\"")], 206, "on"),
    (&[("range", "bytes=0-1"), ("if-range", "W/\"a\"")], 200, "one"),
    (&[("range", "bytes=0-1"), ("if-range", "\"b\"")], 200, "one"),
    (&[("range", "bytes=0-1"), ("if-range", "\"a\", \"b\"")], 200, "one"),
    (&[("range", "bytes=0-1"), ("if-range", "*")], 200, "one"),
    (&[("range", "bytes=0-1"), ("if-range", "a")], 200, "one"),
    (&[("range", "bytes=0-1"), ("if-range", "")], 200, "one"),
    (&[("range", "bytes=9-"), ("if-range", "\"b\"")], 200, "one"),
    (&[("range", "bytes=9-"), ("if-range", "\"a\"")], 416, ""),
    // §13.1.5: a date is the last modification exactly.
    (&[("range", "bytes=0-1"), ("if-range", A_MINUTE_AGO)], 206, "on"),
    (&[("range", "bytes=0-1"), ("if-range", "Sunday, 13-Sep-20 12:25:40 GMT")], 206, "on"),
    (&[("range", "bytes=0-1"), ("if-range", NOW)], 200, "one"),
    (&[("range", "bytes=0-1"), ("if-range", TEN_HOURS_AGO)], 200, "one"),
    (&[("range", "bytes=0-1"), ("if-range", "0")], 200, "one"),
    // §13.1.5: without Range it is ignored.
    (&[("if-range", "\"a\"")], 200, "one"),
    (&[("if-range", "\"b\"")], 200, "one"),
    (&[("if-range", A_MINUTE_AGO)], 200, "one"),
];

#[tokio::test]
async fn conditions_count_in_their_order() {
    for (asked, code, content) in TABLE {
        let answer = given(200, &STORED).then("GET", asked).answer().await.unwrap();
        assert_eq!(answer.status(), *code, "{asked:?}");
        assert_eq!(text(answer).await.unwrap(), *content, "{asked:?}");
    }
}

#[tokio::test]
async fn a_weak_validator_is_none_for_if_range() {
    // §8.8.2.2: a modification in the second of the Date is weak. §8.8.3: so is a weak tag.
    let table: [(Fields<'_>, &str); 4] = [
        (&[("last-modified", NOW), ("date", NOW)], NOW),
        (&[("last-modified", NOW), ("date", A_MINUTE_AGO)], NOW),
        (&[("etag", "W/\"a\"")], "W/\"a\""),
        (&[("etag", "W/\"a\"")], "\"a\""),
    ];
    for (stored, validator) in table {
        let said = [&[("cache-control", "max-age=600")], stored].concat();
        let asked = [("range", "bytes=0-1"), ("if-range", validator)];
        let answer = given(200, &said).then("GET", &asked).answer().await.unwrap();
        assert_eq!(answer.status(), 200, "{stored:?} {validator}");
    }
}

#[tokio::test]
async fn if_modified_since_is_compared_with_the_date_where_there_is_no_last_modified() {
    // RFC 9111 §4.3.2.
    let table: [(Fields<'_>, &str); 4] =
        [(&[("date", NOW)], NOW), (&[("date", A_MINUTE_AGO)], NOW), (&[], NOW), (&[("etag", "\"a\"")], NOW)];
    for (stored, since) in table {
        let said = [&[("cache-control", "max-age=600")], stored].concat();
        let answer = given(200, &said).then("GET", &[("if-modified-since", since)]).answer().await.unwrap();
        assert_eq!(answer.status(), 304, "{stored:?} {since}");
    }
}
