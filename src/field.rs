//! Reads header fields as HTTP means them: several lines, lists, quoted strings, numbers, dates (RFC 9110 §5).
//!
//! Bytes in, slices of them out. Nothing here knows what a field is for, and nothing here allocates, apart from
//! writing a date.

use std::cell::Cell;
use std::str;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{HeaderMap, HeaderName, HeaderValue, header::CONTENT_LENGTH};

/// The members of a comma-separated field over all its lines, in order.
///
/// Members are trimmed of spaces and tabs, and empty ones are left out (RFC 9110 §5.6.1.2). A comma inside a
/// quoted string is data (§5.6.4). A quote that is never closed holds the rest of its line, and no more.
pub(crate) fn list<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> + use<'a> {
    headers.get_all(name).into_iter().flat_map(|line| members(line.as_bytes(), Backslash::Escapes))
}

/// The members of one line of a comma-separated field: [`list`], for a line that stands alone.
pub(crate) fn members(line: &[u8], backslash: Backslash) -> impl Iterator<Item = &[u8]> {
    Members { rest: line, backslash }
}

/// What a backslash between quotes is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backslash {
    /// It takes the next byte as it is, so `\"` does not close the quotes: quoted strings (RFC 9110 §5.6.4).
    Escapes,
    /// A character like others: entity tags (RFC 9110 §8.8.3).
    Plain,
}

/// The value of a field that may stand once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Singleton<'a> {
    /// There is no such line. An empty line is not absent.
    Absent,
    /// The one value; repeated lines that say the same count as one.
    One(&'a HeaderValue),
    /// Lines that differ. Recipients would pick different ones (RFC 9110 §5.3), so none can be trusted.
    Conflicting,
}

/// Reads a field that may stand once (RFC 9110 §5.5).
pub(crate) fn singleton<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Singleton<'a> {
    let mut lines = headers.get_all(name).into_iter();
    match lines.next() {
        None => Singleton::Absent,
        Some(first) if lines.all(|line| line == first) => Singleton::One(first),
        Some(_) => Singleton::Conflicting,
    }
}

/// The date in a field that may stand once. Absent, conflicting and malformed all give none.
pub(crate) fn single_date(headers: &HeaderMap, name: &HeaderName) -> Option<SystemTime> {
    match singleton(headers, name) {
        Singleton::One(value) => http_date(value.as_bytes()),
        Singleton::Absent | Singleton::Conflicting => None,
    }
}

/// Reads a date in one of the three forms of RFC 9110 §5.6.7: IMF-fixdate, RFC 850 and asctime.
///
/// The letters may be in any case, as RFC 9111 §4.2 asks of a cache; all else is strict: the weekday must be the
/// date's, the zone is `GMT` alone, and nothing may follow. A leap second and a year before 1970 give none. Two
/// digits of a year are 1970 to 2069: without a clock, the "50 years ahead" of §5.6.7 is a fixed pivot.
pub(crate) fn http_date(value: &[u8]) -> Option<SystemTime> {
    let value = trim_ows(value);
    // IMF-fixdate alone is of this length, and most dates are written just so.
    if let Ok(fixdate) = <[u8; LENGTH_OF_IMF_FIXDATE]>::try_from(value) {
        if let Some((last, date)) = LAST_DATE.get()
            && last == fixdate
        {
            return Some(date);
        }
        if let Some(date) = str::from_utf8(value).ok().and_then(|date| httpdate::parse_http_date(date).ok()) {
            LAST_DATE.set(Some((fixdate, date)));
            return Some(date);
        }
    }
    let mut buffer = [0; LONGEST_DATE];
    let date = buffer.get_mut(..value.len())?;
    date.copy_from_slice(value);
    capitalize(date);
    if let [head @ .., b' ', zone_1, zone_2, zone_3] = date
        && [*zone_1, *zone_2, *zone_3] == *b"Gmt"
    {
        // `httpdate` does not look at the byte between the day and the time of day of an RFC 850 date.
        let before_time = head.len().checked_sub(b" 08:49:37".len())?;
        if head[before_time] != b' ' {
            return None;
        }
        (*zone_2, *zone_3) = (b'M', b'T');
    }
    httpdate::parse_http_date(str::from_utf8(date).ok()?).ok()
}

