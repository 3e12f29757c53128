//! What a key shows of the request that it was made from: the way back from its text.
//!
//! A function of the key alone, so that requests with one key can not differ in it.

use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::{CacheKey, escape::percent_decode};

/// What follows from a key, but for the path.
#[derive(Debug, Default)]
pub(crate) struct Shown<'a> {
    /// If the request's URI has one.
    pub(crate) scheme: Option<&'a str>,
    pub(crate) authority: Vec<u8>,
    /// The parameters that count, in the order of the key.
    pub(crate) query: Option<Vec<u8>>,
    /// `Host`, and the fields and cookies that are part of the key.
    pub(crate) headers: HeaderMap,
    /// The content is part of the key, and so are the fields that say what it is.
    pub(crate) has_content: bool,
}

impl CacheKey {
    /// What it shows.
    pub(crate) fn shown(&self) -> Shown<'_> {
        // In a component the separator is escaped. The tenant is the cache's own affair, and the method is known.
        let mut components = self.0.split('|').skip(2);
        let authority = components.next().unwrap_or_default();
        let (scheme, authority) = authority.split_once("://").map_or((None, authority), |(a, b)| (Some(a), b));
        let target = components.next().unwrap_or_default();
        let mut shown = Shown {
            scheme,
            authority: percent_decode(authority.as_bytes()),
            // In a path the mark is escaped, too.
            query: target.split_once('?').map(|(_, query)| percent_decode(query.as_bytes())),
            ..Shown::default()
        };
        let mut pieces = Vec::new();
        for component in components {
            match component.split_once(':') {
                Some(("h", field)) => push_lines(&mut shown.headers, field),
                Some(("c", cookie)) => push_pieces(&mut pieces, cookie),
                Some(("b", _)) => shown.has_content = true,
                _ => {}
            }
        }
        insert(&mut shown.headers, header::HOST, &shown.authority);
        // RFC 6265 §5.4: one line.
        insert(&mut shown.headers, header::COOKIE, &pieces.join(&b"; "[..]));
        shown
    }
}

/// Adds a field that has a value and is not there yet.
fn insert(headers: &mut HeaderMap, name: HeaderName, value: &[u8]) {
    if let Ok(value) = HeaderValue::from_bytes(value)
        && !value.is_empty()
    {
        headers.entry(name).or_insert(value);
    }
}

/// The lines in `{field}[={line}]*`.
fn push_lines(headers: &mut HeaderMap, field: &str) {
    let mut texts = field.split('=').map(|text| percent_decode(text.as_bytes()));
    let name = HeaderName::from_bytes(&texts.next().unwrap_or_default());
    let Ok(name) = name else { return };
    for line in texts {
        if let Ok(line) = HeaderValue::from_bytes(&line) {
            headers.append(&name, line);
        }
    }
}

/// The pieces in `{cookie}[={value}|;{piece}]*`, as they stood in a line.
fn push_pieces(pieces: &mut Vec<Vec<u8>>, cookie: &str) {
    let (name, mut rest) = split_at_mark(cookie.as_bytes());
    while let Some((mark, tail)) = rest.split_first() {
        let (text, next) = split_at_mark(tail);
        let text = percent_decode(text);
        pieces.push(if *mark == b'=' { [&percent_decode(name)[..], b"=", &text].concat() } else { text });
        rest = next;
    }
}

