//! What the operator purges.

mod outcome;

use std::fmt;

use http::{Request, Uri};
use url::{Position, Url};

pub use self::outcome::{PurgeError, PurgeErrorKind, Purged};
use crate::{
    key::{CacheKey, RequestHead, Tenancy, Tenant},
    policy::{
        Routes,
        tags::{is_tag, to_purge},
    },
    store::Covers,
};

/// What to purge, for [`CacheHandle::purge`](crate::CacheHandle::purge): what is not to be used any more.
///
/// What is purged *hard* is as good as gone. What is purged [*softly*](Self::soft) is stale from then on. Either holds for
/// what is stored, in all variants, and for all that was asked of the origin before the purge and comes after it. None
/// costs anything for each stored response.
///
/// ```
/// use microcache::{Purge, Tenant};
///
/// let acme = Tenant::named("acme");
/// let page = Purge::url("https://shop.example/products?a=1").tenant(acme.clone());
/// let product = Purge::tag("product:7").tenant(acme.clone()).soft();
/// let purges: [Purge; 4] = [page.into(), product.into(), Purge::tenant(acme), Purge::all()];
/// # let _ = purges;
/// ```
#[doc(alias = "invalidate")]
#[doc(alias = "ban")]
#[derive(Clone)]
#[must_use]
pub struct Purge {
    what: What,
    tenant: Option<Tenant>,
    is_soft: bool,
}

#[derive(Clone)]
enum What {
    Request(Box<Request<()>>),
    Url(String),
    Key(CacheKey),
    Computed(Vec<String>),
    Tag(String),
    /// Of the tenant, or of all.
    All,
}

impl Purge {
    fn of(what: What) -> Self {
        Self { what, tenant: None, is_soft: false }
    }

    /// What is stored for the target URI of this request: whatever the method, the fields and the content in the key, as
    /// an unsafe request ends it (RFC 9111 §4.4). Policy, tenant and key are found as for any request, so it needs what
    /// these are found by: the host, fields, extensions.
    pub fn request<B>(request: &Request<B>) -> Self {
        let mut head = Request::new(());
        head.method_mut().clone_from(request.method());
        head.uri_mut().clone_from(request.uri());
        head.headers_mut().clone_from(request.headers());
        head.extensions_mut().clone_from(request.extensions());
        Self::of(What::Request(Box::new(head)))
    }

    /// What is stored for this URL, whatever else is in the key, in the way that it is written here and in the one that
    /// browsers make of it. Scheme and default port do not count. The policy is that of its path, and the tenant the one
    /// that [`Tenancy`] finds in it, unless [`tenant`](PurgeOf::tenant) names one.
    pub fn url(url: impl Into<String>) -> PurgeOf {
        PurgeOf(Self::of(What::Url(url.into())))
    }

    /// What is stored for the target URI that this key is of, whatever else is in it.
    pub fn key(key: &CacheKey) -> Self {
        Self::of(What::Key(key.clone()))
    }

    /// The value that [`CacheHandle::get_or_compute`](crate::CacheHandle::get_or_compute) has stored for this tenant under
    /// this key.
    pub fn computed(tenant: &Tenant, key: &[&str]) -> Self {
        let what = What::Computed(key.iter().map(ToString::to_string).collect());
        Self { tenant: Some(tenant.clone()), ..Self::of(what) }
    }

    /// What has this tag: see [`Tags`](crate::Tags). It is of one tenant, which [`tenant`](PurgeOf::tenant) names where
    /// the cache has several. What had more tags than are kept ends, too.
    #[doc(alias = "surrogate-key")]
    pub fn tag(tag: impl Into<String>) -> PurgeOf {
        PurgeOf(Self::of(What::Tag(tag.into())))
    }

    /// All that this tenant has, what was computed included.
    #[doc(alias = "flush")]
    pub fn tenant(tenant: Tenant) -> Self {
        Self { tenant: Some(tenant), ..Self::all() }
    }

    /// All that there is, of all tenants, what was computed included.
    #[doc(alias = "flush")]
    #[doc(alias = "clear")]
    pub fn all() -> Self {
        Self::of(What::All)
    }

    /// The same, softly: stale, and served while one request refreshes it or when the origin fails. Where the origin
    /// forbids to serve what is stale (`must-revalidate`, `s-maxage`, ..), it is asked first (RFC 9111 §4.2.4).
    #[doc(alias = "stale")]
    pub fn soft(self) -> Self {
        Self { is_soft: true, ..self }
    }

    pub(crate) fn is_soft(&self) -> bool {
        self.is_soft
    }

    /// What it is of, for the operator.
    pub(crate) fn in_words(&self) -> String {
        let mut words = match &self.what {
            What::Request(request) => request.uri().to_string(),
            What::Url(url) => url.clone(),
            What::Key(key) => key.short().into_owned(),
            What::Computed(parts) => format!("computed {}", parts.join(" ")),
            What::Tag(tag) => format!("tag {tag}"),
            What::All => "all".to_owned(),
        };
        cut(&mut words);
        let Some(tenant) = &self.tenant else { return words };
        let mut tenant = tenant.in_key();
        cut(&mut tenant);
        format!("{words} of tenant {tenant}")
    }

