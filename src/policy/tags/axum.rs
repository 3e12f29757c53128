//! Tags as a part of an axum response.

use std::convert::Infallible;

use axum_core::response::{IntoResponseParts, ResponseParts};

use super::Tags;

impl IntoResponseParts for Tags {
    type Error = Infallible;

    fn into_response_parts(self, mut parts: ResponseParts) -> Result<ResponseParts, Infallible> {
        parts.extensions_mut().insert(self);
        Ok(parts)
    }
}
