//! The cache's own validation of what it has stored (RFC 9111 §4.3.1, §4.3.4, §4.3.5, §3.2).
//!
//! Says what the cache asks the origin, which stored response the answer is about, and which fields it has then.
//! Whether a response with these fields may still be stored, and for which requests, is for the caller to judge anew.

use std::time::SystemTime;

use http::header::{
    CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, ETAG, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED,
};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::stored_fields::stored_fields;
use super::validation::{Conditions, EntityTag};
use crate::field::{self, ContentLength, Singleton};

/// Whether the origin can be asked about a stored response (RFC 9111 §4.3.1).
pub(crate) fn has_validator(stored: &HeaderMap) -> bool {
    EntityTag::of(stored).is_some() || field::single_date(stored, &LAST_MODIFIED).is_some()
}

/// Whether a stored response can be told from all others of its resource by its entity tag: only strong ones have to
/// differ from one coding to another (RFC 9110 §8.8.3.3).
pub(crate) fn has_strong_tag(stored: &HeaderMap) -> bool {
    EntityTag::of(stored).is_some_and(|tag| !tag.is_weak())
}

/// Makes a request ask whether `stored`, or a stored response with one of `other_tags`, is still what the origin would
/// send (RFC 9111 §4.3.1).
///
/// Of the other tags only the first are sent, as many as are reasonable. Without any validator the request is whole.
pub(crate) fn add_conditions<'a>(
    request: &mut HeaderMap,
    stored: &HeaderMap,
    other_tags: impl Iterator<Item = &'a HeaderValue>,
) {
    // What the client has is not what the cache has: none of its own conditions may be left.
    Conditions::remove_from(request);
    // Where the request has no room for one more field, it is a whole one.
    let others = other_tags.filter_map(|value| EntityTag::parse(field::trim_ows(value.as_bytes())));
    if let Some(tags) = tag_list(EntityTag::of(stored), others) {
        let _ = request.try_insert(IF_NONE_MATCH, tags);
    }
    // RFC 9110 §13.1.3: the value of `Last-Modified`, as it was; origins may compare bytes.
    if let Singleton::One(value) = field::singleton(stored, &LAST_MODIFIED)
        && field::http_date(value.as_bytes()).is_some()
    {
        let _ = request.try_insert(IF_MODIFIED_SINCE, value.clone());
    }
}

/// The value of `If-None-Match` for the tag of the stored response and others; none if there are no tags.
fn tag_list<'a>(own: Option<EntityTag<'_>>, others: impl Iterator<Item = EntityTag<'a>>) -> Option<HeaderValue> {
    let mut line = Vec::new();
    if let Some(own) = own {
        own.write_to(&mut line);
    }
    let mut listed: Vec<EntityTag<'_>> = own.into_iter().collect();
    for tag in others {
        if listed.len() >= MOST_TAGS {
            break;
        }
        if listed.contains(&tag) {
            continue;
        }
        let end = line.len();
        if !listed.is_empty() {
            line.extend_from_slice(b", ");
        }
        tag.write_to(&mut line);
        if line.len() > MOST_BYTES {
            line.truncate(end);
        } else {
            listed.push(tag);
        }
    }
    if listed.is_empty() { None } else { HeaderValue::try_from(line).ok() }
}

/// How many entity tags one request has at most.
const MOST_TAGS: usize = 32;

/// How long other tags may make the line: origins limit the head of a request. The tag of the stored response itself
/// is always there, since nothing could be learned without it.
const MOST_BYTES: usize = 2_048;

/// Whether a 304 that answers [`add_conditions`] is about this stored response (RFC 9111 §4.3.4).
///
/// `only`: it was the only response that was asked about. A malformed validator is about nothing.
pub(crate) fn selects(not_modified: &HeaderMap, stored: &HeaderMap, only: bool) -> bool {
    match (EntityTag::of(not_modified), EntityTag::of(stored)) {
        // §4.3.4: a strong validator is of the stored responses with the same one, and of no other.
        (Some(tag), Some(own)) if !tag.is_weak() => tag.strongly_equals(&own),
        // Next to a weak tag `Last-Modified` may be the strong validator (RFC 9110 §8.8.2.2), so that it counts too.
        (Some(tag), Some(own)) => tag.weakly_equals(&own) && !differs_in_last_modified(not_modified, stored),
        (Some(_), None) => false,
        (None, own) => selects_without_tag(not_modified, stored, own.is_some(), only),
    }
}

