//! Who within a tenant is asking, as a component of a key.

use std::{borrow::Cow, fmt, sync::Arc};

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION},
};

use super::{KeyError, RequestHead, cookies, escape, within_limit};

/// How it is found who within a tenant is asking. With it each gets only what was stored for the same.
///
/// A request that does not tell is forwarded: nothing is stored for it, and nothing stored is served to it. What the
/// principal is made of is no reason any more not to store: neither an `Authorization`, nor the cookie named, nor, with
/// [`extension`](Self::extension) and [`from_fn`](Self::from_fn), any of both. All others keep their say, and what the
/// origin says goes before: `private` and `Set-Cookie` are not stored for a principal either.
///
/// The cache does not authenticate. Put it inside of what does, or let the principal be the whole credential: who sends
/// the same gets the same.
///
/// ```
/// use std::borrow::Cow;
/// use microcache::{KeySpec, Policy, Principal, RequestHead, Tenant};
///
/// #[derive(Clone)]
/// struct User {
///     id: u64,
/// }
///
/// let by_user = KeySpec::new().principal(Principal::extension(|user: &User| Some(user.id.to_string().into())));
/// let request = http::Request::get("/cart").extension(User { id: 7 }).body(()).unwrap();
/// let key = by_user.key(RequestHead::of(&request), &Tenant::shared()).unwrap();
/// assert_eq!(key.as_str(), "|GET||/cart|p:7");
///
/// let nobody = http::Request::get("/cart").body(()).unwrap();
/// assert_eq!(by_user.key(RequestHead::of(&nobody), &Tenant::shared()), None);
/// let policy = Policy::new().key(by_user);
/// # let _ = policy;
/// ```
#[derive(Clone)]
#[must_use]
pub struct Principal(Source);

#[derive(Clone)]
enum Source {
    Header(HeaderName),
    Cookie(String),
    /// With the name of its maker.
    Function(&'static str, Arc<Identify>),
}

type Identify = dyn for<'a> Fn(RequestHead<'a>) -> Option<Cow<'a, str>> + Send + Sync;

impl Principal {
    /// Who asks is the value of this field, byte by byte, if it stands once and is not empty.
    ///
    /// Keys are shown in logs: of `Authorization`, `Proxy-Authorization` and `Cookie` the key has a BLAKE3 digest. Any
    /// other field stands in it as it is; if it holds a secret, make a digest with [`from_fn`](Self::from_fn).
    ///
    /// ```
    /// use http::header::AUTHORIZATION;
    /// use microcache::{KeySpec, Policy, Principal};
    ///
    /// let policy = Policy::new().key(KeySpec::new().principal(Principal::header(AUTHORIZATION)));
    /// # let _ = policy;
    /// ```
    pub const fn header(name: HeaderName) -> Self {
        Self(Source::Header(name))
    }

    /// Who asks is the value of this cookie, if it stands once and is not empty. The key has a BLAKE3 digest of it.
    ///
    /// A request that names it in a way that only some parsers take for it, as `%73id` or `sid` without a value for
    /// `sid`, does not tell.
    ///
    /// ```
    /// use microcache::{KeySpec, Policy, Principal};
    ///
    /// let policy = Policy::new().key(KeySpec::new().principal(Principal::cookie("sid")));
    /// # let _ = policy;
    /// ```
    pub fn cookie(name: impl Into<String>) -> Self {
        Self(Source::Cookie(name.into()))
    }