    /// What the fences cover that it takes.
    pub(crate) fn covers(self, routes: &Routes, tenancy: &Tenancy) -> Result<Vec<Covers>, PurgeError> {
        let Self { what, tenant, .. } = self;
        if tenant.as_ref().is_some_and(Tenant::is_unidentified) {
            return Err(PurgeErrorKind::Tenant.into());
        }
        let target = |request: &Request<()>| target(request, tenant.as_ref(), routes, tenancy);
        match what {
            What::Request(request) => Ok(vec![target(&request)?]),
            What::Url(url) => uris(&url)?.into_iter().map(|uri| target(&asking(uri))).collect(),
            What::Key(key) => Ok(vec![Covers::Target(key)]),
            What::Computed(parts) => {
                let parts: Vec<_> = parts.iter().map(String::as_str).collect();
                let tenant = tenant.ok_or(PurgeErrorKind::Tenant)?;
                let key = CacheKey::of_computation(&tenant, &parts).map_err(|_| PurgeErrorKind::Key)?;
                Ok(vec![Covers::Target(key)])
            }
            What::Tag(tag) if !is_tag(&tag) => Err(PurgeErrorKind::Tag.into()),
            What::Tag(tag) => {
                let only = || tenancy.is_shared().then(Tenant::shared);
                let tenant = tenant.or_else(only).ok_or(PurgeErrorKind::Tenant)?.in_key();
                let of_tag = |tag: Box<str>| Covers::Tag { tenant: tenant.clone(), tag: tag.into() };
                Ok(to_purge(&tag).map(of_tag).into())
            }
            What::All => Ok(vec![tenant.map_or(Covers::All, |tenant| Covers::Tenant(tenant.in_key()))]),
        }
    }
}

/// A [`Purge`] of what one tenant has.
#[derive(Clone)]
#[must_use]
pub struct PurgeOf(Purge);

impl PurgeOf {
    /// Sets whose it is.
    pub fn tenant(self, tenant: Tenant) -> Self {
        Self(Purge { tenant: Some(tenant), ..self.0 })
    }

    /// As [`Purge::soft`].
    pub fn soft(self) -> Self {
        Self(self.0.soft())
    }
}

impl From<PurgeOf> for Purge {
    fn from(purge: PurgeOf) -> Self {
        purge.0
    }
}

/// Nobody's data.
impl fmt::Debug for Purge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.what {
            What::Request(_) => "request",
            What::Url(_) => "url",
            What::Key(_) => "key",
            What::Computed(_) => "computed",
            What::Tag(_) => "tag",
            What::All if self.tenant.is_some() => "tenant",
            What::All => "all",
        };
        f.debug_struct("Purge").field("what", &what).field("is_soft", &self.is_soft).finish_non_exhaustive()
    }
}

impl fmt::Debug for PurgeOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The target URI of a request, of whatever method.
fn target(
    request: &Request<()>,
    tenant: Option<&Tenant>,
    routes: &Routes,
    tenancy: &Tenancy,
) -> Result<Covers, PurgeError> {
    let head = RequestHead::of(request);
    let tenant = tenant.cloned().unwrap_or_else(|| tenancy.of(head));
    if tenant.is_unidentified() {
        return Err(PurgeErrorKind::Tenant.into());
    }
    let policy = routes.policy(head.uri().path(), &tenant);
    let key = policy.key.of_target().write(&head, false, &tenant, None, String::new());
    Ok(Covers::Target(key.map_err(|_| PurgeErrorKind::Key)?.for_get()))
}

/// The target URIs that a URL stands for: as it is written, and as browsers and libraries send it.
fn uris(url: &str) -> Result<Vec<Uri>, PurgeError> {
    let is_web = |url: &Url| matches!(url.scheme(), "http" | "https") && url.has_host();
    // RFC 9110 §4.2.4: user information is no part of what is asked for.
    let is_plain = |url: &Url| url.username().is_empty() && url.password().is_none();
    let parsed = Url::parse(url).ok().filter(|url| is_web(url) && is_plain(url)).ok_or(PurgeErrorKind::Url)?;
    let sent = Uri::try_from(&parsed[..Position::AfterQuery]).map_err(|_| PurgeErrorKind::Url)?;
    let written = Uri::try_from(url).ok().filter(|uri| uri.authority().is_some() && *uri != sent);
    Ok([sent].into_iter().chain(written).collect())
}

fn cut(words: &mut String) {
    if let Some((end, _)) = words.char_indices().nth(MAX_WORDS) {
        words.truncate(end);
    }
}

/// Longer ones are cut, in characters.
const MAX_WORDS: usize = 256;

fn asking(uri: Uri) -> Request<()> {
    let mut request = Request::new(());
    *request.uri_mut() = uri;
    request
}
