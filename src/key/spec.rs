//! What of a request goes into its key, and the making of keys.

use std::{fmt, sync::Arc};

use http::{HeaderName, Method, Uri};

use super::{
    CacheKey, KeyError, QueryRule, RequestHead, Tenant, authority, cookies, escape, overrides, push_field, within_limit,
};

/// Says what of a request goes into its key.
///
/// Always: the tenant, the method (HEAD counts as GET), the authority, the exact bytes of the path. Besides,
/// the query as the [`QueryRule`] says, and the header fields and cookies that are named here. The response
/// must depend on nothing else, unless its `Vary` says so.
///
/// A request has no key if that would be longer than 8 KiB, if its tenant is unidentified, or if it names its
/// authority in two ways: `Host` twice, unlike its URI, or with anything but a host and a port in it.
///
/// ```
/// use http::header::ACCEPT_LANGUAGE;
/// use microcache::{KeySpec, QueryRule, RequestHead, Tenant};
///
/// let spec = KeySpec::new().query(QueryRule::without(["utm_*"])).header(ACCEPT_LANGUAGE).cookie("currency");
/// let request = http::Request::get("/products?utm_source=mail&page=2")
///     .header("host", "Shop.example")
///     .header("cookie", "session=1f; currency=EUR")
///     .body(())
///     .unwrap();
/// let key = spec.key(RequestHead::of(&request), &Tenant::shared()).unwrap();
/// assert_eq!(key.as_str(), "|GET|shop.example|/products?page=2|h:accept-language|c:currency=EUR");
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct KeySpec {
    query: QueryRule,
    /// Sorted, each once.
    headers: Vec<HeaderName>,
    /// Sorted, each once.
    cookies: Vec<String>,
    target_uri: Option<TargetUri>,
}

impl KeySpec {
    /// The whole query, sorted; no header fields, no cookies.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets which parameters of the query count. Default: [`QueryRule::keep`].
    pub fn query(mut self, rule: QueryRule) -> Self {
        self.query = rule;
        self
    }

    /// Puts a header field into the key: each of its lines, byte by byte, in their order. Default: none.
    ///
    /// Unlike with `Vary`, no answer of the origin is needed to tell requests apart by it.
    pub fn header(mut self, name: HeaderName) -> Self {
        if let Err(at) = self.headers.binary_search_by(|other| other.as_str().cmp(name.as_str())) {
            self.headers.insert(at, name);
        }
        self
    }

    /// Puts a cookie into the key. Default: none. The name is compared byte by byte.
    ///
    /// A cookie that only some parsers take for this one, as `%6Cang` or `lang` without a value for `lang`,
    /// is part of the key too, and differs from any plain value.
    pub fn cookie(mut self, name: impl Into<String>) -> Self {
        let name = name.into();
        if let Err(at) = self.cookies.binary_search(&name) {
            self.cookies.insert(at, name);
        }
        self
    }

