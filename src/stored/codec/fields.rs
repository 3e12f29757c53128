//! Field lines: names in lower case, values as the bytes they are, repeated ones in order.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde::{Deserialize, Serialize, Serializer};

use super::{from_bytes, shapes::Shape, to_bytes};
use crate::stored::compact;

#[derive(Serialize, Deserialize)]
pub(super) struct Line<'a> {
    #[serde(borrow)]
    name: Octets<'a>,
    #[serde(borrow)]
    value: Value<'a>,
}

impl<'a> Line<'a> {
    pub(super) fn name(&self) -> &'a [u8] {
        self.name.0
    }

    /// The value, unless it is sensitive: such a one is kept nowhere else.
    pub(super) fn shareable(&self) -> Option<&'a [u8]> {
        (!self.value.is_sensitive).then_some(self.value.bytes.0)
    }
}

#[derive(Serialize, Deserialize)]
struct Value<'a> {
    #[serde(borrow)]
    bytes: Octets<'a>,
    is_sensitive: bool,
}

/// Bytes that are written as one piece. As a slice they would be numbers, one by one.
#[derive(Deserialize)]
#[serde(transparent)]
struct Octets<'a>(&'a [u8]);

impl Serialize for Octets<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

impl<'a> Value<'a> {
    fn of(value: &'a HeaderValue) -> Self {
        Self { bytes: Octets(value.as_bytes()), is_sensitive: value.is_sensitive() }
    }

    /// A slice of `kept`, which it is part of; without that a copy, so that it keeps nothing. None if no field can have
    /// it.
    fn read(&self, kept: Option<&Bytes>) -> Option<HeaderValue> {
        let value = match kept {
            Some(bytes) => HeaderValue::from_maybe_shared(bytes.slice_ref(self.bytes.0)),
            None => HeaderValue::from_bytes(self.bytes.0),
        };
        let mut value = value.ok()?;
        value.set_sensitive(self.is_sensitive);
        Some(value)
    }
}

pub(super) fn lines<'a>(fields: impl IntoIterator<Item = (&'a HeaderName, &'a HeaderValue)>) -> Vec<Line<'a>> {
    fields
        .into_iter()
        .map(|(name, value)| Line { name: Octets(name.as_str().as_bytes()), value: Value::of(value) })
        .collect()
}

/// The fields of a response, without room to spare. Where many responses share a value it is static, and else as in
/// [`header_map`].
pub(super) fn response_fields(lines: &[Line<'_>], kept: Option<&Bytes>) -> Option<HeaderMap> {
    let Some(shape) = Shape::of(lines) else { return header_map(lines, kept).map(compact) };
    shape.fill(lines, |line| line.value.read(kept))
}

/// None if no message can have these lines. With `kept`, which they are part of, their values are slices of that.
pub(super) fn header_map(lines: &[Line<'_>], kept: Option<&Bytes>) -> Option<HeaderMap> {
    if lines.len() > MOST_LINES {
        return None;
    }
    let mut fields = HeaderMap::try_with_capacity(lines.len()).ok()?;
    for line in lines {
        fields.try_append(name(line.name.0)?, line.value.read(kept)?).ok()?;
    }
    Some(fields)
}

/// Names as they are compared: sorted, each once.
pub(super) fn sorted_names(names: &[&str]) -> Option<Vec<HeaderName>> {
    let is_sorted = names.is_sorted_by(|one, other| one < other);
    names.iter().map(|text| name(text.as_bytes())).collect::<Option<_>>().filter(|_| is_sorted)
}

pub(super) fn write_trailers(trailers: Option<&HeaderMap>) -> Vec<u8> {
    to_bytes(&trailers.map(lines))
}

/// The outer none if they are malformed, the inner one if there are none.
pub(super) fn read_trailers(bytes: &[u8]) -> Option<Option<HeaderMap>> {
    match from_bytes::<Option<Vec<Line<'_>>>>(bytes)? {
        None => Some(None),
        Some(lines) => header_map(&lines, None).map(Some),
    }
}

/// A name has one spelling here.
fn name(text: &[u8]) -> Option<HeaderName> {
    HeaderName::from_lowercase(text).ok()
}

/// The most lines that are read: far from what a map can take, so that a hit can add its own.
const MOST_LINES: usize = 4_096;
