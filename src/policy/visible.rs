//! What the origin sees of a request, where the operator wants it to see only what is in the key.

use std::mem;

use http::{
    HeaderMap, HeaderName, HeaderValue, Request, Uri, Version, header,
    uri::{Authority, Parts, PathAndQuery, Scheme},
};
use http_body::Body;

use super::{BypassReason, Credentials, Policy};
use crate::{
    field::is_token_byte,
    key::{CacheKey, Shown},
};

impl Policy {
    /// Hides from the origin all that is not in the key, so that no response that is stored or shared can depend on it:
    /// the cure for cache poisoning. Default: the origin sees the whole request.
    ///
    /// It sees the path; the authority; the parameters that the [`QueryRule`](crate::QueryRule) keeps, in the order of
    /// the key; the fields and cookies that the [`KeySpec`](crate::KeySpec) names; the fields that override the target
    /// (`X-Forwarded-Host` and its like, of `Forwarded` only `host` and `proto`); the field or cookie that the
    /// [`Principal`](crate::Principal) is made of, or all credentials if a function says who asks; content that
    /// [`content`](Self::content) puts into the key, with the fields that describe it. A HEAD is a GET to it, the
    /// version is HTTP/1.1. Besides, it sees what is declared irrelevant: with [`irrelevant_field`](Self::irrelevant_field)
    /// and, if they are well-formed (RFC 6265 §4.1.1), [`ignore_cookie`](Self::ignore_cookie) and
    /// [`ignore_cookies`](Self::ignore_cookies).
    ///
    /// `Vary` chooses by what the origin sees. What the origin is to negotiate by belongs into the key, or is declared
    /// irrelevant but for `Vary`. What names the tenant is hidden, too, unless it is in one of these.
    ///
    /// Forwarded whole, and neither answered from the store nor stored: requests with `Authorization`, or with a cookie
    /// that matters, that are not in the key; a GET with content; what else bypasses the cache. `Range` and conditions
    /// are seen only by an origin whose answer nobody else gets. The extensions of a request are not touched: they are
    /// what the layers outside have put there, as the client's address, or the original URI with its whole query.
    ///
    /// ```
    /// use http::header::ACCEPT_LANGUAGE;
    /// use microcache::{KeySpec, Policy, QueryRule};
    ///
    /// let policy = Policy::new()
    ///     .key(KeySpec::new().query(QueryRule::only(["page"])).header(ACCEPT_LANGUAGE))
    ///     .only_keyed_input()
    ///     .irrelevant_field(http::HeaderName::from_static("traceparent"));
    /// # assert!(format!("{policy:?}").contains("traceparent"));
    /// ```
    #[doc(alias = "cache poisoning")]
    #[doc(alias = "unkeyed input")]
    pub fn only_keyed_input(mut self) -> Self {
        self.only_keyed_input = true;
        self
    }

    /// Declares that this request field does not change what the origin answers, unless the `Vary` of the answer names
    /// it: the origin sees it in spite of [`only_keyed_input`](Self::only_keyed_input). For a request id, `traceparent`,
    /// `User-Agent`; for `Accept-Encoding`, if the origin always says `Vary`.
    ///
    /// The lines are those of whoever is forwarded. Without `only_keyed_input` the origin sees them anyway.
    pub fn irrelevant_field(mut self, name: HeaderName) -> Self {
        if !self.irrelevant_fields.contains(&name) {
            self.irrelevant_fields.push(name);
        }
        self
    }

    /// Whether a request carries credentials that its key does not have. To hide them would be to log their sender out.
    pub(super) fn has_unkeyed_credentials(&self, credentials: Credentials) -> bool {
        let is_hidden = |name| !self.key.keys_field(&name) && !self.irrelevant_fields.contains(&name);
        (credentials.authorization && is_hidden(header::AUTHORIZATION))
            || (credentials.cookie && is_hidden(header::COOKIE))
    }

