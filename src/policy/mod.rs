//! The operator's will, on top of the standard. Pure and synchronous; `now` is an argument.

mod admission;
mod reuse;
mod routes;
mod storability;

use std::{fmt, sync::Arc, time::Duration};

pub(crate) use self::{
    admission::{Admission, BypassReason, Carried, Credentials},
    reuse::{Reuse, reuse, selected},
    routes::Routes,
    storability::{Plan, SkipReason, Storability},
};
use crate::{
    collapse::Collapse,
    key::{KeySpec, RequestHead},
};

/// What the operator wants of the cache, for all routes or for some.
///
/// # Default
///
/// A response without explicit freshness is kept for one second, if its status is 200 and the request had
/// neither `Authorization` nor `Cookie`. Bodies of up to 1 MiB are stored. The key is the whole path and the
/// whole query, sorted. Requests that arrive together are collapsed.
///
/// ```
/// use std::time::Duration;
/// use microcache::{KeySpec, Policy, QueryRule};
///
/// let policy = Policy::new()
///     .default_freshness(Duration::from_secs(30))
///     .max_body_bytes(256 << 10)
///     .key(KeySpec::new().query(QueryRule::without(["utm_*"])))
///     .ignore_cookie("_ga*");
/// # assert!(format!("{policy:?}").contains("30s"));
/// ```
#[derive(Clone)]
#[must_use]
pub struct Policy {
    pub(crate) default_freshness: Option<Duration>,
    pub(crate) max_body_bytes: u64,
    pub(crate) key: KeySpec,
    pub(crate) collapse: Collapse,
    cookies: Cookies,
    bypass: Option<BypassWhen>,
}

type BypassWhen = Arc<dyn Fn(RequestHead<'_>) -> bool + Send + Sync>;

/// Which request cookies do not matter to the origin.
#[derive(Clone, Debug, Default)]
struct Cookies {
    none_matters: bool,
    /// A trailing `*` stands for any ending.
    irrelevant: Vec<String>,
}

impl Policy {
    /// The defaults listed above.
    pub fn new() -> Self {
        Self {
            default_freshness: Some(Duration::from_secs(1)),
            max_body_bytes: 1 << 20,
            key: KeySpec::new(),
            collapse: Collapse::new(),
            cookies: Cookies::default(),
            bypass: None,
        }
    }

    /// Sets how long a response stays fresh when the origin did not say. Default: one second.
    ///
    /// Applies only without `s-maxage`, `max-age` and `Expires` (RFC 9111 §4.2.1), only to status 200, and
    /// only to requests without `Authorization` and `Cookie`. Zero keeps nothing, but requests that wait for
    /// each other still share such a response.
    #[doc(alias = "ttl")]
    pub fn default_freshness(mut self, lifetime: Duration) -> Self {
        self.default_freshness = Some(lifetime);
        self
    }

    /// Stores only what the origin gave explicit freshness (RFC 9111 §4.2.1).
    pub fn without_default_freshness(mut self) -> Self {
        self.default_freshness = None;
        self
    }

    /// Sets how large a body may be to be stored, in bytes. Default: 1 MiB.
    ///
    /// A larger one is passed on as it comes.
    pub fn max_body_bytes(mut self, bytes: u64) -> Self {
        self.max_body_bytes = bytes;
        self
    }

    /// Sets what of a request goes into its key. Default: [`KeySpec::new`].
    pub fn key(mut self, key: KeySpec) -> Self {
        self.key = key;
        self
    }

    /// Sets how requests that arrive together share one forward. Default: [`Collapse::new`].
    pub fn collapse(mut self, collapse: Collapse) -> Self {
        self.collapse = collapse;
        self
    }

    /// Declares that no cookie changes what the origin answers.
    ///
    /// Without this a request with cookies is neither answered from, nor stored under, default freshness.
    /// The origin still sees them: declare it only where it does not look at them.
    pub fn ignore_cookies(mut self) -> Self {
        self.cookies.none_matters = true;
        self
    }

    /// Declares that this cookie does not change what the origin answers. A `*` at the end stands for any
    /// ending; names are compared exactly otherwise.
    pub fn ignore_cookie(mut self, name: impl Into<String>) -> Self {
        self.cookies.irrelevant.push(name.into());
        self
    }

    /// Sends the requests that this holds for straight to the origin; their responses are not stored.
    #[doc(alias = "skip")]
    pub fn bypass_when(mut self, when: impl Fn(RequestHead<'_>) -> bool + Send + Sync + 'static) -> Self {
        self.bypass = Some(Arc::new(when));
        self
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Policy")
            .field("default_freshness", &self.default_freshness)
            .field("max_body_bytes", &self.max_body_bytes)
            .field("key", &self.key)
            .field("collapse", &self.collapse)
            .field("cookies", &self.cookies)
            .field("bypass", &self.bypass.as_ref().map(|_| ".."))
            .finish()
    }
}
