//! The head of a stored response.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, StatusCode, header};
use serde::{Deserialize, Serialize};

use super::{
    fields::{Line, header_map, lines, response_fields, sorted_names},
    from_bytes, to_bytes, units,
};
use crate::{
    rfc9111::variants::Nominated,
    status,
    stored::{Staleness, StoredHead},
};

/// [`StoredHead`] as it is written: times and durations in milliseconds.
#[derive(Serialize, Deserialize)]
struct Head<'a> {
    status: u16,
    /// With the places for `Age` and `Cache-Status`.
    #[serde(borrow)]
    fields: Vec<Line<'a>>,
    has_status_place: bool,
    /// The names of the request fields that its `Vary` nominates.
    nominated: Vec<&'a str>,
    /// What the request said in these. The normal form is made anew, so that it is always that of the lines.
    nominated_lines: Vec<Line<'a>>,
    began: u64,
    brought: u64,
    response_time: u64,
    initial_age: u64,
    freshness_lifetime: u64,
    implied: bool,
    staleness: StalenessInMillis,
    has_validator: bool,
    tags: Vec<&'a str>,
}

#[derive(Serialize, Deserialize)]
struct StalenessInMillis {
    is_forbidden: bool,
    while_revalidate: u64,
    if_error: u64,
    is_immutable: bool,
}

pub(super) fn write(head: &StoredHead) -> Vec<u8> {
    let Staleness { is_forbidden, while_revalidate, if_error, is_immutable } = head.staleness;
    to_bytes(&Head {
        status: head.status.as_u16(),
        fields: lines(&head.headers),
        has_status_place: head.has_status_place,
        nominated: head.nominated.names().map(HeaderName::as_str).collect(),
        nominated_lines: lines(head.nominated.lines()),
        began: units::millis(head.began),
        brought: units::millis(head.brought),
        response_time: units::millis(head.response_time),
        initial_age: units::at_least(head.initial_age),
        freshness_lifetime: units::at_most(head.freshness_lifetime),
        implied: head.implied,
        staleness: StalenessInMillis {
            is_forbidden,
            while_revalidate: units::at_most(while_revalidate),
            if_error: units::at_most(if_error),
            is_immutable,
        },
        has_validator: head.has_validator,
        tags: head.tags.iter().map(|tag| &**tag).collect(),
    })
}

/// With `kept`, which these bytes are part of, the values of its fields are slices of that.
pub(super) fn read(bytes: &[u8], kept: Option<&Bytes>) -> Option<StoredHead> {
    let head: Head<'_> = from_bytes(bytes)?;
    let StalenessInMillis { is_forbidden, while_revalidate, if_error, is_immutable } = head.staleness;
    let fields = response_fields(&head.fields, kept)?;
    // Nothing is confirmed before it is there.
    (has_places(&fields, head.has_status_place) && head.brought <= head.began).then_some(())?;
    Some(StoredHead {
        status: StatusCode::from_u16(head.status).ok()?,
        headers: fields,
        has_status_place: head.has_status_place,
        nominated: nominated(&head.nominated, &head.nominated_lines)?,
        began: units::time(head.began)?,
        brought: units::time(head.brought)?,
        response_time: units::time(head.response_time)?,
        initial_age: Duration::from_millis(head.initial_age),
        freshness_lifetime: Duration::from_millis(head.freshness_lifetime),
        implied: head.implied,
        staleness: Staleness {
            is_forbidden,
            while_revalidate: Duration::from_millis(while_revalidate),
            if_error: Duration::from_millis(if_error),
            is_immutable,
        },
        has_validator: head.has_validator,
        tags: tags(&head.tags)?,
    })
}

fn nominated(names: &[&str], lines: &[Line<'_>]) -> Option<Nominated> {
    // Most have none.
    if names.is_empty() && lines.is_empty() {
        return Some(Nominated::default());
    }
    Some(Nominated::new(&sorted_names(names)?, &header_map(lines, None)?))
}

/// Tags as they are compared: sorted, each once.
fn tags(tags: &[&str]) -> Option<Arc<[Box<str>]>> {
    if tags.is_empty() {
        // Allocates nothing, unlike one that is collected.
        return Some(Arc::default());
    }
    let are_kept = tags.len() <= MOST_TAGS && tags.is_sorted_by(|one, other| one < other);
    are_kept.then(|| tags.iter().map(|tag| Box::from(*tag)).collect())
}

/// Whether a hit finds its places: `Age` once and first, and `Cache-Status`, if it has one, once and second. Otherwise
/// it would write over another field, or leave an age that is not true (RFC 9111 §5.1).
fn has_places(fields: &HeaderMap, has_status_place: bool) -> bool {
    let each_once = fields.len() == fields.keys_len();
    let once = |name| each_once || fields.get_all(name).iter().count() == 1;
    let mut names = fields.keys();
    names.next() == Some(&header::AGE)
        && once(&header::AGE)
        && (!has_status_place || names.next() == Some(&status::CACHE_STATUS) && once(&status::CACHE_STATUS))
}

/// More than a response ever has.
const MOST_TAGS: usize = 1_024;