    /// Leaves of a request what the origin may see, if the policy hides anything. `is_plain`: it asks for the whole,
    /// without conditions; of another, the cache itself takes these away where the answer is for more than one.
    pub(crate) fn hide<B: Body>(
        &self,
        request: &mut Request<B>,
        key: &CacheKey,
        is_plain: bool,
    ) -> Result<(), BypassReason> {
        if !self.only_keyed_input {
            return Ok(());
        }
        let mut shown = key.shown();
        // No request that was parsed has another: it only lost some of its query.
        let uri = uri(request.uri().path(), &shown).ok_or(BypassReason::Authority)?;
        let sent = request.headers();
        let mut headers = mem::take(&mut shown.headers);
        self.show_cookies(&mut headers, sent);
        if !is_plain {
            show(&mut headers, sent, &ASKED_OF_THE_RESPONSE);
        }
        if shown.has_content {
            show(&mut headers, sent, &OF_CONTENT);
            // Of the content that is in the key, however it came.
            if let Some(length) = request.body().size_hint().exact() {
                headers.insert(header::CONTENT_LENGTH, length.into());
            }
        }
        show(&mut headers, sent, &self.irrelevant_fields);
        show(&mut headers, sent, self.key.principal_field().as_slice());
        let irrelevant: Vec<_> = sent.keys().filter(|name| self.key.is_irrelevant_override(name)).cloned().collect();
        show(&mut headers, sent, &irrelevant);
        *request.headers_mut() = headers;
        *request.uri_mut() = uri;
        *request.version_mut() = Version::HTTP_11;
        Ok(())
    }
}

/// Adds all lines of these fields, unless they are there from the key.
fn show(headers: &mut HeaderMap, sent: &HeaderMap, names: &[HeaderName]) {
    for name in names.iter().filter(|name| sent.contains_key(*name)) {
        if !headers.contains_key(name) {
            headers.extend(sent.get_all(name).iter().map(|line| (name.clone(), line.clone())));
        }
    }
}

impl Policy {
    /// Adds those that are irrelevant, or say who asks, after those that are there, in the same line (RFC 6265 §5.4).
    fn show_cookies(&self, headers: &mut HeaderMap, sent: &HeaderMap) {
        if !sent.contains_key(header::COOKIE) {
            return;
        }
        let keyed: Vec<&[u8]> = pieces(headers).collect();
        let irrelevant = pieces(sent).filter(|piece| !keyed.contains(piece) && self.may_show(piece));
        let all: Vec<&[u8]> = keyed.iter().copied().chain(irrelevant).collect();
        if all.len() > keyed.len()
            && let Ok(line) = HeaderValue::from_bytes(&all.join(&b"; "[..]))
        {
            headers.insert(header::COOKIE, line);
        }
    }

    /// What is not well-formed (RFC 6265 §4.1.1) could hide from a parser the cookies that are in the key.
    fn may_show(&self, piece: &[u8]) -> bool {
        let Some(end) = piece.iter().position(|byte| *byte == b'=') else { return false };
        let (name, value) = piece.split_at(end);
        let is_octet = |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b',' | b';' | b'\\');
        (self.cookies.none_matters || self.cookies.is_irrelevant(name) || self.key.is_of_principal(name))
            && !name.is_empty()
            && name.iter().copied().all(is_token_byte)
            && value.iter().all(is_octet)
    }
}

/// The pieces of all lines of cookies, without the blanks around them.
fn pieces(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let lines = headers.get_all(header::COOKIE).into_iter();
    lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b';')).map(<[u8]>::trim_ascii)
}

/// The path as it is, with what the key has of the rest.
fn uri(path: &str, shown: &Shown<'_>) -> Option<Uri> {
    let mut target = path.as_bytes().to_vec();
    if let Some(query) = &shown.query {
        target.push(b'?');
        target.extend_from_slice(query);
    }
    let mut parts = Parts::default();
    parts.path_and_query = Some(PathAndQuery::try_from(target.as_slice()).ok()?);
    if let Some(scheme) = shown.scheme {
        parts.scheme = Some(Scheme::try_from(scheme).ok()?);
        parts.authority = Some(Authority::try_from(shown.authority.as_slice()).ok()?);
    }
    Uri::from_parts(parts).ok()
}

/// Fields that ask for a part of the response, or only for news (RFC 9110 §13.1, §14.2).
static ASKED_OF_THE_RESPONSE: [HeaderName; 4] =
    [header::IF_MODIFIED_SINCE, header::IF_NONE_MATCH, header::IF_RANGE, header::RANGE];

