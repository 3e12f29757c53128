//! How the tenant of a request is found: from what everybody reads alike, or not at all.

use std::{cell::RefCell, fmt, sync::Arc};

use http::{HeaderMap, HeaderName};

use super::Tenant;
use crate::key::{RequestHead, authority};

/// How the tenant of a request is found. Default: [`Tenancy::shared`].
///
/// The cache believes what it finds. A host, a field and a path are what the sender says: let something in front
/// check them, as the origin does on a miss, because a hit does not get there. What an authentication layer has found
/// out is in the [extensions](Self::extension).
///
/// A [`Tenant`] that [`TenantLayer`](crate::TenantLayer) has put into the extensions of a request counts before all of
/// these. Nobody is asked twice whose request it is, and a name that this thread has seen lately is not copied.
///
/// ```
/// use microcache::{Tenancy, Tenant};
///
/// let tenancy = Tenancy::from_fn(|request| match request.headers().get("x-tenant-id") {
///     Some(id) => id.to_str().map_or(Tenant::unidentified(), Tenant::named),
///     None => Tenant::unidentified(),
/// });
/// assert_eq!(format!("{tenancy:?}"), "Tenancy(from_fn)");
/// ```
#[derive(Clone, Default)]
#[must_use]
pub struct Tenancy(By);

#[derive(Clone, Default)]
enum By {
    /// All requests are of the shared tenant.
    #[default]
    Nobody,
    Host,
    Header(HeaderName),
    PathSegment(usize),
    /// With the name of its maker.
    Function(&'static str, Arc<Identify>),
}

type Identify = dyn Fn(RequestHead<'_>) -> Tenant + Send + Sync;

impl Tenancy {
    /// All requests are of one tenant: everyone may get what is stored for anyone.
    pub const fn shared() -> Self {
        Self(By::Nobody)
    }

    /// The tenant is the host that the request is addressed to: of its URI, else of `Host`.
    ///
    /// In lower case, without the dot at its end, and without the default port of the scheme where the URI has one;
    /// any other port is part of the name. An international name counts as it was sent. A request is unidentified
    /// without a host, with several that differ or one that is sent twice, and with anything but letters, digits, `-`,
    /// `_` and single dots, or an IPv6 address, in it.
    ///
    /// ```
    /// use microcache::{CacheLayer, MemoryStore, Tenancy};
    ///
    /// let cache = CacheLayer::builder(MemoryStore::with_max_bytes(64 << 20)).tenant(Tenancy::host()).build()?;
    /// # let _ = cache;
    /// # Ok::<(), microcache::ConfigError>(())
    /// ```
    pub const fn host() -> Self {
        Self(By::Host)
    }

    /// The tenant is the value of this field, byte by byte.
    ///
    /// Unidentified if it is not there exactly once, or is anything but 1 to 256 bytes of visible ASCII.
    ///
    /// ```
    /// use http::HeaderName;
    /// use microcache::Tenancy;
    ///
    /// let tenancy = Tenancy::header(HeaderName::from_static("x-tenant-id"));
    /// assert_eq!(format!("{tenancy:?}"), "Tenancy(header x-tenant-id)");
    /// ```
    pub const fn header(name: HeaderName) -> Self {
        Self(By::Header(name))
    }

    /// The tenant is this segment of the path, the first being 0, byte by byte as it was sent: `/acme/list` and
    /// `/%61cme/list` are of two tenants.
    ///
    /// Unidentified if there is no such segment, if it or one before it is empty, if it has more than 256 bytes, and if
    /// any segment of the path is `.` or `..`, plain or encoded: the origin may take another one for it.
    ///
    /// The path is the one that the cache sees. A nested router cuts off its beginning:
    /// put a [`TenantLayer`](crate::TenantLayer) outside.
    ///
    /// ```
    /// use microcache::Tenancy;
    ///
    /// assert_eq!(format!("{:?}", Tenancy::path_segment(0)), "Tenancy(path segment 0)");
    /// ```
    pub const fn path_segment(index: usize) -> Self {
        Self(By::PathSegment(index))
    }

    /// The tenant is what `identify` says of the `T` that a layer around the cache has put into the request's
    /// extensions, as an authenticated user. Unidentified if there is none.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use microcache::{Tenancy, Tenant};
    ///
    /// #[derive(Clone)]
    /// struct Session {
    ///     company: Arc<str>,
    /// }
    ///
    /// let tenancy = Tenancy::extension(|session: &Session| Tenant::named(Arc::clone(&session.company)));
    /// # let _ = tenancy;
    /// ```
    pub fn extension<T: Send + Sync + 'static>(identify: impl Fn(&T) -> Tenant + Send + Sync + 'static) -> Self {
        let of_request = move |head: RequestHead<'_>| head.extensions().get().map_or(Tenant::unidentified(), &identify);
        Self(By::Function("extension", Arc::new(of_request)))
    }

    /// The tenant is what `identify` says, and is asked for once a request.
    ///
    /// It must rest on something that the sender can not choose freely, as an authenticated session: the
    /// cache believes it. Answer with [`Tenant::unidentified`] where that is missing. To make a [`Tenant`] of a text
    /// costs a copy of it; of an `Arc<str>`, none.
    pub fn from_fn(identify: impl Fn(RequestHead<'_>) -> Tenant + Send + Sync + 'static) -> Self {
        Self(By::Function("from_fn", Arc::new(identify)))
    }

    /// Whether all are of one tenant, for what this says.
    pub(crate) const fn is_shared(&self) -> bool {
        matches!(self.0, By::Nobody)
    }

    pub(crate) fn of(&self, head: RequestHead<'_>) -> Tenant {
        // Only code around the cache can have put it there.
        if let Some(tenant) = head.extensions().get::<Tenant>() {
            return tenant.clone();
        }
        let name = match &self.0 {
            By::Nobody => return Tenant::shared(),
            By::Function(_, identify) => return identify(head),
            By::Host => authority::host(head.uri(), head.headers()),
            By::Header(name) => only_value(head.headers(), name).map(Into::into),
            By::PathSegment(index) => segment(head.uri().path(), *index).map(Into::into),
        };
        let name = name.filter(|name| (1..=MAX_NAME_BYTES).contains(&name.len()));
        name.map_or(Tenant::unidentified(), |name| seen(&name))
    }
}

impl fmt::Debug for Tenancy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            By::Nobody => f.write_str("Tenancy(shared)"),
            By::Host => f.write_str("Tenancy(host)"),
            By::Header(name) => write!(f, "Tenancy(header {name})"),
            By::PathSegment(index) => write!(f, "Tenancy(path segment {index})"),
            By::Function(maker, _) => write!(f, "Tenancy({maker})"),
        }
    }
}

