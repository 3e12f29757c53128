//! Random field lines.

use proptest::{prelude::*, sample::select};

/// A line of this field with one of these values; none for the empty one.
pub(crate) fn field(name: &'static str, values: Vec<&'static str>) -> impl Strategy<Value = Option<(String, String)>> {
    select(values).prop_map(move |value| (!value.is_empty()).then(|| (name.to_owned(), value.to_owned())))
}

/// A list of a few of these.
pub(crate) fn any_members(values: Vec<&'static str>) -> impl Strategy<Value = String> {
    prop::collection::vec(select(values), 1..4).prop_map(|members| members.join(", "))
}