/// Writes a date as IMF-fixdate (RFC 9110 §5.6.7), without its fraction of a second.
///
/// A time that the form can not express becomes the nearest that it can: 1970 begins, 9999 ends.
pub(crate) fn format_http_date(time: SystemTime) -> HeaderValue {
    let since_epoch = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let expressible = UNIX_EPOCH + since_epoch.min(LAST_SECOND_OF_9999);
    HeaderValue::try_from(httpdate::fmt_http_date(expressible))
        .unwrap_or(HeaderValue::from_static("Thu, 01 Jan 1970 00:00:00 GMT"))
}

/// Reads `1*DIGIT`. A number too large is [`u64::MAX`]; a sign, a space, or no digit at all gives none.
pub(crate) fn digits(bytes: &[u8]) -> Option<u64> {
    if bytes.is_empty() {
        return None;
    }
    bytes.iter().try_fold(0_u64, |number, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        Some(number.saturating_mul(10).saturating_add(digit))
    })
}

/// What `Content-Length` says (RFC 9110 §8.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ContentLength {
    /// It is not there.
    Absent,
    /// So many bytes.
    Bytes(u64),
    /// Lines that differ, or that are no number.
    Malformed,
}

pub(crate) fn content_length(headers: &HeaderMap) -> ContentLength {
    match singleton(headers, &CONTENT_LENGTH) {
        Singleton::Absent => ContentLength::Absent,
        Singleton::One(value) => digits(value.as_bytes()).map_or(ContentLength::Malformed, ContentLength::Bytes),
        Singleton::Conflicting => ContentLength::Malformed,
    }
}

/// Whether a byte may stand in a token (RFC 9110 §5.6.2).
pub(crate) fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Without the spaces and tabs around it (RFC 9110 §5.6.3).
pub(crate) fn trim_ows(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

/// Splits a line at the commas outside quotes.
struct Members<'a> {
    rest: &'a [u8],
    backslash: Backslash,
}

impl<'a> Iterator for Members<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        while !self.rest.is_empty() {
            let (member, after) = self.rest.split_at(end_of_member(self.rest, self.backslash));
            self.rest = after.get(1..).unwrap_or_default();
            let member = trim_ows(member);
            if !member.is_empty() {
                return Some(member);
            }
        }
        None
    }
}

/// Where the first comma outside quotes stands, or the length of the line.
fn end_of_member(line: &[u8], backslash: Backslash) -> usize {
    let mut quoted = false;
    let mut escaped = false;
    let end = line.iter().position(|byte| match byte {
        _ if escaped => {
            escaped = false;
            false
        }
        b'\\' => {
            escaped = quoted && backslash == Backslash::Escapes;
            false
        }
        b'"' => {
            quoted = !quoted;
            false
        }
        b',' => !quoted,
        _ => false,
    });
    end.unwrap_or(line.len())
}

/// Makes the first letter of each word upper case and the others lower case, as dates are written.
fn capitalize(date: &mut [u8]) {
    let mut in_word = false;
    for byte in date {
        match in_word {
            true => byte.make_ascii_lowercase(),
            false => byte.make_ascii_uppercase(),
        }
        in_word = byte.is_ascii_alphabetic();
    }
}

const LENGTH_OF_IMF_FIXDATE: usize = "Sun, 06 Nov 1994 08:49:37 GMT".len();

thread_local! {
    /// The last date that was read: an origin says the same one for a second, and each is read several times.
    static LAST_DATE: Cell<Option<([u8; LENGTH_OF_IMF_FIXDATE], SystemTime)>> = const { Cell::new(None) };
}

