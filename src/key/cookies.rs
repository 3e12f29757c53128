//! Cookies that are part of a key (RFC 6265 §5.4), told apart wherever parsers could read them differently.

use http::{HeaderMap, HeaderValue, header::COOKIE};

use super::{KeyError, escape, within_limit};

/// Appends `|c:name`, and what the request says about the cookie `name`, in the order in which it does:
/// `=value` for a plain `name=value`, `;piece` for a piece that only some parsers take for this cookie.
///
/// A piece never has a `;`, so that neither form passes for the other.
pub(super) fn push(out: &mut String, name: &str, headers: &HeaderMap) -> Result<(), KeyError> {
    out.push_str("|c:");
    escape::push(out, name.as_bytes(), is_mark);
    for reading in readings(name, headers) {
        let (mark, text) = match reading {
            Reading::Value(value) => ('=', value),
            Reading::Unclear(piece) => (';', piece),
        };
        within_limit(out.len() + text.len())?;
        out.push(mark);
        escape::push(out, text, is_mark);
    }
    Ok(())
}

/// The value of the cookie `name`, if all parsers find this one and no other. Not if it is empty.
pub(super) fn only_value<'a>(name: &str, headers: &'a HeaderMap) -> Option<&'a [u8]> {
    let mut readings = readings(name, headers);
    match (readings.next(), readings.next()) {
        (Some(Reading::Value(value)), None) if !value.is_empty() => Some(value),
        _ => None,
    }
}

/// What a piece of `Cookie` says about a cookie.
enum Reading<'a> {
    Value(&'a [u8]),
    /// Only some parsers take the piece for this cookie.
    Unclear(&'a [u8]),
}

/// What a request says about the cookie `name`, in its order.
///
/// Unclear is a name without `=`, with blanks around it or with escapes in it, and any piece of a line that is
/// not ASCII. If they were left out of the key, a sender could make the origin see a cookie that the key does
/// not show.
fn readings<'a>(name: &str, headers: &'a HeaderMap) -> impl Iterator<Item = Reading<'a>> {
    headers.get_all(COOKIE).into_iter().flat_map(pieces).filter_map(move |(piece, readable)| {
        let (piece_name, value) = split_once(piece, b'=');
        match value {
            Some(value) if readable && piece_name == name.as_bytes() => Some(Reading::Value(value)),
            _ if may_be_read_as(piece_name, name) => Some(Reading::Unclear(piece)),
            _ => None,
        }
    })
}

const fn is_mark(byte: u8) -> bool {
    matches!(byte, b'=' | b';')
}

/// The pieces of a line, without the blanks around them, each with whether all parsers read the line.
fn pieces(line: &HeaderValue) -> impl Iterator<Item = (&[u8], bool)> {
    let readable = line.as_bytes().is_ascii();
    line.as_bytes().split(|&byte| byte == b';').map(move |piece| (piece.trim_ascii(), readable))
}

fn may_be_read_as(piece_name: &[u8], name: &str) -> bool {
    let trimmed = piece_name.trim_ascii();
    trimmed == name.as_bytes() || (trimmed.contains(&b'%') && escape::percent_decode(trimmed) == name.as_bytes())
}

fn split_once(piece: &[u8], separator: u8) -> (&[u8], Option<&[u8]>) {
    let mut parts = piece.splitn(2, |&byte| byte == separator);
    (parts.next().unwrap_or_default(), parts.next())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::MAX_BYTES;

    fn cookies(name: &str, lines: &[&[u8]]) -> String {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(COOKIE, HeaderValue::from_bytes(line).unwrap());
        }
        let mut out = String::new();
        push(&mut out, name, &headers).unwrap();
        out
    }

    #[test]
    fn all_values_of_a_cookie_are_kept_in_order() {
        for (lines, expected) in [
            (&[] as &[&[u8]], "|c:a"),
            (&[b""], "|c:a"),
            (&[b"b=1"], "|c:a"),
            (&[b"A=1; aa=2"], "|c:a"),
            (&[b"a="], "|c:a="),
            (&[b"a=1"], "|c:a=1"),
            (&[b"b=2;\ta=1 ;c=3"], "|c:a=1"),
            (&[b"a=1; a=2"], "|c:a=1=2"),
            (&[b"a=2", b"b=1; a=1"], "|c:a=2=1"),
            (&[b"a=x=y"], "|c:a=x%3Dy"),
            (&[b"a=x|c:b"], "|c:a=x%7Cc:b"),
        ] {
            assert_eq!(cookies("a", lines), expected, "{lines:?}");
        }
    }

    #[test]
    fn a_cookie_that_parsers_read_differently_is_no_plain_value_and_not_absent() {
        for (line, expected) in [
            (&b"a"[..], "|c:a;a"),
            (b"a =1", "|c:a;a%20%3D1"),
            (b"%61=1", "|c:a;%2561%3D1"),
            (b"a=1; b=\xff", "|c:a;a%3D1"),
            (b"a=1; a", "|c:a=1;a"),
            (b"a= 1", "|c:a=%201"),
            (b"%6=1; %zz=1", "|c:a"),
        ] {
            assert_eq!(cookies("a", &[line]), expected, "{line:?}");
        }
    }

    #[test]
    fn cookies_over_the_limit_of_a_key_are_refused() {
        let mut headers = HeaderMap::new();
        headers.insert(COOKIE, HeaderValue::from_str(&format!("a={}", "x".repeat(MAX_BYTES))).unwrap());

        assert_eq!(push(&mut String::new(), "a", &headers), Err(KeyError::TooLong));
        assert_eq!(push(&mut String::new(), "b", &headers), Ok(()));
    }
}