fn split_at_mark(text: &[u8]) -> (&[u8], &[u8]) {
    text.split_at(text.iter().position(|byte| matches!(byte, b'=' | b';')).unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use http::{Request, header::ACCEPT};
    use proptest::{collection::vec, prelude::*, sample::select};

    use super::*;
    use crate::{
        field::testing::any_value,
        key::{KeySpec, QueryRule, RequestHead, Tenant},
    };

    type Lines<'a> = &'a [(&'a str, &'a str)];

    fn spec() -> KeySpec {
        KeySpec::new().query(QueryRule::without(["utm_*"])).header(ACCEPT).cookie("lang").cookie("a=;b")
    }

    fn lines(headers: &HeaderMap) -> Vec<(String, Vec<u8>)> {
        headers.iter().map(|(name, value)| (name.to_string(), value.as_bytes().to_vec())).collect()
    }

    #[test]
    fn a_key_shows_the_fields_and_cookies_that_are_part_of_it() {
        let table: [(Lines<'_>, Lines<'_>); 9] = [
            (&[("user-agent", "a"), ("cookie", "session=1"), ("x-forwarded-for", "10.0.0.1")], &[]),
            (&[("host", "Shop.EXAMPLE:80")], &[("host", "shop.example:80")]),
            (&[("accept", "a"), ("accept", "")], &[("accept", "a"), ("accept", "")]),
            (&[("accept", "a=b|%7C~")], &[("accept", "a=b|%7C~")]),
            (&[("x-forwarded-host", "evil")], &[("x-forwarded-host", "evil")]),
            (&[("forwarded", "for=a;host=b, by=c"), ("forwarded", "for=d")], &[("forwarded", "host=b,")]),
            (&[("cookie", "b=1; lang=de;x=2"), ("cookie", "lang=")], &[("cookie", "lang=de; lang=")]),
            (&[("cookie", "lang=a=b; %6Cang=c; lang")], &[("cookie", "lang=a=b; %6Cang=c; lang")]),
            (&[("cookie", " lang =1")], &[("cookie", "lang =1")]),
        ];
        for (sent, expected) in table {
            let mut request = Request::get("/").body(()).unwrap();
            *request.headers_mut() = crate::field::testing::headers(sent);
            let key = spec().key(RequestHead::of(&request), &Tenant::shared()).unwrap();

            assert_eq!(lines(&key.shown().headers), lines(&crate::field::testing::headers(expected)), "{sent:?}");
        }
    }

    #[test]
    fn a_key_shows_the_authority_and_the_query_as_they_count() {
        let table = [
            ("/a", None, "", None),
            ("/a?", None, "", Some("")),
            ("/a%3f?b=2&utm_x=1&a=1?", None, "", Some("a=1?&b=2")),
            ("/a?b=%7c|~", None, "", Some("b=%7c|~")),
            ("HTTP://Shop.example:80/", Some("http"), "shop.example", None),
        ];
        for (uri, scheme, authority, query) in table {
            let request = Request::get(uri).body(()).unwrap();
            let key = spec().key(RequestHead::of(&request), &Tenant::named("a|b")).unwrap();
            let shown = key.shown();

            assert_eq!(shown.scheme, scheme, "{uri}");
            assert_eq!(shown.authority, authority.as_bytes(), "{uri}");
            assert_eq!(shown.query.as_deref(), query.map(str::as_bytes), "{uri}");
            assert!(!shown.has_content);
        }
    }

    proptest! {
        #[test]
        fn what_a_key_shows_has_that_key(
            fields in vec((select(vec!["accept", "cookie", "forwarded", "x-host", "host", "x-other"]), any_value()), 0..5),
            query in "[ab=&%;+u]{0,9}",
        ) {
            let mut request = Request::get(format!("/?{query}")).body(()).unwrap();
            // In a line that is not ASCII no cookie is certain; once it is shown apart, it is.
            let fields: Vec<_> =
                fields.into_iter().filter(|(name, value)| *name != "cookie" || value.is_ascii()).collect();
            *request.headers_mut() = crate::field::testing::headers(&fields);
            let spec = KeySpec::new().header(ACCEPT).cookie("a");
            if let Some(key) = spec.key(RequestHead::of(&request), &Tenant::shared()) {
                let shown = key.shown();
                let mut again = Request::new(());
                let query = String::from_utf8(shown.query.unwrap()).unwrap();
                *again.uri_mut() = format!("/?{query}").parse().unwrap();
                *again.headers_mut() = shown.headers;

                prop_assert_eq!(spec.key(RequestHead::of(&again), &Tenant::shared()), Some(key));
            }
        }
    }
}