/// An RFC 850 date on a Wednesday, in bytes.
const LONGEST_DATE: usize = "Wednesday, 09-Nov-94 08:49:37 GMT".len();

/// The last second that four digits of a year can express, since 1970.
const LAST_SECOND_OF_9999: Duration = Duration::from_secs(253_402_300_799);

/// What the tests of this module and of `rfc9111` are written with.
#[cfg(test)]
pub(crate) mod testing {
    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    use http::{HeaderMap, HeaderName, HeaderValue};
    use proptest::prelude::*;

    /// Header lines in order; values are bytes that a `HeaderValue` takes.
    pub(crate) fn headers<V: AsRef<[u8]>>(lines: &[(&str, V)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_bytes(value.as_ref()).unwrap(),
            );
        }
        headers
    }

    /// Milliseconds after Sun, 06 Nov 1994 08:49:37 GMT.
    pub(crate) fn at(millis: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(784_111_777) + Duration::from_millis(millis)
    }

    /// Any bytes that a header value can hold, half of them made of what parsers look for.
    pub(crate) fn any_value() -> impl Strategy<Value = Vec<u8>> {
        let legal: Vec<u8> = (0..=u8::MAX).filter(|byte| HeaderValue::from_bytes(&[*byte]).is_ok()).collect();
        let piece = prop_oneof![
            prop::sample::select(legal).prop_map(|byte| vec![byte]),
            prop::sample::select(vec![
                "\"",
                "\\",
                ",",
                "=",
                "-",
                " ",
                "\t",
                "*",
                "W/",
                "0",
                "60",
                "18446744073709551616",
                "bytes=",
                "max-age=",
                "s-maxage",
                "no-store",
                "private=\"",
                "public",
                "must-understand",
                "Sun, 06 Nov 1994 08:49:37 GMT",
                "Sunday, 06-Nov-94 08:49:37 GMT",
                "Sun Nov  6 08:49:37 1994",
                "GMT",
                "gmt",
                "\"a\"",
            ])
            .prop_map(|piece| piece.as_bytes().to_vec()),
        ];
        prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
    }

    /// Headers with up to three such lines of each of the fields that this crate reads.
    pub(crate) fn any_headers() -> impl Strategy<Value = HeaderMap> {
        const NAMES: [&str; 17] = [
            "age",
            "authorization",
            "cache-control",
            "connection",
            "content-length",
            "date",
            "etag",
            "expires",
            "if-modified-since",
            "if-none-match",
            "if-range",
            "keep-alive",
            "last-modified",
            "range",
            "vary",
            "x-a",
            "set-cookie",
        ];
        let line = (prop::sample::select(NAMES.to_vec()), any_value());
        prop::collection::vec(line, 0..24).prop_map(|lines| headers(&lines))
    }
}

#[cfg(test)]
mod tests {
    use http::header::{CACHE_CONTROL, EXPIRES};
    use proptest::prelude::*;

    use super::testing::{any_headers, any_value, at, headers};
    use super::*;

