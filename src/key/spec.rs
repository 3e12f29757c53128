//! What of a request goes into its key, and the making of keys.

use std::{fmt, sync::Arc};

use http::{HeaderName, Method, Uri};

use super::{
    CacheKey, KeyError, OverrideRule, Principal, QueryRule, RequestHead, Tenant, authority, cookies, escape,
    overrides::Overrides, push_field, within_limit,
};

/// Says what of a request goes into its key.
///
/// Always: the tenant, the method (HEAD counts as GET), the authority, the exact bytes of the path. Besides,
/// the query as the [`QueryRule`] says, the header fields and cookies that are named here, the
/// [principal](Self::principal) if one is asked for, and the [fields that override the target](Self::override_field).
/// The response must depend on nothing else, unless its `Vary` says so.
///
/// A request has no key if that would be longer than 8 KiB, if its tenant or its principal is unidentified, if its
/// query has too [many parameters](QueryRule::max_parameters), or if it names its authority in two ways: `Host` twice,
/// unlike its URI, or with anything but a host and a port in it.
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
    principal: Option<Principal>,
    overrides: Overrides,
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

    /// Puts who within the tenant is asking into the key: what is stored for one is never served to another. Default:
    /// nobody is asked.
    ///
    /// It relaxes RFC 9111 §3.5: see [`Principal`].
    pub fn principal(mut self, principal: Principal) -> Self {
        self.principal = Some(principal);
        self
    }

    /// Sets what becomes of a request that has this field, where some servers take the field for the target in place of
    /// what the request itself says.
    ///
    /// Default: [`Keyed`](OverrideRule::Keyed) for `X-Forwarded-Host`, `-Proto`, `X-Original-URL` and their like
    /// (not `X-Forwarded-For`, which says who asks), and of `Forwarded` for `host` and `proto`. Where servers take `_`
    /// for `-`, so does this: `x_forwarded_host` is one of them. A field that is put into the key by
    /// [`header`](Self::header) is there whatever is said here. What asks to be taken for another method
    /// (`X-HTTP-Method-Override` and its like) always goes past the cache.
    ///
    /// ```
    /// use http::HeaderName;
    /// use microcache::{KeySpec, OverrideRule};
    ///
    /// let spec = KeySpec::new()
    ///     .override_field(HeaderName::from_static("x-forwarded-port"), OverrideRule::Irrelevant)
    ///     .override_field(HeaderName::from_static("x-original-url"), OverrideRule::Bypass)
    ///     .override_field(HeaderName::from_static("x-our-target"), OverrideRule::Keyed);
    /// # let _ = spec;
    /// ```
    pub fn override_field(mut self, name: HeaderName, rule: OverrideRule) -> Self {
        self.overrides.set(name, rule);
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
        let overrides = request.headers().keys().any(|name| self.override_rule(name.as_str()).is_some());
        self.write(&request, overrides, tenant, None, String::new()).ok()
    }

    /// The target URI of a request.
    pub(crate) fn target_uri_of<'a>(&self, request: RequestHead<'a>) -> &'a Uri {
        self.target_uri.as_ref().and_then(|TargetUri(of)| of(request)).unwrap_or(request.uri())
    }

    /// The same without header fields, cookies and principal, which say nothing of the target.
    pub(crate) fn of_target(&self) -> Self {
        Self { query: self.query.clone(), target_uri: self.target_uri.clone(), ..Self::default() }
    }

    /// Whether the field of this name is part of the key.
    pub(crate) fn keys_field(&self, name: &HeaderName) -> bool {
        self.headers.contains(name)
    }

    /// Whether the cookie of this name is part of the key, or of what the principal is made of.
    pub(crate) fn keys_cookie(&self, name: &[u8]) -> bool {
        self.cookies.iter().any(|cookie| cookie.as_bytes() == name) || self.is_of_principal(name)
    }

    /// Whether the cookie of this name says who asks.
    pub(crate) fn is_of_principal(&self, name: &[u8]) -> bool {
        self.principal.as_ref().is_some_and(|principal| principal.covers_cookie(name))
    }

    /// The field that says who asks.
    pub(crate) fn principal_field(&self) -> Option<HeaderName> {
        self.principal.as_ref().and_then(Principal::field)
    }

    /// Whether the operator has said of this field that it does not override the target.
    pub(crate) fn is_irrelevant_override(&self, name: &HeaderName) -> bool {
        self.override_rule(name.as_str()) == Some(OverrideRule::Irrelevant)
    }

    /// Whether the principal is made of `Authorization`, or speaks for it.
    pub(crate) fn keys_authorization(&self) -> bool {
        self.principal.as_ref().is_some_and(Principal::covers_authorization)
    }

    /// What is done with a request that has a field of this name; none for all but those that override the target.
    #[inline]
    pub(crate) fn override_rule(&self, name: &str) -> Option<OverrideRule> {
        self.overrides.rule(name)
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
        self.query.check_parameters(uri.query())?;
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
            self.overrides.push(out, &self.headers, request.headers())?;
        }
        for name in &self.cookies {
            cookies::push(out, name, request.headers())?;
        }
        if let Some(principal) = &self.principal {
            principal.push(out, request)?;
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