/// Fields that are part of the content's digest.
static OF_CONTENT: [HeaderName; 3] = [header::CONTENT_ENCODING, header::CONTENT_LANGUAGE, header::CONTENT_TYPE];

#[cfg(test)]
mod tests {
    use http_body_util::{Empty, Full};

    use super::*;
    use crate::{
        field::testing::headers,
        key::{KeySpec, OverrideRule, Principal, QueryRule, RequestHead, Tenant},
        policy::Admission,
    };

    type Lines<'a> = &'a [(&'a str, &'a str)];

    fn policy() -> Policy {
        Policy::new()
            .key(KeySpec::new().query(QueryRule::without(["utm_*"])).header(header::ACCEPT).cookie("lang"))
            .ignore_cookie("_ga*")
            .irrelevant_field(header::USER_AGENT)
            .only_keyed_input()
    }

    /// What the origin sees of a GET.
    fn seen(policy: &Policy, uri: &str, lines: Lines<'_>, is_plain: bool) -> (String, HeaderMap) {
        let mut request = Request::get(uri).version(Version::HTTP_10).body(Empty::<&[u8]>::new()).unwrap();
        *request.headers_mut() = headers(lines);
        let key = policy.key.key(RequestHead::of(&request), &Tenant::shared()).unwrap();
        policy.hide(&mut request, &key, is_plain).unwrap();
        (request.uri().to_string(), request.headers().clone())
    }

    fn assert_seen(policy: &Policy, sent: Lines<'_>, is_plain: bool, expected: Lines<'_>) {
        let (_, found) = seen(policy, "/", sent, is_plain);
        assert!(found.iter().eq(headers(expected).iter()), "{sent:?} with {is_plain}: {found:?}");
    }

    #[test]
    fn the_origin_sees_the_uri_as_the_key_has_it() {
        let table = [
            ("/", "/"),
            ("/a%2Fb/../?", "/a%2Fb/../?"),
            ("/a?b=2&utm_source=x&a=1", "/a?a=1&b=2"),
            ("/a?utm_source=x", "/a"),
            ("http://SHOP.example:80/a?b", "http://shop.example/a?b"),
            ("*", "*"),
        ];
        for (sent, expected) in table {
            assert_eq!(seen(&policy(), sent, &[], true).0, expected, "{sent}");
        }
        let normalized = Policy::new().key(KeySpec::new().query(QueryRule::keep().normalized())).only_keyed_input();
        assert_eq!(seen(&normalized, "/?b=%7e&a=+", &[], true).0, "/?a=+&b=%7E");
    }

    #[test]
    fn the_origin_sees_the_fields_that_are_keyed_or_irrelevant() {
        let table: [(Lines<'_>, Lines<'_>); 6] = [
            (&[("x-forwarded-for", "10.0.0.1"), ("via", "1.1 a"), ("te", "trailers"), ("content-length", "0")], &[]),
            (&[("cache-control", "no-cache"), ("accept-language", "de")], &[]),
            (
                &[("user-agent", "a"), ("x-own", "b"), ("accept", "c"), ("user-agent", "d"), ("host", "E")],
                &[("accept", "c"), ("host", "e"), ("user-agent", "a"), ("user-agent", "d")],
            ),
            (&[("x-original-url", "/evil"), ("x-original-query", "evil")], &[("x-original-url", "/evil")]),
            (&[("forwarded", "for=a;proto=https")], &[("forwarded", "proto=https")]),
            (&[("range", "bytes=0-1"), ("if-none-match", "\"a\"")], &[]),
        ];
        for (sent, expected) in table {
            assert_seen(&policy(), sent, true, expected);
        }
        let asks: Lines<'_> = &[("if-none-match", "\"a\""), ("if-range", "\"a\""), ("range", "bytes=0-1")];
        assert_seen(&policy(), asks, false, asks);
    }