/// Whether a 304 has the tag of the stored response, be either of them weak (RFC 9110 §8.8.3.2): the condition held, but
/// the two need not be the same bytes. A server that compresses on the way often says `W/"a"` in its 200 and `"a"` here.
pub(crate) fn names_weakly(not_modified: &HeaderMap, stored: &HeaderMap) -> bool {
    match (EntityTag::of(not_modified), EntityTag::of(stored)) {
        (Some(tag), Some(own)) => tag.weakly_equals(&own),
        (Some(_) | None, _) => false,
    }
}

/// [`selects`], for a 304 without an entity tag that can be read.
fn selects_without_tag(not_modified: &HeaderMap, stored: &HeaderMap, stored_has_tag: bool, only: bool) -> bool {
    // RFC 9110 §15.4.5: a 304 has the `ETag` that the 200 would have, so this may be about a response without one.
    // Some origins leave it out. That is no harm where no other response can be meant.
    let may_be_meant = !stored_has_tag || (only && !not_modified.contains_key(ETAG));
    if not_modified.contains_key(LAST_MODIFIED) {
        return may_be_meant && has_same_last_modified(not_modified, stored);
    }
    // RFC 9110 §15.4.5 asks for the validator, and sloppy origins leave even the last one out. The condition was about
    // one response alone, and a 304 says that it holds.
    only && !not_modified.contains_key(ETAG)
}

fn has_same_last_modified(one: &HeaderMap, other: &HeaderMap) -> bool {
    let last_modified = field::single_date(one, &LAST_MODIFIED);
    last_modified.is_some() && last_modified == field::single_date(other, &LAST_MODIFIED)
}

fn differs_in_last_modified(one: &HeaderMap, other: &HeaderMap) -> bool {
    let dates = (field::single_date(one, &LAST_MODIFIED), field::single_date(other, &LAST_MODIFIED));
    matches!(dates, (Some(one), Some(other)) if one != other)
}

/// The fields of a stored response after a 304 that is about it, or a 200 to a HEAD that confirms it (RFC 9111 §3.2).
///
/// Each field of `new` takes the place of all stored lines of its name. `Set-Cookie` and `Vary` do so too: what they
/// mean for the stored response is not decided here. `stored` is without the places that the cache makes for its own
/// fields. None if these are more fields than a map holds; a part of them would not be the response any more.
pub(crate) fn updated_fields(stored: &HeaderMap, new: &HeaderMap, response_time: SystemTime) -> Option<HeaderMap> {
    // §3.2: what is not stored is not updated. This also gives the new `Date`, so that the old one never stays.
    let new = stored_fields(new, response_time);
    let mut updated = stored.clone();
    for name in new.keys().filter(|name| !describes_stored_bytes(name)) {
        let mut lines = new.get_all(name).into_iter();
        if let Some(first) = lines.next() {
            updated.try_insert(name, first.clone()).ok()?;
        }
        for line in lines {
            updated.try_append(name, line.clone()).ok()?;
        }
    }
    // Once more, for one allocation without the values that are gone.
    Some(stored_fields(&updated, response_time))
}

/// Fields that say how the stored bytes are coded and cut: they stay as long as the bytes do.
fn describes_stored_bytes(name: &HeaderName) -> bool {
    // §3.2: never `Content-Length`, and the others because a body that was kept would be read wrong.
    // `Transfer-Encoding` is not stored at all.
    *name == CONTENT_LENGTH || *name == CONTENT_ENCODING || *name == CONTENT_RANGE
}

