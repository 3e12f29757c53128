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
/// said.
///
/// ```
/// use http::Response;
/// use microcache::Scope;
///
/// let mut response = Response::new("your cart");
/// response.extensions_mut().insert(Scope::Private);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Scope {
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
            parts.extensions_mut().insert(self);
            Ok(parts)
        }
    }
}
