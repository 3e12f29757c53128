//! Tenants: whose responses may never mix with another's.

use std::{fmt, sync::Arc};

use super::{RequestHead, escape};

/// Whose responses may never mix with another's.
///
/// The tenant is the first component of every key, so that no request of one tenant is answered with, waits
/// for, or purges what belongs to another. A service without tenants is one tenant, [`Tenant::shared`]; its
/// responses go to everyone, and it differs from every named tenant. A request of an *unidentified* tenant
/// has no key: nothing is stored for it, and nothing stored is served to it.
///
/// ```
/// use microcache::Tenant;
///
/// assert_eq!(Tenant::named("acme").name(), Some("acme"));
/// assert_eq!(Tenant::shared().name(), None);
/// // An empty name is the absence of one, not one more tenant.
/// assert!(Tenant::named("").is_unidentified());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Tenant(Kind);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Shared,
    Named(Arc<str>),
    Unidentified,
}

impl Tenant {
    /// The one tenant of a service that has no others.
    #[must_use]
    pub const fn shared() -> Self {
        Self(Kind::Shared)
    }

    /// The tenant of this name; unidentified if it is empty.
    ///
    /// Names are compared byte by byte: fold their case before, if case does not tell tenants apart.
    #[must_use]
    pub fn named(id: impl Into<Arc<str>>) -> Self {
        let id = id.into();
        if id.is_empty() { Self::unidentified() } else { Self(Kind::Named(id)) }
    }

    /// Nobody knows whose request this is, so it is never answered from the cache, nor stored.
    #[must_use]
    pub const fn unidentified() -> Self {
        Self(Kind::Unidentified)
    }

    /// The name of a named tenant.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        match &self.0 {
            Kind::Named(id) => Some(id),
            Kind::Shared | Kind::Unidentified => None,
        }
    }

    /// As it stands in a key. Nothing has a key that begins as that of the unidentified one.
    pub(crate) fn in_key(&self) -> String {
        let mut text = String::new();
        match &self.0 {
            Kind::Shared => {}
            Kind::Named(id) => escape::push_str(&mut text, id, |_| false),
            Kind::Unidentified => text.push('~'),
        }
        text
    }

    /// Whether it is not known whose request this is.
    #[must_use]
    pub const fn is_unidentified(&self) -> bool {
        matches!(self.0, Kind::Unidentified)
    }
}

/// How the tenant of a request is found. Default: [`Tenancy::shared`].
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
pub struct Tenancy {
    /// Without it all requests are of the shared tenant.
    identify: Option<Arc<Identify>>,
}

type Identify = dyn Fn(RequestHead<'_>) -> Tenant + Send + Sync;

impl Tenancy {
    /// All requests are of one tenant: everyone may get what is stored for anyone.
    pub const fn shared() -> Self {
        Self { identify: None }
    }

    /// The tenant is what `identify` says, and is asked for once a request.
    ///
    /// It must rest on something that the sender can not choose freely, as an authenticated session: the
    /// cache believes it. Answer with [`Tenant::unidentified`] where that is missing.
    pub fn from_fn(identify: impl Fn(RequestHead<'_>) -> Tenant + Send + Sync + 'static) -> Self {
        Self { identify: Some(Arc::new(identify)) }
    }

    pub(crate) fn of(&self, head: RequestHead<'_>) -> Tenant {
        self.identify.as_ref().map_or(Tenant::shared(), |identify| identify(head))
    }
}

impl fmt::Debug for Tenancy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.identify {
            None => "Tenancy(shared)",
            Some(_) => "Tenancy(from_fn)",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_named_and_unidentified_are_different_tenants() {
        assert_ne!(Tenant::shared(), Tenant::unidentified());
        assert_ne!(Tenant::named("shared"), Tenant::shared());
        assert_ne!(Tenant::named("a"), Tenant::named("A"));
        assert_eq!(Tenant::named("a"), Tenant::named(String::from("a")));
        assert!(!Tenant::shared().is_unidentified());
        assert!(!Tenant::named("a").is_unidentified());
        assert_eq!(Tenant::named(""), Tenant::unidentified());
    }

    #[test]
    fn no_tenant_stands_in_a_key_as_another() {
        let names = [Tenant::shared(), Tenant::named("a"), Tenant::named("a|b"), Tenant::named("~")];
        let in_key = names.each_ref().map(Tenant::in_key);

        assert_eq!(in_key, ["", "a", "a%7Cb", "%7E"]);
        assert_eq!(Tenant::unidentified().in_key(), "~");
    }

    #[test]
    fn tenancy_is_shared_unless_a_function_says_otherwise() {
        let request = http::Request::get("/eu/products").body(()).unwrap();
        let head = RequestHead::of(&request);
        let by_path = Tenancy::from_fn(|head| Tenant::named(head.uri().path().split('/').nth(1).unwrap_or_default()));

        assert_eq!(Tenancy::default().of(head), Tenant::shared());
        assert_eq!(by_path.of(head), Tenant::named("eu"));
        assert_eq!(format!("{:?} {:?}", Tenancy::shared(), by_path), "Tenancy(shared) Tenancy(from_fn)");
    }
}
