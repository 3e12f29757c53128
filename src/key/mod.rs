//! Cache keys (RFC 9111 §2): which requests may be answered with the same stored responses.
//!
//! Pure: the head of a request, its tenant and the digest of its content in, one text out. No policy, no store, no
//! clock.
//!
//! A key is *framed and injective*: from its text follow the bytes of each component, so that no component,
//! nor two together, can pass for another. Nothing is dropped, decoded or merged unless a [`QueryRule`] says
//! so: a cache that reads a request more loosely than its origin does answers one request with the response
//! to another. The text is
//!
//! ```text
//! {tenant}|{method}|{authority}|{path}?{query}[|h:{field}[={line}]*]*[|c:{cookie}[={value}|;{piece}]*]*
//! [|p:{principal}|p:={digest}][|b:{digest}]
//!
//! acme|GET|shop.example|/products?a=1&b=2
//! ```
//!
//! in visible ASCII; see [`escape`] for how. Fields that override the target ([`overrides`]) come in by themselves.
//! GET and HEAD share a key (RFC 9110 §9.3.2). The shared tenant has no name. An absent query, field or cookie
//! differs from an empty one. A [`Principal`] is never empty, and stands there as it is or, if it is a secret, as a
//! digest. The last digest is of the content and the fields that say what it is ([`Content`]); a key without it differs
//! from that of empty content. Digests are 64 hex digits.
//!
//! The key of a [variant](CacheKey::variant) goes on with the nominated fields. Those that have a [normal
//! form](normal_form) are the one thing merged without being asked: their definition says what means the same.
//!
//! ```text
//! [|n:{field}={normal form}]  or  [|v:{field}[={line}]*]  for each field
//! ```

use std::{borrow::Borrow, borrow::Cow, fmt};

use http::{HeaderMap, HeaderName};

use crate::rfc9111::normal::normal_form;

mod authority;
mod computation;
mod content;
mod cookies;
pub(crate) mod escape;
mod head;
pub(crate) mod overrides;
mod principal;
mod query;
mod shown;
mod spec;
mod tenant;
#[cfg(test)]
mod tests;

pub use content::Content;
pub use head::RequestHead;
pub use overrides::OverrideRule;
pub use principal::Principal;
pub use query::QueryRule;
pub(crate) use shown::Shown;
pub use spec::KeySpec;
pub use tenant::{Tenancy, Tenant};

/// Chooses the stored responses for a request (RFC 9111 §2). Made only by [`KeySpec`].
///
/// At most 8 KiB of visible ASCII. It compares and hashes as its text does, so that maps can be asked by
/// `&str`. It may hold personal data, as a search query or a cookie: `Display` writes the [short
/// form](Self::short) to show it, `Debug` only a digest, so that keys do not get into logs by accident.
///
/// ```
/// use microcache::{KeySpec, RequestHead, Tenant};
///
/// let request = http::Request::get("/products?b=2&a=1").header("host", "shop.example").body(()).unwrap();
/// let key = KeySpec::new().key(RequestHead::of(&request), &Tenant::named("acme")).unwrap();
/// assert_eq!(key.as_str(), "acme|GET|shop.example|/products?a=1&b=2");
/// assert_eq!(format!("{key:?}"), "CacheKey(06df4b76cd0e4d4b)");
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CacheKey(String);

/// Why a request has no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub(crate) enum KeyError {
    /// The key would be longer than 8 KiB.
    TooLong,
    /// It is not certain to whom the request is addressed.
    AmbiguousAuthority,
    /// The query has more parameters than it may have.
    TooManyParameters,
    /// It is not known whose request it is.
    UnidentifiedTenant,
    /// It is not known who within the tenant is asking.
    UnidentifiedPrincipal,
}

