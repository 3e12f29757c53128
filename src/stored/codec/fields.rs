//! Field lines: names in lower case, values as the bytes they are, repeated ones in order.

use http::{HeaderMap, HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};

use super::{from_bytes, to_bytes};

#[derive(Serialize, Deserialize)]
pub(super) struct Line<'a> {
    name: &'a str,
    #[serde(borrow)]
    value: Value<'a>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Value<'a> {
    bytes: &'a [u8],
    is_sensitive: bool,
}

impl<'a> Value<'a> {
    pub(super) fn of(value: &'a HeaderValue) -> Self {
        Self { bytes: value.as_bytes(), is_sensitive: value.is_sensitive() }
    }

    /// A copy, so that it does not keep the frame. None if no field can have it.
    pub(super) fn read(&self) -> Option<HeaderValue> {
        let mut value = HeaderValue::from_bytes(self.bytes).ok()?;
        value.set_sensitive(self.is_sensitive);
        Some(value)
    }
}

pub(super) fn lines<'a>(fields: impl IntoIterator<Item = (&'a HeaderName, &'a HeaderValue)>) -> Vec<Line<'a>> {
    fields.into_iter().map(|(name, value)| Line { name: name.as_str(), value: Value::of(value) }).collect()
}

/// None if no message can have these lines.
pub(super) fn header_map(lines: &[Line<'_>]) -> Option<HeaderMap> {
    if lines.len() > MOST_LINES {
        return None;
    }
    let mut fields = HeaderMap::try_with_capacity(lines.len()).ok()?;
    for line in lines {
        fields.try_append(name(line.name)?, line.value.read()?).ok()?;
    }
    Some(fields)
}

/// Names as they are compared: sorted, each once.
pub(super) fn sorted_names(names: &[&str]) -> Option<Vec<HeaderName>> {
    let is_sorted = names.is_sorted_by(|one, other| one < other);
    names.iter().map(|text| name(text)).collect::<Option<_>>().filter(|_| is_sorted)
}

pub(super) fn write_trailers(trailers: Option<&HeaderMap>) -> Vec<u8> {
    to_bytes(&trailers.map(lines))
}

/// The outer none if they are malformed, the inner one if there are none.
pub(super) fn read_trailers(bytes: &[u8]) -> Option<Option<HeaderMap>> {
    match from_bytes::<Option<Vec<Line<'_>>>>(bytes)? {
        None => Some(None),
        Some(lines) => header_map(&lines).map(Some),
    }
}

/// A name has one spelling here.
fn name(text: &str) -> Option<HeaderName> {
    HeaderName::from_lowercase(text.as_bytes()).ok()
}

/// The most lines that are read: far from what a map can take, so that a hit can add its own.
const MOST_LINES: usize = 4_096;
