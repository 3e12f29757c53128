//! The way of a request: receive, cache, forward, release.
//!
//! What belongs to the client's connection is taken off *before* the cache, so that the cache and the upstream see
//! the same request: else `Connection: x-tenant-id` would hide from the one what the other goes by. What belongs to
//! the upstream's connection is taken off *after* the cache, which judges a response as it came.

use std::convert::Infallible;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, Version, header};
use http_body_util::Either;
use hyper::body::Incoming;
use microcache::{AdminBody, AdminService, Cache, CacheBody, CacheLayer, Collapse, KeySpec, Policy, QueryRule};
use tower::{Layer, ServiceExt};

use crate::{
    flags::{Flags, Upstream},
    fleet,
    forward::{Content, Forwarder},
};

/// The cache and what is behind it; a clone is a few reference counts.
#[derive(Clone)]
pub(crate) struct Proxy {
    cache: Cache<Forwarder>,
    admin: Option<AdminService>,
    takes_upgrades: bool,
}

/// What a client gets: from the cache or what is behind it, or from the admin service.
pub(crate) type Given = Either<CacheBody<Content>, AdminBody>;

impl Proxy {
    /// The complaint names the flag that is wrong.
    pub(crate) fn new(upstream: Upstream, flags: &Flags) -> Result<Self, String> {
        let layer = fleet::cache(flags)?
            .policy(policy(flags))
            .tenant(flags.tenant.clone())
            .build()
            .map_err(|error| error.to_string())?;
        // HTTP/2 has no `Upgrade` (RFC 9113 §8.6).
        let takes_upgrades = !upstream.is_h2;
        let admin = admin(&layer, flags)?;
        Ok(Self { cache: layer.layer(Forwarder::new(upstream)), admin, takes_upgrades })
    }

    /// Answers whatever comes: what goes wrong is a status, too.
    pub(crate) async fn answer(self, mut request: Request<Incoming>) -> Result<Response<Given>, Infallible> {
        if let Some(admin) = self.admin
            && let Some(uri) = inside_admin(request.uri())
        {
            *request.uri_mut() = uri;
            return Ok(admin.oneshot(request).await?.map(Either::Right));
        }
        if let Err(refusal) = receive(&mut request, self.takes_upgrades) {
            return Ok(refusal.response(|text| Either::Left(text.into())));
        }
        let mut response = self.cache.oneshot(request).await?;
        release(&mut response);
        Ok(response.map(Either::Left))
    }
}

fn admin(cache: &CacheLayer, flags: &Flags) -> Result<Option<AdminService>, String> {
    let Some(token) = &flags.admin_token else { return Ok(None) };
    let built = AdminService::builder(cache.handle()).bearer_token(token).build();
    built.map(Some).map_err(|error| format!("--admin-token: {error}"))
}

/// What a target is called inside of the admin service; none if the upstream has it.
fn inside_admin(uri: &Uri) -> Option<Uri> {
    match uri.path().strip_prefix("/-/cache")? {
        "" => Some(Uri::default()),
        path if path.starts_with('/') => Some(path.parse().unwrap_or_default()),
        _ => None,
    }
}

fn policy(flags: &Flags) -> Policy {
    let query = match (&flags.only_query, &flags.ignore_query) {
        (Some(names), _) => QueryRule::only(names),
        (None, Some(names)) => QueryRule::without(names),
        (None, None) => QueryRule::keep(),
    };
    let collapse = Collapse::new().wait_at_most(flags.collapse_wait).max_followers(flags.collapse_max_followers);
    let key = KeySpec::new().query(query);
    let key = match &flags.tenant_field {
        // The upstream goes by it, too.
        Some(name) if flags.only_keyed_input => key.header(name.clone()),
        _ => key,
    };
    let policy = Policy::new().key(key).collapse(collapse).max_body_bytes(flags.max_body_bytes);
    let policy = if flags.only_keyed_input { policy.only_keyed_input() } else { policy };
    let policy = match flags.default_freshness {
        Some(lifetime) => policy.default_freshness(lifetime),
        None => policy.without_default_freshness(),
    };
    let policy = match flags.heuristic_freshness() {
        Some(at_most) => policy.heuristic_freshness(at_most),
        None => policy,
    };
    let policy = policy.stale_while_revalidate(flags.stale_while_revalidate).stale_if_error(flags.stale_if_error);
    if flags.ignore_cookies { policy.ignore_cookies() } else { policy }
}

/// Why a request is not forwarded, or what came of forwarding it.
pub(crate) struct Refusal(StatusCode, String);

impl Refusal {
    pub(crate) fn new(status: StatusCode, reason: &str) -> Self {
        Self(status, reason.to_owned())
    }

    pub(crate) fn response<B>(self, body: impl FnOnce(Bytes) -> B) -> Response<B> {
        let mut response = Response::new(body(format!("{}: {}\n", self.0, self.1).into()));
        *response.status_mut() = self.0;
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        response
    }
}