impl CacheKey {
    /// The whole key.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The key in at most 250 bytes, which memcached takes for a key whatever the request was.
    ///
    /// That is the whole key, or its first 185 bytes, `~`, and the BLAKE3 digest of all of it in hex. A whole
    /// key never has a `~`, so that nobody can ask for a resource whose key is the short form of another's.
    #[must_use]
    pub fn short(&self) -> Cow<'_, str> {
        self.short_within(SHORT_BYTES)
    }

    /// The same in at most `bytes` bytes; never in less than the digest takes.
    pub(crate) fn short_within(&self, bytes: usize) -> Cow<'_, str> {
        if self.0.len() <= bytes {
            return Cow::Borrowed(&self.0);
        }
        let digest = blake3::hash(self.0.as_bytes()).to_hex();
        let head = self.0.get(..bytes.saturating_sub(1 + digest.len())).unwrap_or_default();
        Cow::Owned(format!("{head}~{digest}"))
    }

    /// The key of one variant: this one and the nominated fields, in their normal form or line by line (RFC 9111
    /// §4.1). Two requests have the same exactly if each matches what the other says in these.
    ///
    /// The names must be sorted and without duplicates, so that one variant has one key. Without names it is
    /// this key again. Fails if it would be longer than 8 KiB.
    pub(crate) fn variant(&self, names: &[HeaderName], request: &HeaderMap) -> Result<Self, KeyError> {
        let mut text = String::with_capacity(self.0.len() + 64 * names.len());
        text.push_str(&self.0);
        for name in names {
            match normal_form(request, name) {
                // A tag of its own: no lines can pass for a normal form.
                Some(form) => push_normal(&mut text, name, &form)?,
                None => push_field(&mut text, "|v:", name, request)?,
            }
        }
        within_limit(text.len())?;
        Ok(Self(text))
    }

    /// Where those with credentials agree on who forwards, apart from strangers. No key ends in an empty component.
    pub(crate) fn with_credentials(&self) -> Self {
        Self([self.as_str(), WITH_CREDENTIALS].concat())
    }

    /// Under which the processes that share a store keep the fences of a tenant, or of all. No request has such a key.
    #[cfg(feature = "memcached")]
    pub(crate) fn of_fences(tenant: Option<&str>) -> Self {
        Self(tenant.map_or_else(|| "~all".to_owned(), |tenant| ["~tenant|", tenant].concat()))
    }

    /// The tenant, as it is written in keys.
    pub(crate) fn tenant_component(&self) -> &str {
        tenant_component(&self.0)
    }

    /// The tenant, the authority, and the path with the query that count: what an unsafe method invalidates,
    /// whatever the method, the fields and the content that are part of the key (RFC 9111 §4.4). The scheme and its port
    /// do not count, since most requests do not tell theirs.
    pub(crate) fn target(&self) -> (&str, &str, &str) {
        // In a component the separator is escaped.
        let rest = &mut self.0.as_str();
        let (tenant, _, authority, path) = (component(rest), component(rest), component(rest), component(rest));
        // A scheme, if there is one, ends at the first colon.
        let authority = match authority.bytes().position(|byte| byte == b':') {
            Some(colon) => authority[colon..].strip_prefix("://").unwrap_or(authority),
            None => authority,
        };
        let authority = [":80", ":443"].iter().find_map(|port| authority.strip_suffix(port)).unwrap_or(authority);
        (tenant, authority, path)
    }

    /// Whether it is of a tenant that is not the shared one.
    pub(crate) fn has_tenant(&self) -> bool {
        !self.0.starts_with('|')
    }

    /// Whether it is of one principal.
    pub(crate) fn has_principal(&self) -> bool {
        self.0.split('|').skip(4).any(|component| component.starts_with("p:"))
    }

    /// The key of a GET, where this is that of another method.
    pub(crate) fn for_get(&self) -> Self {
        let mut components = self.0.splitn(3, '|');
        let tenant = components.next().unwrap_or_default();
        Self([tenant, "|GET|", components.nth(1).unwrap_or_default()].concat())
    }

    /// Gives the buffer back, for the next key.
    pub(crate) fn into_buffer(self) -> String {
        self.0
    }
}

impl AsRef<str> for CacheKey {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for CacheKey {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.short())
    }
}

impl fmt::Debug for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digest = blake3::hash(self.0.as_bytes()).to_hex();
        write!(f, "CacheKey({})", digest.get(..16).unwrap_or_default())
    }
}

/// Takes the next component of the text of a key.
fn component<'a>(rest: &mut &'a str) -> &'a str {
    let (component, others) = rest.split_at(rest.bytes().position(|byte| byte == b'|').unwrap_or(rest.len()));
    *rest = others.get(1..).unwrap_or_default();
    component
}

/// The first component of the text of a key: in it the separator is escaped.
pub(crate) fn tenant_component(key: &str) -> &str {
    key.split_once('|').map_or(key, |(tenant, _)| tenant)
}

/// Appends the tag, the name, and `=` before each line of the field, in the order of the lines.
fn push_field(out: &mut String, tag: &str, name: &HeaderName, headers: &HeaderMap) -> Result<(), KeyError> {
    let is_mark = |byte| byte == b'=';
    out.push_str(tag);
    escape::push(out, name.as_str().as_bytes(), is_mark);
    for line in headers.get_all(name) {
        within_limit(out.len() + line.len())?;
        out.push('=');
        escape::push(out, line.as_bytes(), is_mark);
    }
    Ok(())
}

/// Appends the tag, the name, `=` and the normal form of the field: all that follows the first `=`.
fn push_normal(out: &mut String, name: &HeaderName, form: &str) -> Result<(), KeyError> {
    within_limit(out.len() + form.len())?;
    out.push_str("|n:");
    escape::push_str(out, name.as_str(), |byte| byte == b'=');
    out.push('=');
    escape::push_str(out, form, |_| false);
    Ok(())
}

const fn within_limit(length: usize) -> Result<(), KeyError> {
    if length > MAX_BYTES { Err(KeyError::TooLong) } else { Ok(()) }
}

/// What no key ends in.
pub(crate) const WITH_CREDENTIALS: &str = "|!";

/// The longest key there is. What needs a longer one is not worth storing.
const MAX_BYTES: usize = 8 * 1024;

/// The longest key that memcached takes.
const SHORT_BYTES: usize = 250;