/// Whether a 200 to a HEAD is about the same representation as a stored response (RFC 9111 §4.3.5).
///
/// What the HEAD has of validators and length must be the same. If not, the stored response is stale.
pub(crate) fn head_confirms(head_response: &HeaderMap, stored: &HeaderMap, stored_length: u64) -> bool {
    let has_same_length = match field::content_length(head_response) {
        ContentLength::Absent => true,
        ContentLength::Bytes(length) => length == stored_length,
        ContentLength::Malformed => false,
    };
    let tag = EntityTag::of(head_response);
    let has_same_tag = tag.is_some() && tag == EntityTag::of(stored);
    has_same_length
        && (has_same_tag || !head_response.contains_key(ETAG))
        && (has_same_last_modified(head_response, stored) || !head_response.contains_key(LAST_MODIFIED))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::header::{AGE, CONNECTION, DATE, TRANSFER_ENCODING};
    use proptest::prelude::*;

    use super::*;
    use crate::field::testing::{any_headers, any_value, at, headers};

    type Lines = &'static [(&'static str, &'static str)];

    const EIGHT: &str = "Sun, 06 Nov 1994 08:00:00 GMT";
    const EIGHT_AS_RFC_850: &str = "Sunday, 06-Nov-94 08:00:00 GMT";
    const NINE: &str = "Sun, 06 Nov 1994 09:00:00 GMT";

    const A: (&str, &str) = ("etag", "\"a\"");
    const B: (&str, &str) = ("etag", "\"b\"");
    const WEAK_A: (&str, &str) = ("etag", "W/\"a\"");
    const WEAK_B: (&str, &str) = ("etag", "W/\"b\"");
    const BROKEN: (&str, &str) = ("etag", "a");
    const AT_EIGHT: (&str, &str) = ("last-modified", EIGHT);
    const AT_NINE: (&str, &str) = ("last-modified", NINE);
    const NEVER: (&str, &str) = ("last-modified", "0");

    #[test]
    fn a_validator_is_a_tag_or_a_date_that_can_be_read() {
        let cases: [(Lines, bool); 9] = [
            (&[], false),
            (&[A], true),
            (&[WEAK_A], true),
            (&[A, A], true),
            (&[A, B], false),
            (&[BROKEN, NEVER], false),
            (&[BROKEN, AT_EIGHT], true),
            (&[AT_EIGHT, AT_NINE], false),
            (&[("expires", EIGHT), ("date", EIGHT)], false),
        ];
        for (stored, expected) in cases {
            assert_eq!(has_validator(&headers(stored)), expected, "{stored:?}");
        }
    }

    /// The request that asks, without the fields that are no conditions.
    fn conditions(stored: Lines, other_tags: &[&str]) -> HeaderMap {
        let mut request = headers(&[
            ("if-none-match", "\"client\""),
            ("x-a", "1"),
            ("if-modified-since", NINE),
            ("if-none-match", "\"client too\""),
        ]);
        let other_tags: Vec<_> = other_tags.iter().map(|tag| HeaderValue::from_str(tag).unwrap()).collect();

        add_conditions(&mut request, &headers(stored), other_tags.iter());

        assert_eq!(request.remove("x-a").unwrap(), "1");
        request
    }

    /// What is stored, the other tags, and the conditions.
    type Case<'a> = (Lines, &'a [&'a str], &'a [(&'a str, &'a str)]);

    #[test]
    fn the_origin_is_asked_with_what_is_stored_and_not_with_what_the_client_has() {
        let tags = |tags: &'static str| ("if-none-match", tags);
        let since = |date: &'static str| ("if-modified-since", date);
        let cases: [Case<'_>; 14] = [
            (&[], &[], &[]),
            (&[A], &[], &[tags("\"a\"")]),
            (&[WEAK_A], &[], &[tags("W/\"a\"")]),
            (&[A, A], &[], &[tags("\"a\"")]),
            (&[A, AT_EIGHT], &[], &[tags("\"a\""), since(EIGHT)]),
            (&[AT_EIGHT], &[], &[since(EIGHT)]),
            (&[("last-modified", EIGHT_AS_RFC_850)], &[], &[since(EIGHT_AS_RFC_850)]),
            (&[BROKEN, NEVER], &[], &[]),
            (&[A, B, AT_EIGHT, AT_NINE], &[], &[]),
            (&[], &["\"b\"", "W/\"b\""], &[tags("\"b\", W/\"b\"")]),
            (&[A], &["\"b\"", "\"a\"", "W/\"a\"", "\"b\""], &[tags("\"a\", \"b\", W/\"a\"")]),
            (&[A], &["b", "*", "", "\"b\", \"c\"", "\"d"], &[tags("\"a\"")]),
            (&[BROKEN], &["b", " \"b,c\"\t"], &[tags("\"b,c\"")]),
            (&[AT_EIGHT], &["\"b\""], &[tags("\"b\""), since(EIGHT)]),
        ];
        for (stored, other_tags, expected) in cases {
            assert_eq!(conditions(stored, other_tags), headers(expected), "{stored:?} {other_tags:?}");
        }
    }

    #[test]
    fn a_request_has_no_more_tags_than_are_reasonable() {
        let many: Vec<_> = (0..100).map(|number| format!("\"{number}\"")).collect();
        let many: Vec<_> = many.iter().map(String::as_str).collect();
        let long = format!("\"{}\"", "x".repeat(1_000));
        let longer = format!("\"{}\"", "y".repeat(1_500));
        let own = HeaderValue::try_from(format!("\"{}\"", "z".repeat(3_000))).unwrap();

        let found = &conditions(&[A], &many)[IF_NONE_MATCH];
        let found = found.to_str().unwrap();
        assert!(found.starts_with("\"a\", \"0\", "));
        assert!(found.ends_with(", \"30\""));
        // One that does not fit is left out, and a shorter one after it is not.
        let found = conditions(&[A], &[&long, &longer, "\"b\""]);
        assert_eq!(found[IF_NONE_MATCH], format!("\"a\", {long}, \"b\""));

        let mut request = HeaderMap::new();
        let mut stored = HeaderMap::new();
        stored.insert(ETAG, own.clone());
        add_conditions(&mut request, &stored, [HeaderValue::from_static("\"b\"")].iter());
        assert_eq!(request[IF_NONE_MATCH], own);
    }

    const NOT_MODIFIED_AND_STORED: &[(Lines, Lines, bool, bool)] = &[
        // Stands last: with other responses asked about, and as the only one.
        (&[A], &[A], true, true),
        (&[A], &[A, AT_EIGHT], true, true),
        (&[A, AT_NINE], &[A, AT_EIGHT], true, true),
        (&[A], &[B], false, false),
        (&[A], &[WEAK_A], false, false),
        (&[A, AT_EIGHT], &[B, AT_EIGHT], false, false),
        (&[A, AT_EIGHT], &[AT_EIGHT], false, false),
        (&[A], &[], false, false),
        (&[WEAK_A], &[WEAK_A], true, true),
        (&[WEAK_A], &[A], true, true),
        (&[WEAK_A], &[WEAK_B], false, false),
        (&[WEAK_A, AT_EIGHT], &[WEAK_A, AT_EIGHT], true, true),
        (&[WEAK_A, AT_EIGHT], &[WEAK_A], true, true),
        (&[WEAK_A, NEVER], &[WEAK_A, AT_EIGHT], true, true),
        (&[WEAK_A, AT_NINE], &[WEAK_A, AT_EIGHT], false, false),
        (&[WEAK_A, AT_EIGHT], &[WEAK_B, AT_EIGHT], false, false),
        (&[WEAK_A, AT_EIGHT], &[AT_EIGHT], false, false),
        (&[AT_EIGHT], &[AT_EIGHT], true, true),
        (&[("last-modified", EIGHT_AS_RFC_850)], &[AT_EIGHT], true, true),
        (&[AT_EIGHT], &[AT_NINE], false, false),
        (&[AT_EIGHT], &[], false, false),
        (&[AT_EIGHT], &[A], false, false),
        (&[AT_EIGHT], &[A, AT_NINE], false, false),
        (&[AT_EIGHT], &[A, AT_EIGHT], false, true),
        (&[AT_EIGHT], &[BROKEN, AT_EIGHT], true, true),
        (&[], &[A], false, true),
        (&[], &[AT_EIGHT], false, true),
        (&[], &[], false, true),
        (&[("date", EIGHT)], &[A, AT_EIGHT], false, true),
        (&[BROKEN], &[A], false, false),
        (&[BROKEN], &[BROKEN], false, false),
        (&[BROKEN], &[BROKEN, AT_EIGHT], false, false),
        (&[BROKEN, AT_EIGHT], &[BROKEN, AT_EIGHT], true, true),
        (&[BROKEN, AT_EIGHT], &[A, AT_EIGHT], false, false),
        (&[A, B], &[A], false, false),
        (&[A, B, AT_EIGHT], &[A, AT_EIGHT], false, false),
        (&[NEVER], &[A], false, false),
        (&[NEVER], &[NEVER], false, false),
        (&[AT_EIGHT, AT_NINE], &[AT_EIGHT], false, false),
    ];

    #[test]
    fn a_304_is_about_the_stored_response_that_its_validators_name() {
        for &(not_modified, stored, among_others, as_only) in NOT_MODIFIED_AND_STORED {
            let found = |only| selects(&headers(not_modified), &headers(stored), only);

            assert_eq!(found(false), among_others, "{not_modified:?} {stored:?}");
            assert_eq!(found(true), as_only, "{not_modified:?} {stored:?} only");
        }
    }

    const DATE_LINE: (&str, &str) = ("date", NINE);
    const ADDED: (&str, &str) = ("date", "Sun, 06 Nov 1994 08:49:37 GMT");

    const STORED_NEW_AND_UPDATED: &[(&str, Lines, Lines, Lines)] = &[
        (
            "a field takes the place of all lines of its name",
            &[("x-a", "1"), ("x-a", "2"), ("x-b", "1"), ("date", EIGHT)],
            &[("x-a", "3"), ("x-c", "1"), DATE_LINE, ("x-a", "4"), ("x-a", "3")],
            &[("x-a", "3"), ("x-a", "4"), ("x-a", "3"), ("x-b", "1"), DATE_LINE, ("x-c", "1")],
        ),
        ("an empty value too", &[("x-a", "1")], &[("x-a", ""), DATE_LINE], &[("x-a", ""), DATE_LINE]),
        ("the old date never stays", &[("date", EIGHT)], &[], &[ADDED]),
        ("nor next to a malformed one", &[("date", EIGHT)], &[("date", "now")], &[ADDED]),
        ("nor next to a nominated one", &[("date", EIGHT)], &[("connection", "date"), DATE_LINE], &[ADDED]),
        (
            "what describes the stored bytes stays",
            &[("content-encoding", "gzip"), ("content-length", "5"), ("content-type", "text/plain"), DATE_LINE],
            &[
                ("content-encoding", "br"),
                ("content-length", "0"),
                ("content-range", "bytes 0-4/5"),
                ("transfer-encoding", "chunked"),
                ("content-type", "text/html"),
                ("content-location", "/a"),
                DATE_LINE,
            ],
            &[
                ("content-encoding", "gzip"),
                ("content-length", "5"),
                ("content-type", "text/html"),
                DATE_LINE,
                ("content-location", "/a"),
            ],
        ),
        (
            "and does not come in",
            &[DATE_LINE],
            &[("content-encoding", "br"), ("content-length", "0"), ("content-range", "bytes */5"), DATE_LINE],
            &[DATE_LINE],
        ),
        (
            "what is never stored",
            &[("x-a", "1"), ("age", "1"), DATE_LINE],
            &[
                ("age", "5"),
                ("connection", "x-a, x-b"),
                ("keep-alive", "5"),
                ("proxy-authenticate", "x"),
                ("upgrade", "h2c"),
                ("x-a", "2"),
                ("x-b", "2"),
                DATE_LINE,
            ],
            &[("x-a", "1"), DATE_LINE],
        ),
        (
            "what the caller judges",
            &[("cache-control", "max-age=1"), ("vary", "accept"), DATE_LINE],
            &[("cache-control", "private"), ("vary", "*"), ("set-cookie", "a"), ("set-cookie", "b"), DATE_LINE],
            &[("cache-control", "private"), ("vary", "*"), DATE_LINE, ("set-cookie", "a"), ("set-cookie", "b")],
        ),
        ("validators", &[A, AT_EIGHT, DATE_LINE], &[WEAK_A, DATE_LINE], &[WEAK_A, AT_EIGHT, DATE_LINE]),
    ];

    #[test]
    fn new_fields_take_the_place_of_stored_ones() {
        for &(name, stored, new, expected) in STORED_NEW_AND_UPDATED {
            let found = updated_fields(&headers(stored), &headers(new), at(999)).unwrap();

            assert_eq!(found, headers(expected), "{name}");
        }
    }

    #[test]
    fn updated_values_are_slices_of_one_new_allocation() {
        let buffer = Bytes::from(vec![b'x'; 64 * 1024]);
        let value = |range| HeaderValue::from_maybe_shared(buffer.slice(range)).unwrap();
        let (mut stored, mut new) = (headers(&[("x-c", "1")]), headers(&[DATE_LINE]));
        stored.insert("x-a", value(0..10));
        stored.insert("x-b", value(10..20));
        new.insert("x-b", value(500..520));

        let updated = updated_fields(&stored, &new, at(0)).unwrap();

        let mut expected = updated.values().next().unwrap().as_bytes().as_ptr() as usize;
        for value in updated.values() {
            assert_eq!(value.as_bytes().as_ptr() as usize, expected);
            expected += value.len();
        }
        drop((stored, new));
        assert!(buffer.is_unique());
    }

    #[test]
    fn more_fields_than_a_map_holds_are_no_response() {
        let many = |prefix: &str| -> HeaderMap {
            let line = |number| (format!("{prefix}{number}").parse().unwrap(), HeaderValue::from_static("1"));
            (0..15_000).map(line).collect::<HeaderMap>()
        };
        let (stored, new) = (many("x-a-"), many("x-b-"));

        assert_eq!(updated_fields(&stored, &new, at(0)), None);
        assert_eq!(updated_fields(&stored, &stored, at(0)).map(|updated| updated.len()), Some(15_001));
    }

    #[test]
    fn a_head_confirms_what_has_the_same_validators_and_length() {
        let cases: [(Lines, Lines, bool); 23] = [
            (&[], &[A, AT_EIGHT], true),
            (&[("content-length", "5")], &[], true),
            (&[("content-length", "5"), ("content-length", "5")], &[], true),
            (&[("content-length", "0")], &[], false),
            (&[("content-length", "6")], &[A], false),
            (&[("content-length", "5"), ("content-length", "6")], &[], false),
            (&[("content-length", "five")], &[], false),
            (&[A], &[A], true),
            (&[A], &[B], false),
            (&[A], &[], false),
            (&[A], &[WEAK_A], false),
            (&[WEAK_A], &[A], false),
            (&[WEAK_A], &[WEAK_A], true),
            (&[BROKEN], &[BROKEN], false),
            (&[A, B], &[A], false),
            (&[AT_EIGHT], &[AT_EIGHT], true),
            (&[("last-modified", EIGHT_AS_RFC_850)], &[AT_EIGHT], true),
            (&[AT_EIGHT], &[AT_NINE], false),
            (&[AT_EIGHT], &[A], false),
            (&[NEVER], &[NEVER], false),
            (&[A, AT_EIGHT], &[A, AT_EIGHT], true),
            (&[A, AT_NINE], &[A, AT_EIGHT], false),
            (&[A, AT_EIGHT, ("content-length", "4")], &[A, AT_EIGHT], false),
        ];
        for (head_response, stored, expected) in cases {
            let found = head_confirms(&headers(head_response), &headers(stored), 5);

            assert_eq!(found, expected, "{head_response:?} {stored:?}");
        }
    }

    proptest! {
        #[test]
        fn a_condition_is_about_what_is_stored(
            request in any_headers(), stored in any_headers(), others in prop::collection::vec(any_value(), 0..4),
        ) {
            let others: Vec<_> = others.iter().map(|other| HeaderValue::from_bytes(other).unwrap()).collect();
            let mut request = request;

            add_conditions(&mut request, &stored, others.iter());

            let asks_of_stored = has_validator(&stored);
            prop_assert!(!asks_of_stored || !Conditions::of(&request).is_empty());
            prop_assert!(!asks_of_stored || Conditions::of(&request).not_modified(&stored)
                || EntityTag::of(&stored).is_none());
            prop_assert_eq!(request.contains_key(IF_MODIFIED_SINCE),
                field::single_date(&stored, &LAST_MODIFIED).is_some());
        }

        #[test]
        fn the_only_one_is_selected_wherever_one_among_others_is(new in any_headers(), stored in any_headers()) {
            prop_assert!(selects(&new, &stored, true) || !selects(&new, &stored, false));
            head_confirms(&new, &stored, 5);
        }

        #[test]
        fn updated_fields_are_the_new_ones_or_the_stored_ones(stored in any_headers(), new in any_headers()) {
            let stored = stored_fields(&stored, at(0));
            let storable = stored_fields(&new, at(5_000));

            let updated = updated_fields(&stored, &new, at(5_000)).unwrap();

            for name in [AGE, CONNECTION, TRANSFER_ENCODING, HeaderName::from_static("keep-alive")] {
                prop_assert!(!updated.contains_key(&name));
            }
            prop_assert_eq!(&updated[DATE], &storable[DATE]);
            for name in stored.keys().chain(storable.keys()) {
                let is_new = storable.contains_key(name) && *name != CONTENT_LENGTH;
                let source = if is_new { &storable } else { &stored };
                prop_assert!(updated.get_all(name).iter().eq(source.get_all(name)), "{}", name);
            }
            prop_assert!(updated.keys().all(|name| stored.contains_key(name) || storable.contains_key(name)));
        }
    }
}