    #[test]
    fn list_splits_lines_at_commas_outside_quotes() {
        let cases: [(&[&str], &[&str]); 14] = [
            (&[], &[]),
            (&[""], &[]),
            (&[" \t "], &[]),
            (&[",, ,\t,"], &[]),
            (&["a"], &["a"]),
            (&["a,b"], &["a", "b"]),
            (&[" a\t, b ,,c "], &["a", "b", "c"]),
            (&["a", "", "b, c"], &["a", "b", "c"]),
            (&[r#"a="1,2", b"#], &[r#"a="1,2""#, "b"]),
            (&[r#"a="1\",2", b"#], &[r#"a="1\",2""#, "b"]),
            (&[r#"a="1\\", b"#], &[r#"a="1\\""#, "b"]),
            (&[r"a\,b"], &[r"a\", "b"]),
            (&[r#"a="1, b"#, "c"], &[r#"a="1, b"#, "c"]),
            (&[r#"a="1\"#, "c"], &[r#"a="1\"#, "c"]),
        ];
        for (lines, expected) in cases {
            let lines: Vec<_> = lines.iter().map(|line| ("cache-control", line)).collect();
            let headers = headers(&lines);

            let found: Vec<_> = list(&headers, &CACHE_CONTROL).collect();

            let expected: Vec<_> = expected.iter().map(|member| member.as_bytes()).collect();
            assert_eq!(found, expected, "{lines:?}");
        }
    }

    #[test]
    fn a_plain_backslash_does_not_keep_quotes_open() {
        let found: Vec<_> = members(br#""a\", "b""#, Backslash::Plain).collect();

        assert_eq!(found, [br#""a\""#.as_slice(), br#""b""#]);
    }

    #[test]
    fn singleton_trusts_repeated_lines_only_when_they_are_identical() {
        let cases: [(&[&str], Option<Option<&str>>); 6] = [
            (&[], None),
            (&[""], Some(Some(""))),
            (&["a"], Some(Some("a"))),
            (&["a", "a"], Some(Some("a"))),
            (&["a", "A"], Some(None)),
            (&["a", "a", ""], Some(None)),
        ];
        for (lines, expected) in cases {
            let lines: Vec<_> = lines.iter().map(|line| ("expires", line)).collect();
            let headers = headers(&lines);

            let found = match singleton(&headers, &EXPIRES) {
                Singleton::Absent => None,
                Singleton::One(value) => Some(Some(value.to_str().unwrap())),
                Singleton::Conflicting => Some(None),
            };

            assert_eq!(found, expected, "{lines:?}");
        }
    }

    #[test]
    fn http_date_reads_the_three_forms_in_any_case() {
        let cases = [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
            "Sun Nov 06 08:49:37 1994",
            "SUN, 06 nov 1994 08:49:37 gmt",
            "sunday, 06-NOV-94 08:49:37 gMt",
            "sUN nOV  6 08:49:37 1994",
            " \tSun, 06 Nov 1994 08:49:37 GMT\t ",
        ];
        for value in cases {
            assert_eq!(http_date(value.as_bytes()), Some(at(0)), "{value:?}");
        }
    }

    #[test]
    fn http_date_reads_the_ends_of_its_range() {
        let cases = [
            ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
            ("Thursday, 01-Jan-70 00:00:00 GMT", 0),
            ("Wednesday, 09-Nov-94 08:49:37 GMT", 784_370_977),
            ("Thu, 29 Feb 2024 23:59:59 GMT", 1_709_251_199),
            ("Tuesday, 31-Dec-69 23:59:59 GMT", 3_155_759_999),
            ("Fri, 31 Dec 9999 23:59:59 GMT", 253_402_300_799),
        ];
        for (value, seconds) in cases {
            let expected = UNIX_EPOCH + Duration::from_secs(seconds);
            assert_eq!(http_date(value.as_bytes()), Some(expected), "{value:?}");
        }
    }

    #[test]
    fn http_date_refuses_what_is_no_date() {
        let cases: [&[u8]; 32] = [
            b"",
            b"0",
            b"-1",
            b"now",
            b"784111777",
            b"1994-11-06T08:49:37Z",
            b"Sun, 06 Nov 1994 08:49:37",
            b"Sun, 06 Nov 1994 08:49:37 UTC",
            b"Sun, 06 Nov 1994 08:49:37 +0000",
            b"Sun, 06 Nov 1994 08:49:37 EST",
            b"Sun, 06 Nov 1994 08:49:37 GMT x",
            b"Sun, 06 Nov 1994 08:49:37 GMT, Sun, 06 Nov 1994 08:49:37 GMT",
            b"\"Sun, 06 Nov 1994 08:49:37 GMT\"",
            b"Mon, 06 Nov 1994 08:49:37 GMT",
            b"Monday, 06-Nov-94 08:49:37 GMT",
            b"Sunday, 06-Nov-94x08:49:37 GMT",
            b"Sunday, 06-Nov-9408:49:37 GMT",
            b"Sun, 6 Nov 1994 08:49:37 GMT",
            b"Sun, 06 Nov 94 08:49:37 GMT",
            b"Sun, 06-Nov-1994 08:49:37 GMT",
            b"Sun 06 Nov 1994 08:49:37 GMT",
            b"Sun, 06  Nov  1994 08:49:37 GMT",
            b"Sun, 06 Nov 1994 8:49:37 GMT",
            b"Sun, 06 Nov 1994 08.49.37 GMT",
            b"Sun, 06 Nov 1994 24:00:00 GMT",
            b"Sat, 31 Dec 2016 23:59:60 GMT",
            b"Thu, 30 Feb 2023 00:00:00 GMT",
            b"Wed, 31 Dec 1969 23:59:59 GMT",
            b"Sun, 06 Nov 1994 08:49:37 G\xffT",
            b"\xff\xfe",
            b" GMT",
            b"gmt",
        ];
        for value in cases {
            assert_eq!(http_date(value), None, "{:?}", value.escape_ascii().to_string());
        }
    }

    #[test]
    fn format_http_date_writes_the_nearest_expressible_second() {
        let cases = [
            (at(0), "Sun, 06 Nov 1994 08:49:37 GMT"),
            (at(999), "Sun, 06 Nov 1994 08:49:37 GMT"),
            (UNIX_EPOCH, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (UNIX_EPOCH - Duration::from_secs(1), "Thu, 01 Jan 1970 00:00:00 GMT"),
            (UNIX_EPOCH + LAST_SECOND_OF_9999, "Fri, 31 Dec 9999 23:59:59 GMT"),
            (UNIX_EPOCH + LAST_SECOND_OF_9999 + Duration::from_millis(1), "Fri, 31 Dec 9999 23:59:59 GMT"),
            (UNIX_EPOCH + Duration::from_secs(1 << 60), "Fri, 31 Dec 9999 23:59:59 GMT"),
        ];
        for (time, expected) in cases {
            assert_eq!(format_http_date(time), expected, "{time:?}");
        }
    }

    #[test]
    fn digits_reads_numbers_and_nothing_else() {
        let cases: [(&[u8], Option<u64>); 11] = [
            (b"0", Some(0)),
            (b"007", Some(7)),
            (b"18446744073709551615", Some(u64::MAX)),
            (b"18446744073709551616", Some(u64::MAX)),
            (b"99999999999999999999999999999999", Some(u64::MAX)),
            (b"", None),
            (b"+1", None),
            (b"-1", None),
            (b"1 ", None),
            (b"1.0", None),
            (b"\xb2", None),
        ];
        for (bytes, expected) in cases {
            assert_eq!(digits(bytes), expected, "{:?}", bytes.escape_ascii().to_string());
        }
    }

    proptest! {
        #[test]
        fn any_bytes_can_be_read(headers in any_headers(), value in any_value()) {
            for name in headers.keys() {
                for member in list(&headers, name) {
                    prop_assert!(!member.is_empty());
                    prop_assert_eq!(member, trim_ows(member));
                }
                single_date(&headers, name);
            }
            members(&value, Backslash::Plain).count();
            http_date(&value);
        }

        #[test]
        fn a_date_that_was_written_can_be_read(seconds in 0..=LAST_SECOND_OF_9999.as_secs()) {
            let time = UNIX_EPOCH + Duration::from_secs(seconds);

            prop_assert_eq!(http_date(format_http_date(time).as_bytes()), Some(time));
        }

        #[test]
        fn any_time_can_be_written(seconds in 0..=1_u64 << 60, nanos in 0..1_000_000_000_u32) {
            let distance = Duration::new(seconds, nanos);
            format_http_date(UNIX_EPOCH + distance);
            format_http_date(UNIX_EPOCH - distance);
        }
    }
}
