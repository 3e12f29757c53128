//! Lists of names that many heads have in common: what one application sends, it sends in the same fields.
//!
//! A map with the names of such a list is made once. A head that has it again is a clone of that map with its own
//! values: no name is read, copied or looked for, and the map has no room to spare.

use std::sync::OnceLock;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::fields::Line;
use crate::stored::interned;

/// A list of names, each once.
pub(super) struct Shape {
    /// The names in order, without their values.
    names: HeaderMap,
    /// For each name whose values are worth a twin, the first of them: mostly, it is the only one.
    twins: Box<[Option<OnceLock<HeaderValue>>]>,
}

impl Shape {
    /// The shape of these lines, if they have one and there is room for it.
    pub(super) fn of(lines: &[Line<'_>]) -> Option<&'static Self> {
        let first = lines.iter().fold(0, |hash: usize, line| hash.wrapping_mul(31) ^ interned::hash(line.name()));
        for place in 0..PLACES_TO_LOOK {
            let place = &SHAPES[first.wrapping_add(place) % MOST];
            match place.get() {
                Some(there) if there.is_of(lines) => return Some(there),
                Some(_) => {}
                None => {
                    let made = Self::new(lines)?;
                    // Somebody else may be faster, with another list: then this one is made another time.
                    return Some(place.get_or_init(|| made)).filter(|there| there.is_of(lines));
                }
            }
        }
        None
    }

    fn new(lines: &[Line<'_>]) -> Option<Self> {
        let no_value = HeaderValue::from_static("");
        let name = |line: &Line<'_>| HeaderName::from_lowercase(line.name()).ok().map(|name| (name, no_value.clone()));
        if lines.len() > MOST_NAMES || lines.iter().any(|line| line.name().len() > LONGEST) {
            return None;
        }
        let names: HeaderMap = lines.iter().map(name).collect::<Option<_>>()?;
        // A name that is there twice has two values in one place. Nothing is kept before all is known to be well.
        if names.keys_len() < lines.len() {
            return None;
        }
        let names: HeaderMap = names.keys().map(|name| (as_static(name), no_value.clone())).collect();
        let twins = names.keys().map(|name| interned::has_few_values(name).then(OnceLock::new)).collect();
        // A clone has no room to spare.
        Some(Self { names: names.clone(), twins })
    }

    fn is_of(&self, lines: &[Line<'_>]) -> bool {
        self.names.len() == lines.len()
            && self.names.keys().zip(lines).all(|(name, line)| name.as_str().as_bytes() == line.name())
    }

    /// A map of these lines, whose shape this is. Where many responses share a value it is static, else what `value`
    /// makes of the line.
    pub(super) fn fill(
        &self,
        lines: &[Line<'_>],
        value: impl Fn(&Line<'_>) -> Option<HeaderValue>,
    ) -> Option<HeaderMap> {
        let mut fields = self.names.clone();
        for ((place, line), first) in fields.values_mut().zip(lines).zip(&self.twins) {
            *place = first.as_ref().and_then(|first| twin(first, line.shareable()?)).or_else(|| value(line))?;
        }
        Some(fields)
    }
}

/// The static value of this text, if it has one: often it is the first.
fn twin(first: &OnceLock<HeaderValue>, text: &[u8]) -> Option<HeaderValue> {
    if let Some(first) = first.get().filter(|first| first.as_bytes() == text) {
        return Some(first.clone());
    }
    let twin = interned::twin_of_text(text)?;
    first.get_or_init(|| twin.clone());
    Some(twin)
}

/// The same, of which no references are counted.
fn as_static(name: &HeaderName) -> HeaderName {
    HeaderName::from_static(Box::leak(name.as_str().to_owned().into_boxed_str()))
}

static SHAPES: [OnceLock<Shape>; MOST] = [const { OnceLock::new() }; MOST];

/// As many as an application of some size has. What is there stays for as long as the process lives.
const MOST: usize = 256;

/// From the place of its hash.
const PLACES_TO_LOOK: usize = 4;

const MOST_NAMES: usize = 64;

/// Longer than names are.
const LONGEST: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{field::testing::headers, stored::codec::fields};

    #[test]
    fn the_same_names_have_one_shape_and_a_map_of_it_has_them_in_order() {
        let [one, other] = ["1", "2"].map(|value| headers(&[("x-shape", value), ("server", value), ("etag", value)]));
        let [one, other] = [fields::lines(&one), fields::lines(&other)];
        let shape = Shape::of(&one).unwrap();
        assert!(std::ptr::eq(shape, Shape::of(&other).unwrap()));

        for (lines, server) in [(&one, "1"), (&other, "2"), (&one, "1")] {
            let made = shape.fill(lines, |line| HeaderValue::from_bytes(line.name()).ok()).unwrap();

            let expected = headers(&[("x-shape", "x-shape"), ("server", server), ("etag", "etag")]);
            assert!(made.iter().eq(expected.iter()), "{made:?}");
        }
    }

    #[test]
    fn names_that_are_there_twice_too_long_or_too_many_have_none() {
        let many: Vec<String> = (0..=MOST_NAMES).map(|number| format!("x-{number}")).collect();
        let many: Vec<_> = many.iter().map(|name| (name.as_str(), "")).collect();
        let long = "x".repeat(LONGEST + 1);
        for (lines, has_shape) in [
            (&[("x-a", ""), ("x-b", ""), ("x-a", "")][..], false),
            (&[(&*long, "")], false),
            (&many, false),
            (&many[1..], true),
            (&[], true),
        ] {
            let fields = headers(lines);
            assert_eq!(Shape::of(&fields::lines(&fields)).is_some(), has_shape, "{lines:?}");
        }
    }
}
