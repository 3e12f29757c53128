//! What a handler says of its response with types, in the response's extensions.

use std::time::Duration;

use http::Extensions;

/// How long a response is fresh, said by the handler that made it: a response extension for this cache alone, which
/// goes before every field. Clients never see it.
///
/// It is explicit freshness: responses to requests with cookies may have it, and be stored. It does not allow what
/// something else forbids, as [`Scope::Private`] or `no-store`. A 304 has to say it again, since it is no field.
///
/// ```
/// use http::Response;
/// use microcache::Freshness;
///
/// let mut response = Response::new("numbers");
/// response.extensions_mut().insert(Freshness::for_secs(30));
/// ```
#[doc(alias = "ttl")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Freshness(Duration);

impl Freshness {
    /// So many seconds from arrival.
    #[must_use]
    pub const fn for_secs(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// So long from arrival.
    #[must_use]
    pub const fn of(lifetime: Duration) -> Self {
        Self(lifetime)
    }

    /// The lifetime.
    #[must_use]
    pub const fn lifetime(self) -> Duration {
        self.0
    }
}

/// For whom a response is, said by the handler that made it: a response extension. It can only narrow what else is
/// said: what is for fewer than its key is not stored, and who waits for it asks for itself. From wide to narrow.
///
/// The key says who may share it: its tenant ([`Tenancy`](crate::Tenancy)) and its principal
/// ([`Principal`](crate::Principal)). A 304 has to say it again, since it is no field.
///
/// ```
/// use http::Response;
/// use microcache::Scope;
///
/// let mut response = Response::new("your cart");
/// response.extensions_mut().insert(Scope::Private);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Scope {
    /// For everybody who shares its key. It changes nothing.
    Shared,
    /// For one tenant: not stored where there are no tenants.
    Tenant,
    /// For one principal: not stored where the key has none.
    Principal,
    /// For whoever asked, and nobody else: neither stored nor shared.
    Private,
}

/// What the extensions of a response say.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Said {
    pub(crate) freshness: Option<Freshness>,
    pub(crate) scope: Option<Scope>,
}

impl Said {
    pub(crate) fn of(extensions: &Extensions) -> Self {
        Self { freshness: extensions.get().copied(), scope: extensions.get().copied() }
    }
}

#[cfg(feature = "axum")]
mod axum {
    use std::convert::Infallible;

    use axum_core::response::{IntoResponseParts, ResponseParts};

    use super::{Freshness, Scope};

    impl IntoResponseParts for Freshness {
        type Error = Infallible;

        fn into_response_parts(self, mut parts: ResponseParts) -> Result<ResponseParts, Infallible> {
            parts.extensions_mut().insert(self);
            Ok(parts)
        }
    }

    impl IntoResponseParts for Scope {
        type Error = Infallible;

        fn into_response_parts(self, mut parts: ResponseParts) -> Result<ResponseParts, Infallible> {
            // It only narrows what was said before.
            let scope = parts.extensions().get().copied().map_or(self, |said: Self| said.max(self));
            parts.extensions_mut().insert(scope);
            Ok(parts)
        }
    }
}

#[cfg(all(test, feature = "axum"))]
mod tests {
    use ::axum::response::IntoResponse;

    use super::*;

    #[test]
    fn a_scope_as_a_part_of_a_response_only_narrows() {
        let said = |one: Scope, other: Scope| (one, other, "page").into_response().extensions().get().copied();
        let scopes = [Scope::Shared, Scope::Tenant, Scope::Principal, Scope::Private];
        for (narrow, one) in scopes.into_iter().enumerate() {
            for (narrower, other) in scopes.into_iter().enumerate() {
                assert_eq!(said(one, other), Some(scopes[narrow.max(narrower)]), "{one:?} {other:?}");
            }
        }
    }
}