    /// Who asks is what `identify` says of the `T` that a layer around the cache has put into the request's extensions,
    /// as an authenticated user; nobody can tell if there is none, or the name is empty.
    pub fn extension<T: Send + Sync + 'static>(
        identify: impl for<'a> Fn(&'a T) -> Option<Cow<'a, str>> + Send + Sync + 'static,
    ) -> Self {
        Self::function("extension", move |head| identify(head.extensions().get()?))
    }

    /// Who asks is what `identify` says; `None`, or an empty name, if nobody can tell.
    ///
    /// It speaks for all credentials of the request: where it says the same, the response must be the same, whatever they
    /// are.
    ///
    /// ```
    /// use std::borrow::Cow;
    /// use microcache::Principal;
    ///
    /// let by_key = Principal::from_fn(|request| {
    ///     let secret = request.headers().get("x-api-key")?;
    ///     Some(Cow::Owned(blake3::hash(secret.as_bytes()).to_hex().to_string()))
    /// });
    /// # let _ = by_key;
    /// ```
    pub fn from_fn(identify: impl for<'a> Fn(RequestHead<'a>) -> Option<Cow<'a, str>> + Send + Sync + 'static) -> Self {
        Self::function("from_fn", identify)
    }

    fn function(
        maker: &'static str,
        identify: impl for<'a> Fn(RequestHead<'a>) -> Option<Cow<'a, str>> + Send + Sync + 'static,
    ) -> Self {
        Self(Source::Function(maker, Arc::new(identify)))
    }

    /// The field that it is made of, or speaks for.
    pub(super) fn field(&self) -> Option<HeaderName> {
        match &self.0 {
            Source::Header(name) => (*name != COOKIE).then(|| name.clone()),
            Source::Cookie(_) => None,
            Source::Function(..) => Some(AUTHORIZATION),
        }
    }

    /// Whether `Authorization` has no say beside it.
    pub(super) fn covers_authorization(&self) -> bool {
        match &self.0 {
            Source::Header(name) => *name == AUTHORIZATION,
            Source::Cookie(_) => false,
            Source::Function(..) => true,
        }
    }

    /// Whether the cookie of this name has no say beside it.
    pub(super) fn covers_cookie(&self, name: &[u8]) -> bool {
        match &self.0 {
            Source::Header(header) => *header == COOKIE,
            Source::Cookie(cookie) => cookie.as_bytes() == name,
            Source::Function(..) => true,
        }
    }

    /// Appends `|p:` and who asks; or `|p:=` and the digest of a secret, which no name can pass for.
    pub(super) fn push(&self, out: &mut String, request: RequestHead<'_>) -> Result<(), KeyError> {
        let nobody = KeyError::UnidentifiedPrincipal;
        match &self.0 {
            Source::Header(name) => {
                let value = only_value(request.headers(), name).ok_or(nobody)?;
                let is_secret = [AUTHORIZATION, PROXY_AUTHORIZATION, COOKIE].contains(name);
                if is_secret { push_digest(out, value) } else { push_name(out, value) }
            }
            Source::Cookie(name) => push_digest(out, cookies::only_value(name, request.headers()).ok_or(nobody)?),
            Source::Function(_, identify) => push_name(out, identify(request).ok_or(nobody)?.as_bytes()),
        }
    }
}

impl fmt::Debug for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Source::Header(name) => write!(f, "Principal(header {name})"),
            Source::Cookie(name) => write!(f, "Principal(cookie {name})"),
            Source::Function(maker, _) => write!(f, "Principal({maker})"),
        }
    }
}

/// The value of a field that stands once: of two lines, who knows which one the origin takes.
fn only_value<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a [u8]> {
    let mut lines = headers.get_all(name).iter().map(HeaderValue::as_bytes);
    lines.next().filter(|line| !line.is_empty() && lines.next().is_none())
}

fn push_name(out: &mut String, name: &[u8]) -> Result<(), KeyError> {
    if name.is_empty() {
        return Err(KeyError::UnidentifiedPrincipal);
    }
    within_limit(out.len() + name.len())?;
    out.push_str("|p:");
    escape::push(out, name, |byte| byte == b'=');
    Ok(())
}

