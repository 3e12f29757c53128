//! What the origin and the operator allow once a response is stale.

use std::time::Duration;

/// What may be done with a stored response that is stale (RFC 9111 §4.2.4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Staleness {
    /// Nothing: the origin forbids it.
    pub(crate) is_forbidden: bool,
    /// For so long it may be served while it is refreshed (RFC 5861 §3).
    pub(crate) while_revalidate: Duration,
    /// For so long it may be served when the origin fails (RFC 5861 §4).
    pub(crate) if_error: Duration,
    /// While it is fresh, the origin promises, it does not change (RFC 8246).
    pub(crate) is_immutable: bool,
}

impl Staleness {
    pub(crate) const FORBIDDEN: Self =
        Self { is_forbidden: true, while_revalidate: Duration::ZERO, if_error: Duration::ZERO, is_immutable: false };
}
