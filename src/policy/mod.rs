//! The operator's will, on top of the standard. Pure and synchronous; `now` is an argument.

mod admission;
mod debug;
mod reuse;
mod routes;
mod said;
mod shows;
mod sightings;
mod storability;
pub(crate) mod tags;
mod visible;

use std::{sync::Arc, time::Duration};

use http::HeaderName;

use self::sightings::MOST_SIGHTINGS;
pub(crate) use self::{
    admission::{Admission, BypassReason, Carried, Credentials},
    reuse::{Reuse, if_error, reuse, selected, softened},
    routes::{Chosen, Routes},
    said::Said,
    shows::Shows,
    sightings::Sightings,
    storability::{Candidate, Plan, SkipReason, Storability},
};
pub use self::{
    said::{Freshness, Scope},
    shows::CacheStatusMode,
    tags::{TagField, Tags},
};
use crate::{
    collapse::Collapse,
    key::{Content, KeySpec, RequestHead},
};

/// What the operator wants of the cache, for all routes or for some.
///
/// # Default
///
/// A response without explicit freshness is kept for one second, if its status is 200 and the request had
/// neither `Authorization` nor `Cookie`. Bodies of up to 1 MiB are stored. The key is the whole path and the
/// whole query, sorted. Requests that arrive together are collapsed. What is stale is validated, never served,
/// unless the origin says so. What clients ask in `Cache-Control` is ignored.
///
/// # Whose word counts
///
/// What forbids goes before what allows, whoever says it: [`Scope::Private`], `private`, `no-store`, `Set-Cookie`.
/// How long a response is fresh says the first of: [`Freshness`] from the handler, a
/// [targeted field](Self::targeted_fields), `s-maxage`, `max-age`, `Expires`,
/// [`heuristic_freshness`](Self::heuristic_freshness), [`default_freshness`](Self::default_freshness).
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
    pub(crate) content: Option<Content>,
    /// How often a key has to be asked for before something is stored under it.
    pub(crate) admit_after: u8,
    pub(crate) only_keyed_input: bool,
    irrelevant_fields: Vec<HeaderName>,
    heuristic_freshness: Option<Duration>,
    targeted_fields: Arc<[HeaderName]>,
    stale_while_revalidate: Duration,
    stale_if_error: Duration,
    overrides_revalidation: bool,
    ages_from_arrival: bool,
    honours_requests: bool,
    cookies: Cookies,
    tagging: tags::Tagging,
    bypass: Option<BypassWhen>,
    /// What is said of it to clients and to the operator.
    pub(crate) shows: Shows,
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
            content: None,
            admit_after: 1,
            only_keyed_input: false,
            irrelevant_fields: Vec::new(),
            heuristic_freshness: None,
            targeted_fields: [HeaderName::from_static("cdn-cache-control")].into(),
            stale_while_revalidate: Duration::ZERO,
            stale_if_error: Duration::ZERO,
            overrides_revalidation: false,
            ages_from_arrival: false,
            honours_requests: false,
            cookies: Cookies::default(),
            tagging: tags::Tagging::default(),
            bypass: None,
            shows: Shows::default(),
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

    /// Serves without asking only what the origin gave explicit freshness (RFC 9111 §4.2.1).
    pub fn without_default_freshness(mut self) -> Self {
        self.default_freshness = None;
        self
    }

    /// Guesses freshness where the origin did not say: a tenth of the time since `Last-Modified`, but no more than
    /// this (RFC 9111 §4.2.2). Default: no guess.
    ///
    /// Only for statuses that the standard allows it for, and responses that say `public`. Goes before
    /// [`default_freshness`](Self::default_freshness), and is for the same requests.
    pub fn heuristic_freshness(mut self, at_most: Duration) -> Self {
        self.heuristic_freshness = Some(at_most);
        self
    }

    /// Sets which response fields are for this cache more than `Cache-Control` is, the first that is there before the
    /// others (RFC 9213 §2.2). Default: `CDN-Cache-Control`.
    ///
    /// Where one of them is there and well-formed, `Cache-Control` and `Expires` say nothing here; they are passed on
    /// to the caches in front, and so are these.
    pub fn targeted_fields(mut self, names: impl IntoIterator<Item = HeaderName>) -> Self {
        self.targeted_fields = names.into_iter().collect();
        self
    }

    /// Sets for how long a stale response is served at once while one request refreshes it in the background, where
    /// the origin does not say `stale-while-revalidate` (RFC 5861 §3). Default: zero.
    ///
    /// `must-revalidate`, `proxy-revalidate`, `s-maxage` and `no-cache` forbid it.
    #[doc(alias = "SWR")]
    #[doc(alias = "grace")]
    pub fn stale_while_revalidate(mut self, window: Duration) -> Self {
        self.stale_while_revalidate = window;
        self
    }

    /// Sets for how long a stale response is served when the origin fails (it errs, or answers 500, 502, 503 or 504)
    /// or is waited for in vain, where it does not say `stale-if-error` (RFC 5861 §4). Default: zero.
    ///
    /// `must-revalidate`, `proxy-revalidate`, `s-maxage` and `no-cache` forbid it.
    #[doc(alias = "SIE")]
    pub fn stale_if_error(mut self, window: Duration) -> Self {
        self.stale_if_error = window;
        self
    }

    /// Lets the two windows above hold even where the origin says `must-revalidate`, `proxy-revalidate`, `s-maxage`
    /// or `no-cache`. Against RFC 9111 §4.2.4: a contract between you and your origin.
    pub fn stale_despite_origin(mut self) -> Self {
        self.overrides_revalidation = true;
        self
    }

    /// Counts the age of a response from its arrival, not from when it was asked for. Against RFC 9111 §4.2.3, which
    /// counts the time that the origin took as age, so that `max-age=1` from a handler that takes two seconds is stale
    /// when it comes. `Age` and `Date` count as ever.
    pub fn age_from_arrival(mut self) -> Self {
        self.ages_from_arrival = true;
        self
    }

    /// Does what clients ask in `Cache-Control` (RFC 9111 §5.2.1): `no-cache`, `no-store`, `max-age`, `min-fresh`,
    /// `max-stale` and `only-if-cached`. Default: they are ignored, since they let any client make the origin work.
    ///
    /// `max-stale` never gets what the origin forbids to serve stale.
    pub fn honour_request_directives(mut self) -> Self {
        self.honours_requests = true;
        self
    }

    /// Lets `POST` and `QUERY` requests be answered from the store, by their content. Default: they are forwarded.
    ///
    /// For routes where a `POST` only asks. Stored and shared is only what the origin gave explicit freshness; what
    /// has none, as a mutation, is forwarded each time and invalidates what is stored under its URI.
    pub fn content(mut self, content: Content) -> Self {
        self.content = Some(content);
        self
    }

    /// Sets how large a body may be to be stored, in bytes. Default: 1 MiB.
    ///
    /// A larger one is passed on as it comes.
    pub fn max_body_bytes(mut self, bytes: u64) -> Self {
        self.max_body_bytes = bytes;
        self
    }

    /// Stores a response only when its key was asked for at least so often lately, so that what is asked for once takes
    /// no room. Default: 1, at once; at most 15.
    ///
    /// Lately is among the last 131,072 requests that the cache could not answer at once, about; one key in some hundreds
    /// is taken for one that was asked for. Requests that wait for each other share the response all the same, and what is
    /// stored is replaced at once.
    #[doc(alias = "second hit")]
    pub fn admit_after(mut self, requests: u8) -> Self {
        self.admit_after = requests.min(MOST_SIGHTINGS);
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