fn push_digest(out: &mut String, secret: &[u8]) -> Result<(), KeyError> {
    out.push_str("|p:=");
    out.push_str(&blake3::hash(secret).to_hex());
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        field::testing::{any_value, headers},
        key::{MAX_BYTES, tests::unescape},
    };

    type Fields = &'static [(&'static str, &'static [u8])];

    fn in_key(principal: &Principal, lines: &[(&str, &[u8])]) -> Result<String, KeyError> {
        let mut request = http::Request::new(());
        *request.headers_mut() = headers(lines);
        let mut out = String::new();
        principal.push(&mut out, RequestHead::of(&request)).map(|()| out)
    }

    fn digest(secret: &str) -> Result<String, KeyError> {
        Ok(format!("|p:={}", blake3::hash(secret.as_bytes()).to_hex()))
    }

    const NOBODY: Result<String, KeyError> = Err(KeyError::UnidentifiedPrincipal);

    #[test]
    fn a_field_tells_who_asks_if_it_stands_once() {
        let user = Principal::header(HeaderName::from_static("x-user"));
        let name = |name: &str| Ok(format!("|p:{name}"));
        let table: [(&Principal, Fields, _); 12] = [
            (&user, &[("x-user", b"alice")], name("alice")),
            (&user, &[("x-user", b"a|p:=b \xe9")], name("a%7Cp:%3Db%20%E9")),
            (&user, &[("x-user", b"=")], name("%3D")),
            (&user, &[], NOBODY),
            (&user, &[("x-user", b"")], NOBODY),
            (&user, &[("x-user", b"alice"), ("x-user", b"alice")], NOBODY),
            (&user, &[("x-user", b"alice"), ("x-user", b"")], NOBODY),
            (&Principal::header(AUTHORIZATION), &[("authorization", b"Basic YQ==")], digest("Basic YQ==")),
            (&Principal::header(AUTHORIZATION), &[("authorization", b"")], NOBODY),
            (&Principal::header(AUTHORIZATION), &[("x-user", b"alice")], NOBODY),
            (&Principal::header(PROXY_AUTHORIZATION), &[("proxy-authorization", b"x")], digest("x")),
            (&Principal::header(COOKIE), &[("cookie", b"a=1; b=2")], digest("a=1; b=2")),
        ];
        for (principal, lines, expected) in table {
            assert_eq!(in_key(principal, lines), expected, "{principal:?} {lines:?}");
        }
    }

    #[test]
    fn a_cookie_tells_who_asks_if_all_parsers_read_it_alike() {
        let table: [(&[&[u8]], _); 13] = [
            (&[b"sid=1f"], digest("1f")),
            (&[b"a=1; sid=1f ;b=2"], digest("1f")),
            (&[b"a=1", b"sid=x=y"], digest("x=y")),
            (&[], NOBODY),
            (&[b"SID=1f"], NOBODY),
            (&[b"sid="], NOBODY),
            (&[b"sid"], NOBODY),
            (&[b"sid =1f"], NOBODY),
            (&[b"sid=1f; sid=1f"], NOBODY),
            (&[b"sid=1f", b"sid=2f"], NOBODY),
            (&[b"sid=1f; %73id=2f"], NOBODY),
            (&[b"sid=1f; sid"], NOBODY),
            (&[b"sid=1f; a=\xff"], NOBODY),
        ];
        for (lines, expected) in table {
            let lines: Vec<_> = lines.iter().map(|line| ("cookie", *line)).collect();
            assert_eq!(in_key(&Principal::cookie("sid"), &lines), expected, "{lines:?}");
        }
    }

    #[test]
    fn a_function_tells_who_asks() {
        let tell = |name: Option<&'static str>| in_key(&Principal::from_fn(move |_| name.map(Cow::Borrowed)), &[]);
        assert_eq!(tell(Some("alice")), Ok("|p:alice".to_owned()));
        assert_eq!(tell(Some("")), NOBODY);
        assert_eq!(tell(None), NOBODY);

        let by_extension = Principal::extension(|name: &String| Some(name.as_str().into()));
        assert_eq!(in_key(&by_extension, &[]), NOBODY);
    }

    #[test]
    fn a_principal_covers_the_credentials_that_it_is_made_of() {
        let user = HeaderName::from_static("x-user");
        let table = [
            (Principal::header(AUTHORIZATION), [true, false, false]),
            (Principal::header(COOKIE), [false, true, true]),
            (Principal::header(user), [false, false, false]),
            (Principal::cookie("sid"), [false, true, false]),
            (Principal::extension(|_: &String| None), [true, true, true]),
            (Principal::from_fn(|_| None), [true, true, true]),
        ];
        for (principal, expected) in table {
            let covered =
                [principal.covers_authorization(), principal.covers_cookie(b"sid"), principal.covers_cookie(b"theme")];
            assert_eq!(covered, expected, "{principal:?}");
        }
    }

    #[test]
    fn a_name_over_the_limit_of_a_key_is_refused() {
        let name = "a".repeat(MAX_BYTES + 1);

        assert_eq!(in_key(&Principal::from_fn(move |_| Some(name.clone().into())), &[]), Err(KeyError::TooLong));
    }

    proptest! {
        #[test]
        fn a_name_can_be_read_back_and_is_never_a_digest(value in any_value()) {
            let name = HeaderName::from_static("x-user");
            let sent = headers(&[("x-user", &value)]);
            let value = sent.get(&name).map_or(b"".as_slice(), HeaderValue::as_bytes);

            if let Ok(key) = in_key(&Principal::header(name.clone()), &[("x-user", value)]) {
                let component = key.strip_prefix("|p:").unwrap();
                prop_assert!(!component.contains(['|', '=']));
                prop_assert_eq!(unescape(component), value);
            }
        }
    }
}
