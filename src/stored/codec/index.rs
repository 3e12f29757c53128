//! The index of variants (RFC 9111 §4.1).

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};

use super::{fields::sorted_names, from_bytes, to_bytes, units};
use crate::{
    key::CacheKey,
    stored::{KnownVariant, VariantIndex},
};

/// [`VariantIndex`] as it is written.
#[derive(Serialize, Deserialize)]
struct Index<'a> {
    #[serde(borrow)]
    names: Vec<&'a str>,
    variants: Vec<Variant<'a>>,
    began: u64,
    useful_for: u64,
}

#[derive(Serialize, Deserialize)]
struct Variant<'a> {
    /// What follows the key of the index in that of the variant.
    suffix: &'a str,
    until: u64,
}

impl<'a> Variant<'a> {
    fn of(key: &CacheKey, variant: &'a KnownVariant) -> Self {
        let whole = variant.key.as_str();
        Self {
            // The whole key, if it is of another: no variant of this one ends so, and it is refused when it is read.
            suffix: whole.strip_prefix(key.as_str()).unwrap_or(whole),
            until: units::millis(variant.until),
        }
    }
}

/// The index as it stands under `key`.
pub(super) fn write(key: &CacheKey, index: &VariantIndex) -> Vec<u8> {
    to_bytes(&Index {
        names: index.names.iter().map(HeaderName::as_str).collect(),
        variants: index.variants.iter().map(|variant| Variant::of(key, variant)).collect(),
        began: units::millis(index.began),
        useful_for: units::at_most(index.useful_for),
    })
}

pub(super) fn read(key: &CacheKey, bytes: &[u8]) -> Option<VariantIndex> {
    let index: Index<'_> = from_bytes(bytes)?;
    if index.variants.len() > MOST_VARIANTS {
        return None;
    }
    Some(VariantIndex {
        names: sorted_names(&index.names)?.into(),
        variants: index.variants.iter().map(|variant| known(key, variant)).collect::<Option<_>>()?,
        began: units::time(index.began)?,
        useful_for: Duration::from_millis(index.useful_for),
    })
}

fn known(key: &CacheKey, variant: &Variant<'_>) -> Option<KnownVariant> {
    Some(KnownVariant { key: variant_key(key, variant.suffix)?, until: units::time(variant.until)? })
}

/// The key of a variant, made anew from what it says of the request, so that an index can name the variants of its own
/// key and nothing else.
fn variant_key(key: &CacheKey, suffix: &str) -> Option<CacheKey> {
    let mut names = Vec::new();
    let mut request = HeaderMap::new();
    // In a component the separator is escaped, and before the first there is nothing.
    for component in suffix.split('|').skip(1) {
        let (name, lines) = match component.split_once(':')? {
            // A normal form is its own normal form.
            ("n", field) => field.split_once('=').map(|(name, form)| (name, vec![form]))?,
            ("v", field) => {
                let mut pieces = field.split('=');
                (pieces.next()?, pieces.collect())
            }
            _ => return None,
        };
        let name = HeaderName::from_lowercase(&unescape(name)?).ok()?;
        for line in lines {
            request.try_append(&name, HeaderValue::from_bytes(&unescape(line)?).ok()?).ok()?;
        }
        names.push(name);
    }
    let variant = key.variant(&names, &request).ok()?;
    (variant.as_str().strip_prefix(key.as_str()) == Some(suffix)).then_some(variant)
}

/// Undoes the escapes of a component.
fn unescape(component: &str) -> Option<Vec<u8>> {
    let mut pieces = component.split('%');
    let mut bytes = pieces.next()?.as_bytes().to_vec();
    for piece in pieces {
        let (digits, rest) = piece.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    Some(bytes)
}

/// More than an index ever has.
const MOST_VARIANTS: usize = 64;