/// Makes of a request what the cache and the upstream shall see: a path, one `Host`, and no field that was meant
/// for this connection alone.
fn receive<B>(request: &mut Request<B>, takes_upgrades: bool) -> Result<(), Refusal> {
    if *request.method() == Method::CONNECT {
        return Err(Refusal::new(StatusCode::NOT_IMPLEMENTED, "this is no forward proxy"));
    }
    let is_asterisk = *request.method() == Method::OPTIONS && request.uri().path() == "*";
    if !is_asterisk && !request.uri().path().starts_with('/') {
        return Err(Refusal::new(StatusCode::BAD_REQUEST, "the target is no path"));
    }
    name_host(request)?;
    if request.version() == Version::HTTP_2 {
        join_cookies(request.headers_mut());
    }

    let upgrade = upgrade_to_keep(request).filter(|_| takes_upgrades);
    let headers = request.headers_mut();
    // RFC 9110 §10.1.4: all but `trailers` is about this connection, and we pass trailers on.
    let takes_trailers = members(headers, &header::TE).any(|coding| coding.eq_ignore_ascii_case(b"trailers"));
    drop_hop_by_hop(headers);
    if takes_trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    if let Some(upgrade) = upgrade {
        headers.insert(header::UPGRADE, upgrade);
    }
    Ok(())
}

/// Moves the authority of the target to `Host`, where RFC 9112 §3.2.2 and RFC 9113 §8.3.1 prefer it to what is there.
fn name_host<B>(request: &mut Request<B>) -> Result<(), Refusal> {
    if let Some(authority) = request.uri().authority() {
        // RFC 9110 §4.2.4: a name before the host is there to mislead.
        let host = HeaderValue::from_str(authority.as_str()).ok().filter(|_| !authority.as_str().contains('@'));
        let Some(host) = host else {
            return Err(Refusal::new(StatusCode::BAD_REQUEST, "the target names more than a host"));
        };
        request.headers_mut().insert(header::HOST, host);
        let path = request.uri().path_and_query().cloned();
        *request.uri_mut() = path.map_or_else(Uri::default, Uri::from);
    }
    // RFC 9112 §3.2.
    let hosts = request.headers().get_all(header::HOST).iter().count();
    let may_have_none = request.version() == Version::HTTP_10;
    if hosts == 1 || (hosts == 0 && may_have_none) {
        Ok(())
    } else {
        Err(Refusal::new(StatusCode::BAD_REQUEST, "Host is needed once"))
    }
}

/// HTTP/2 may send each cookie on a line of its own; other protocols expect one line (RFC 9113 §8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let lines: Vec<&[u8]> = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if lines.len() > 1
        && let Ok(joined) = HeaderValue::from_bytes(&lines.join(b"; ".as_slice()))
    {
        headers.insert(header::COOKIE, joined);
    }
}

/// The protocols that a client asks for, if the upstream may be asked for them. Not `h2c`: what follows would be
/// requests that nobody here sees, and RFC 9113 §3.1 has retired it.
fn upgrade_to_keep<B>(request: &Request<B>) -> Option<HeaderValue> {
    let headers = request.headers();
    let is_meant = request.version() == Version::HTTP_11
        && members(headers, &header::CONNECTION).any(|option| option.eq_ignore_ascii_case(b"upgrade"))
        && !members(headers, &header::UPGRADE).any(|protocol| protocol.eq_ignore_ascii_case(b"h2c"));
    let mut lines = headers.get_all(header::UPGRADE).iter();
    match (lines.next(), lines.next()) {
        (Some(only), None) if is_meant => Some(only.clone()),
        _ => None,
    }
}

/// Makes of a response what this client shall see.
fn release<B>(response: &mut Response<B>) {
    let upgrade = response.headers().get(header::UPGRADE).cloned();
    drop_hop_by_hop(response.headers_mut());
    if response.status() == StatusCode::SWITCHING_PROTOCOLS
        && let Some(upgrade) = upgrade
    {
        response.headers_mut().insert(header::UPGRADE, upgrade);
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    }
    // The upstream's version is its own; what goes out is ours.
    *response.version_mut() = Version::HTTP_11;
}

/// RFC 9110 §7.6.1.
fn drop_hop_by_hop(headers: &mut HeaderMap) {
    let nominated: Vec<HeaderName> = members(headers, &header::CONNECTION)
        .filter_map(|option| HeaderName::from_bytes(option).ok())
        // Nobody may talk us into another host than the one that was asked.
        .filter(|name| *name != header::HOST)
        .collect();
    nominated.iter().chain(&HOP_BY_HOP).for_each(|name| {
        headers.remove(name);
    });
}

/// The members of a list of tokens.
fn members<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> {
    let lines = headers.get_all(name).into_iter();
    lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b',')).map(<[u8]>::trim_ascii)
}

static HOP_BY_HOP: [HeaderName; 9] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    HeaderName::from_static("proxy-authentication-info"),
];