    /// Sets where the target URI of a request is, if something around the cache has changed `uri()`: a nested
    /// router cuts off its prefix, and `/a/list` and `/b/list` would share a key.
    ///
    /// Default, and where the function returns `None`: the request's own.
    ///
    /// ```
    /// use microcache::{KeySpec, RequestHead, Tenant};
    ///
    /// #[derive(Clone)]
    /// struct Original(http::Uri); // with axum: `axum::extract::OriginalUri`
    ///
    /// let spec = KeySpec::new().target_uri(|request| request.extensions().get().map(|Original(uri)| uri));
    /// let original = Original("/a/list".parse().unwrap());
    /// let request = http::Request::get("/list").extension(original).body(()).unwrap();
    /// let key = spec.key(RequestHead::of(&request), &Tenant::shared()).unwrap();
    /// assert_eq!(key.as_str(), "|GET||/a/list");
    /// ```
    pub fn target_uri(
        mut self,
        of: impl for<'a> Fn(RequestHead<'a>) -> Option<&'a Uri> + Send + Sync + 'static,
    ) -> Self {
        self.target_uri = Some(TargetUri(Arc::new(of)));
        self
    }

    /// The key of a request; `None` if it has none. For purges and tests: the layer makes its own keys.
    #[must_use]
    pub fn key(&self, request: RequestHead<'_>, tenant: &Tenant) -> Option<CacheKey> {
        let overrides = request.headers().keys().any(|name| overrides::is_override(name.as_str()));
        self.write(&request, overrides, tenant, None, String::new()).ok()
    }

    /// The target URI of a request.
    pub(crate) fn target_uri_of<'a>(&self, request: RequestHead<'a>) -> &'a Uri {
        self.target_uri.as_ref().and_then(|TargetUri(of)| of(request)).unwrap_or(request.uri())
    }

    /// The same without header fields and cookies, which say nothing of the target.
    pub(crate) fn of_target(&self) -> Self {
        Self {
            query: self.query.clone(),
            headers: Vec::new(),
            cookies: Vec::new(),
            target_uri: self.target_uri.clone(),
        }
    }

    /// Whether the cookie of this name is part of the key.
    pub(crate) fn keys_cookie(&self, name: &[u8]) -> bool {
        self.cookies.iter().any(|cookie| cookie.as_bytes() == name)
    }

    /// The key of a request, in `buffer`, which comes back with the error if there is none. `overrides`: it has
    /// fields that override its target. `content`: the digest of its content, if that counts.
    pub(crate) fn write(
        &self,
        request: &RequestHead<'_>,
        overrides: bool,
        tenant: &Tenant,
        content: Option<&blake3::Hash>,
        mut buffer: String,
    ) -> Result<CacheKey, (KeyError, String)> {
        buffer.clear();
        match self.push(&mut buffer, *request, overrides, tenant, content) {
            Ok(()) => Ok(CacheKey(buffer)),
            Err(error) => Err((error, buffer)),
        }
    }

    fn push(
        &self,
        out: &mut String,
        request: RequestHead<'_>,
        overrides: bool,
        tenant: &Tenant,
        content: Option<&blake3::Hash>,
    ) -> Result<(), KeyError> {
        if tenant.is_unidentified() {
            return Err(KeyError::UnidentifiedTenant);
        }
        let uri = self.target_uri_of(request);
        let tenant = tenant.name().unwrap_or_default();
        // Before any work that grows with the request: escaping only makes it longer.
        let length = tenant.len() + uri.path().len() + self.query.length_in_key(uri.query());
        within_limit(length)?;
        out.reserve(length + RESERVED_BYTES);

        escape::push_str(out, tenant, |_| false);
        match *request.method() {
            // GET for HEAD: it is answered with the head of what is stored for GET (RFC 9110 §9.3.2).
            Method::GET | Method::HEAD => out.push_str("|GET|"),
            ref other => {
                out.push('|');
                escape::push(out, other.as_str().as_bytes(), |_| false);
                out.push('|');
            }
        }
        authority::push(out, uri, request.headers())?;
        out.push('|');
        escape::push_str(out, uri.path(), |byte| byte == b'?');
        self.query.push(out, uri.query());
        for name in &self.headers {
            push_field(out, "|h:", name, request.headers())?;
        }
        if overrides {
            overrides::push(out, &self.headers, request.headers())?;
        }
        for name in &self.cookies {
            cookies::push(out, name, request.headers())?;
        }
        if let Some(digest) = content {
            out.push_str("|b:");
            out.push_str(&digest.to_hex());
        }
        within_limit(out.len())
    }
}

type OfHead = dyn for<'a> Fn(RequestHead<'a>) -> Option<&'a Uri> + Send + Sync;

#[derive(Clone)]
struct TargetUri(Arc<OfHead>);

impl fmt::Debug for TargetUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TargetUri")
    }
}

/// Room for the separators, the method, and a common authority.
const RESERVED_BYTES: usize = 64;