/// The value of a field that stands once. Of two lines, even two alike, who knows which one another reader takes.
fn only_value<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut lines = headers.get_all(name).iter();
    let line = lines.next().filter(|line| line.as_bytes().iter().all(u8::is_ascii_graphic))?;
    if lines.next().is_some() { None } else { line.to_str().ok() }
}

fn segment(path: &str, index: usize) -> Option<&str> {
    let mut found = None;
    for (at, segment) in path.strip_prefix('/')?.split('/').enumerate() {
        // Who removes what is empty, or takes dots for a way up, counts other segments.
        if is_dots(segment) || (segment.is_empty() && at <= index) {
            return None;
        }
        if at == index {
            found = Some(segment);
        }
    }
    found
}

/// RFC 3986 §3.3: `.` or `..`, and what some servers take for one, encoded or with parameters after it.
fn is_dots(segment: &str) -> bool {
    let mut rest = segment.split(';').next().unwrap_or_default();
    let mut dots = 0;
    while let Some(after) = [".", "%2e", "%2E"].iter().find_map(|dot| rest.strip_prefix(dot)) {
        (rest, dots) = (after, dots + 1);
    }
    rest.is_empty() && matches!(dots, 1 | 2)
}

/// The tenant of this name: if this thread has seen it lately, without a copy of the name.
fn seen(name: &str) -> Tenant {
    let sum = name.bytes().fold(0_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    SEEN.with_borrow_mut(|seen| match seen.get_mut(sum % SEEN_TENANTS) {
        Some(there) => {
            if there.name() != Some(name) {
                *there = Tenant::named(name);
            }
            there.clone()
        }
        None => Tenant::named(name),
    })
}

thread_local! {
    /// Each thread has its own, so that threads do not meet at a reference count.
    static SEEN: RefCell<[Tenant; SEEN_TENANTS]> = const { RefCell::new([NOT_SEEN; SEEN_TENANTS]) };
}

const SEEN_TENANTS: usize = 64;

const NOT_SEEN: Tenant = Tenant::unidentified();

/// Longer names of tenants are nobody's.
const MAX_NAME_BYTES: usize = 256;

#[cfg(test)]
mod tests {
    use http::{HeaderValue, Request, header::HOST};
    use proptest::prelude::*;

    use super::*;
    use crate::field::testing::any_value;

    type Lines<'a> = &'a [&'a [u8]];

    fn of(tenancy: &Tenancy, request: &Request<()>) -> Option<String> {
        let tenant = tenancy.of(RequestHead::of(request));
        assert_ne!(tenant, Tenant::shared());
        tenant.name().map(ToOwned::to_owned)
    }

    fn with_lines(uri: &str, name: &'static str, lines: &[&[u8]]) -> Request<()> {
        let mut request = Request::get(uri).body(()).unwrap();
        for line in lines {
            request.headers_mut().append(name, HeaderValue::from_bytes(line).unwrap());
        }
        request
    }

    #[test]
    fn a_host_names_a_tenant_if_everybody_reads_it_alike() {
        let table: [(&str, Lines<'_>, Option<&str>); 38] = [
            ("/", &[b"shop.example"], Some("shop.example")),
            ("/", &[b"Shop.EXAMPLE"], Some("shop.example")),
            ("/", &[b"shop.example."], Some("shop.example")),
            ("/", &[b"Shop.example.:8080"], Some("shop.example:8080")),
            ("/", &[b"shop.example:8080"], Some("shop.example:8080")),
            ("/", &[b"shop.example:80"], Some("shop.example:80")),
            ("/", &[b"shop.example:"], Some("shop.example")),
            ("/", &[b"xn--bcher-kva.example"], Some("xn--bcher-kva.example")),
            ("/", &[b"a_b-c.example"], Some("a_b-c.example")),
            ("/", &[b"127.0.0.1:3000"], Some("127.0.0.1:3000")),
            ("/", &[b"[2001:DB8::1]:3000"], Some("[2001:db8::1]:3000")),
            ("/", &[b"[::ffff:1.2.3.4]"], Some("[::ffff:1.2.3.4]")),
            ("http://shop.example/", &[], Some("shop.example")),
            ("http://shop.example:80/", &[b"SHOP.example"], Some("shop.example")),
            ("https://shop.example.:443/", &[], Some("shop.example")),
            ("https://shop.example:80/", &[], Some("shop.example:80")),
            ("http://[::1]:80/", &[], Some("[::1]")),
            ("/", &[], None),
            ("/", &[b""], None),
            ("/", &[b"a", b"b"], None),
            ("/", &[b"a", b"a"], None),
            ("/", &[b"a, b"], None),
            ("/", &[b"a,b"], None),
            ("/", &[b"."], None),
            ("/", &[b".a"], None),
            ("/", &[b"a.."], None),
            ("/", &[b"a..b"], None),
            ("/", &[b":80"], None),
            ("/", &[b"a:b"], None),
            ("/", &[b"a:80:80"], None),
            ("/", &[b"::1"], None),
            ("/", &[b"[]"], None),
            ("/", &[b"[::1"], None),
            ("/", &[b"[::1]80"], None),
            ("/", &[b"user@a"], None),
            ("/", &[b"%61"], None),
            ("/", &[b"\xc3\xa9.example"], None),
            ("http://a/", &[b"b"], None),
        ];
        for (uri, lines, expected) in table {
            let request = with_lines(uri, "host", lines);
            assert_eq!(of(&Tenancy::host(), &request).as_deref(), expected, "{uri} {lines:?}");
        }
        let long = [b"a".repeat(256), b"a".repeat(257)];
        assert_eq!(long.map(|host| of(&Tenancy::host(), &with_lines("/", "host", &[&host])).is_some()), [true, false]);
    }

    #[test]
    fn a_field_names_a_tenant_if_it_stands_once_and_is_plain() {
        let tenancy = Tenancy::header(HeaderName::from_static("x-tenant"));
        let (longest, longer) = (b"a".repeat(256), b"a".repeat(257));
        let table: [(Lines<'_>, Option<&[u8]>); 11] = [
            (&[b"acme"], Some(b"acme")),
            (&[b"Acme"], Some(b"Acme")),
            (&[b"a|b%7C~,;="], Some(b"a|b%7C~,;=")),
            (&[&longest], Some(&longest)),
            (&[&longer], None),
            (&[], None),
            (&[b""], None),
            (&[b"acme", b"acme"], None),
            (&[b"acme", b""], None),
            (&[b"ac me"], None),
            (&[b"\xc3\xa9"], None),
        ];
        for (lines, expected) in table {
            let found = of(&tenancy, &with_lines("/", "x-tenant", lines));
            assert_eq!(found.as_deref().map(str::as_bytes), expected, "{lines:?}");
        }
    }

    #[test]
    fn a_segment_of_the_path_names_a_tenant_as_it_was_sent() {
        let longer = format!("/{}", "a".repeat(257));
        let table = [
            ("/acme", 0, Some("acme")),
            ("/acme/list?x=/y", 0, Some("acme")),
            ("/Acme/list", 0, Some("Acme")),
            ("/%61cme/list", 0, Some("%61cme")),
            ("/a%2Fb/c", 0, Some("a%2Fb")),
            ("/é", 0, Some("é")),
            ("/t/acme/list", 1, Some("acme")),
            ("/acme//list", 0, Some("acme")),
            ("/.../x", 0, Some("...")),
            ("/.well-known/x", 0, Some(".well-known")),
            ("/", 0, None),
            ("*", 0, None),
            ("//acme", 0, None),
            ("//acme", 1, None),
            ("/acme", 1, None),
            ("/acme/", 1, None),
            ("/acme", usize::MAX, None),
            (&longer, 0, None),
            ("/./acme", 0, None),
            ("/../acme", 0, None),
            ("/%2e/acme", 0, None),
            ("/%2E%2e/acme", 0, None),
            ("/.%2e/acme", 0, None),
            ("/..;a=b/acme", 0, None),
            // Somebody else's, to a server that takes the dots for a way up.
            ("/acme/../umbrella", 0, None),
            ("/acme/x/%2e%2E/../umbrella", 0, None),
            ("/./acme", 1, None),
        ];
        for (uri, index, expected) in table {
            let request = with_lines(uri, "host", &[]);
            assert_eq!(of(&Tenancy::path_segment(index), &request).as_deref(), expected, "{uri} {index}");
        }
    }

    #[test]
    fn an_extension_names_a_tenant_if_it_is_there() {
        let tenancy = Tenancy::extension(|number: &u32| Tenant::named(number.to_string()));
        let mut request = with_lines("/", "host", &[]);
        request.extensions_mut().insert("another type");
        assert_eq!(of(&tenancy, &request), None);

        request.extensions_mut().insert(7_u32);
        assert_eq!(of(&tenancy, &request).as_deref(), Some("7"));
    }

    #[test]
    fn tenancy_is_shared_unless_a_function_says_otherwise() {
        let request = Request::get("/eu/products").body(()).unwrap();
        let head = RequestHead::of(&request);
        let by_path = Tenancy::from_fn(|head| Tenant::named(head.uri().path().split('/').nth(1).unwrap_or_default()));

        assert_eq!(Tenancy::default().of(head), Tenant::shared());
        assert_eq!(by_path.of(head), Tenant::named("eu"));
        let extension = Tenancy::extension(|tenant: &Tenant| tenant.clone());
        let shown = format!("{:?} {by_path:?} {:?} {extension:?}", Tenancy::shared(), Tenancy::host());
        assert_eq!(shown, "Tenancy(shared) Tenancy(from_fn) Tenancy(host) Tenancy(extension)");
    }

    #[test]
    fn a_tenant_that_is_known_already_counts_before_all_else() {
        for known in [Tenant::named("known"), Tenant::unidentified(), Tenant::shared()] {
            let mut request = with_lines("/acme", "host", &[b"shop.example"]);
            request.extensions_mut().insert(known.clone());
            let others = [Tenancy::shared(), Tenancy::host(), Tenancy::header(HOST), Tenancy::path_segment(0)];
            for tenancy in others.into_iter().chain([Tenancy::from_fn(|_| Tenant::named("other"))]) {
                assert_eq!(tenancy.of(RequestHead::of(&request)), known, "{tenancy:?}");
            }
        }
    }

    #[test]
    fn a_name_that_was_seen_lately_costs_no_allocation() {
        let request = Request::get("/acme/list").header(HOST, "shop.example:8080").body(()).unwrap();
        for tenancy in [Tenancy::host(), Tenancy::header(HOST), Tenancy::path_segment(0)] {
            let tenant = tenancy.of(RequestHead::of(&request));
            let info = allocation_counter::measure(|| {
                assert_eq!(tenancy.of(RequestHead::of(&request)), tenant);
            });
            assert_eq!(info.count_total, 0, "{tenancy:?}");
        }
    }

    #[test]
    fn names_that_share_a_place_in_memory_do_not_share_a_tenant() {
        for round in 0..2 {
            for number in 0..1000 {
                let name = format!("tenant-{number}");
                assert_eq!(seen(&name).name(), Some(name.as_str()), "{round}");
            }
        }
    }

    proptest! {
        #[test]
        fn a_tenant_is_what_was_sent_or_nobody(value in any_value(), uri in "/[!-~&&[^?#]]{0,20}") {
            let Ok(line) = HeaderValue::from_bytes(&value) else { return Ok(()) };
            let mut request = Request::new(());
            if let Ok(uri) = uri.parse() {
                *request.uri_mut() = uri;
            }
            request.headers_mut().insert(HOST, line);

            if let Some(name) = of(&Tenancy::header(HOST), &request) {
                prop_assert_eq!(name.as_bytes(), &value);
            }
            if let Some(name) = of(&Tenancy::host(), &request) {
                let host = name.split(':').next().unwrap();
                prop_assert!(value.to_ascii_lowercase().starts_with(host.as_bytes()), "{}", name);
            }
            for index in 0..3 {
                let found = of(&Tenancy::path_segment(index), &request);
                prop_assert!(found.is_none() || found.as_deref() == request.uri().path().split('/').nth(index + 1));
            }
        }
    }
}
