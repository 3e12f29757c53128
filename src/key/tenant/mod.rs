//! Tenants: whose responses may never mix with another's.

mod tenancy;

use std::sync::Arc;

pub use tenancy::Tenancy;

use super::escape;

/// Whose responses may never mix with another's.
///
/// The tenant is the first component of every key, so that no request of one tenant is answered with, waits
/// for, or purges what belongs to another. A service without tenants is one tenant, [`Tenant::shared`]; its
/// responses go to everyone, and it differs from every named tenant. A request of an *unidentified* tenant
/// has no key: nothing is stored for it, and nothing stored is served to it.
///
/// [`TenantLayer`](crate::TenantLayer) leaves it in the extensions of the request, for handlers too.
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
}