    #[test]
    fn the_origin_sees_keyed_cookies_first_and_irrelevant_ones_if_they_are_well_formed() {
        let table: [(&str, Lines<'_>); 8] = [
            ("_ga=1; lang=de; _gat=", &[("cookie", "lang=de; _ga=1; _gat=")]),
            ("_ga=1", &[("cookie", "_ga=1")]),
            ("=1; ;lang=de;", &[("cookie", "lang=de")]),
            ("_ga=\u{e9}; lang=de", &[("cookie", "lang=de")]),
            ("_ga=\"a; lang=de", &[("cookie", "lang=de")]),
            ("_ga[]=a; _ga; lang=de", &[("cookie", "lang=de")]),
            ("_ga=1; lang=de; lang=en; _ga=1", &[("cookie", "lang=de; lang=en; _ga=1; _ga=1")]),
            ("_ga =1", &[]),
        ];
        for (sent, expected) in table {
            // A line that is not ASCII is one of its own: else it says nothing certain of the keyed cookie.
            let lines: Vec<_> = sent.split_inclusive("\u{e9};").map(|line| ("cookie", line)).collect();
            assert_seen(&policy(), &lines, true, expected);
        }
        assert_seen(
            &policy().ignore_cookies(),
            &[("cookie", "session=1"), ("cookie", "%6Cang=x; lang=de; b=2")],
            true,
            &[("cookie", "%6Cang=x; lang=de; session=1; b=2")],
        );
    }

    #[test]
    fn the_origin_sees_what_says_who_asks() {
        let sent: Lines<'_> = &[("authorization", "a"), ("cookie", "x=1; sid=7"), ("x-user", "u"), ("via", "1.1 a")];
        let with = |principal| Policy::new().key(KeySpec::new().principal(principal)).only_keyed_input();
        let table: [(Principal, Lines<'_>); 4] = [
            (Principal::header(header::AUTHORIZATION), &[("authorization", "a")]),
            (Principal::header(HeaderName::from_static("x-user")), &[("x-user", "u")]),
            (Principal::cookie("sid"), &[("cookie", "sid=7")]),
            (Principal::from_fn(|_| Some("7".into())), &[("cookie", "x=1; sid=7"), ("authorization", "a")]),
        ];
        for (principal, expected) in table {
            assert_seen(&with(principal), sent, true, expected);
        }
    }

    #[test]
    fn the_origin_sees_an_override_field_that_is_declared_irrelevant() {
        let port = HeaderName::from_static("x-forwarded-port");
        let key = KeySpec::new().override_field(port, OverrideRule::Irrelevant);
        let sent: Lines<'_> = &[("x-forwarded-port", "81")];

        assert_seen(&Policy::new().key(key).only_keyed_input(), sent, true, sent);
    }

    #[test]
    fn content_that_is_keyed_is_seen_with_what_describes_it() {
        let mut request = Request::post("/").body(Full::new(&b"abc"[..])).unwrap();
        *request.headers_mut() = headers(&[
            ("transfer-encoding", "chunked"),
            ("content-type", "text/plain"),
            ("content-disposition", "inline"),
        ]);
        let policy = policy();
        let digest = blake3::hash(b"");
        let head = RequestHead::of(&request);
        let key = policy.key.write(&head, false, &Tenant::shared(), Some(&digest), String::new()).unwrap();

        policy.hide(&mut request, &key, true).unwrap();

        let expected = headers(&[("content-type", "text/plain"), ("content-length", "3")]);
        assert!(request.headers().iter().eq(expected.iter()), "{:?}", request.headers());
        assert_eq!(request.version(), Version::HTTP_11);
    }

    #[test]
    fn credentials_that_are_not_in_the_key_bypass() {
        let in_key = || policy().key(KeySpec::new().header(header::AUTHORIZATION).header(header::COOKIE));
        let irrelevant = policy().irrelevant_field(header::AUTHORIZATION);
        let table = [
            (policy(), "authorization", true),
            (policy(), "cookie", true),
            (in_key(), "authorization", false),
            (in_key(), "cookie", false),
            (irrelevant.clone(), "authorization", false),
            (irrelevant, "cookie", true),
            (policy().ignore_cookies(), "cookie", false),
            (Policy::new(), "authorization", false),
        ];
        for (policy, name, bypasses) in table {
            let request = Request::get("/").header(name, "session=1").body(()).unwrap();
            let admission = policy.admit(RequestHead::of(&request), false);

            assert_eq!(admission == Admission::Bypass(BypassReason::Credentials), bypasses, "{name}: {policy:?}");
        }
    }
}
