//! What went wrong, as problem details (RFC 9457).

use http::{HeaderName, HeaderValue, Response, StatusCode, header::RETRY_AFTER};
use serde_json::json;

use super::{answer, body::AdminBody};

/// A status, and what it means here.
#[derive(Debug)]
pub(super) struct Problem {
    pub(super) status: StatusCode,
    pub(super) detail: String,
    field: Option<(HeaderName, &'static str)>,
}

impl Problem {
    pub(super) fn new(status: StatusCode, detail: String) -> Self {
        Self { status, detail, field: None }
    }

    /// Understood, but it makes no sense (RFC 9110 §15.5.21).
    pub(super) fn unprocessable(detail: String) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, detail)
    }

    /// Not now (RFC 9110 §15.6.4).
    pub(super) fn unavailable(detail: String) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, detail).with(RETRY_AFTER, "5")
    }

    pub(super) fn with(self, name: HeaderName, value: &'static str) -> Self {
        Self { field: Some((name, value)), ..self }
    }

    pub(super) fn response(self) -> Response<AdminBody> {
        // RFC 9457 §4.2.1: the status says all that a program needs, and the title is its phrase.
        let members = json!({
            "type": "about:blank",
            "title": phrase(self.status),
            "status": self.status.as_u16(),
            "detail": self.detail,
        });
        let mut response = answer::text("application/problem+json", members.to_string());
        *response.status_mut() = self.status;
        if let Some((name, value)) = self.field {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        response
    }
}

/// The words of RFC 9110 §15, where `http` has older ones.
fn phrase(status: StatusCode) -> &'static str {
    match status {
        StatusCode::PAYLOAD_TOO_LARGE => "Content Too Large",
        StatusCode::UNPROCESSABLE_ENTITY => "Unprocessable Content",
        _ => status.canonical_reason().unwrap_or_default(),
    }
}
