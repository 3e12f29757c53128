//! The tags of a response, by which the operator purges: what its handler, `Surrogate-Key`, `Cache-Tag` and
//! `Cache-Groups` say.
//!
//! Each is kept as one text of visible ASCII, with the separator and all other bytes escaped as in a
//! [key](crate::key), so that none can pass for another:
//!
//! ```text
//! {tag}                           the operator's, wherever it stands: handler, Surrogate-Key, Cache-Tag
//! {tenant}|{authority}|{group}    a group (RFC 9875), which is one within an origin, and here within a tenant
//! %                               there were tags that are not kept
//! {tenant}|{authority}            there were groups that are not kept
//! ```
//!
//! A response can not be purged by a tag that is not kept. So that a purge never misses what it is to end, such a
//! response has one of the last two, and a [purge](to_purge) by any tag ends it.

#[cfg(feature = "axum")]
mod axum;

use std::{collections::BTreeSet, sync::Arc};

use http::{HeaderMap, HeaderName};

use super::Policy;
use crate::{
    field,
    key::{CacheKey, escape},
    rfc9111::groups::{CACHE_GROUPS, groups},
};

/// What a response is about, said by the handler that made it: a response extension for this cache alone, as
/// `Surrogate-Key` and `Cache-Tag` are fields for it. Clients never see it.
///
/// All who say tags are heard: these and those in the fields ([`Policy::tag_fields`]) count alike. Of several `Tags` in
/// one response the last counts. A tag is any text, compared exactly; an empty one is none. A 304 that says tags says
/// them all; one without any leaves them as they are.
///
/// At most 64 tags of at most 256 bytes are kept of a response. One with more is stored as well, and ends with a purge
/// by whatever tag.
///
/// ```
/// use http::Response;
/// use microcache::Tags;
///
/// let mut response = Response::new("a lamp");
/// response.extensions_mut().insert(Tags::new(["product:7", "list"]));
/// ```
#[doc(alias = "surrogate-key")]
#[doc(alias = "cache-tag")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tags(Arc<[Box<str>]>);

impl Tags {
    /// These tags.
    #[must_use]
    pub fn new(tags: impl IntoIterator<Item = impl Into<Box<str>>>) -> Self {
        Self(tags.into_iter().map(Into::into).collect())
    }

    /// The tags, as they were given.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|tag| &**tag)
    }
}

/// A response field with tags, for [`Policy::tag_fields`].
///
/// ```
/// use microcache::{Policy, TagField};
///
/// let policy = Policy::new().tag_fields([TagField::SurrogateKey]);
/// # let _ = policy;
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TagField {
    /// `Surrogate-Key`: separated by spaces.
    SurrogateKey,
    /// `Cache-Tag`: separated by commas.
    CacheTag,
    /// `Cache-Groups` (RFC 9875 §2): ended by `Cache-Group-Invalidation` alone, within one origin.
    CacheGroups,
}

impl TagField {
    pub(crate) const ALL: [Self; 3] = [Self::SurrogateKey, Self::CacheTag, Self::CacheGroups];
}

/// What a policy says of the fields with tags.
#[derive(Clone, Debug)]
pub(super) struct Tagging {
    fields: Arc<[TagField]>,
    are_passed_on: bool,
}

impl Default for Tagging {
    fn default() -> Self {
        Self { fields: TagField::ALL.into(), are_passed_on: false }
    }
}

impl Policy {
    /// Sets which response fields say [`Tags`], besides the handler. Default: each [`TagField`].
    #[doc(alias = "surrogate-key")]
    #[doc(alias = "cache-tag")]
    pub fn tag_fields(mut self, fields: impl IntoIterator<Item = TagField>) -> Self {
        self.tagging.fields = fields.into_iter().collect();
        self
    }

    /// Passes `Surrogate-Key` and `Cache-Tag` on, for a cache in front. Default: both are for this cache, and taken out
    /// of what goes out, read or not. `Cache-Groups` is passed on in any case, and so is all of a response to a request
    /// that is bypassed.
    pub fn keep_tag_fields(mut self) -> Self {
        self.tagging.are_passed_on = true;
        self
    }

    /// The tags of a response to be stored under `key`: what its handler `said`, and what its fields say.
    pub(crate) fn tags_of(&self, headers: &HeaderMap, said: Option<&Tags>, key: &CacheKey) -> Collected {
        tags_of(headers, said, &self.tagging.fields, key)
    }

    /// Leaves of the fields with tags what may go out.
    pub(crate) fn hide_tags(&self, headers: &mut HeaderMap) {
        if !self.tagging.are_passed_on {
            strip(headers);
        }
    }
}

/// The tags of one response.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Collected {
    /// As they are kept: sorted and distinct.
    pub(crate) tags: Arc<[Box<str>]>,
    /// How many were too long, or came after the last that is kept.
    pub(crate) dropped: usize,
}

/// The tags of a response to be stored under `key`: what its handler `said`, and what its fields say of those that are
/// `sources`.
fn tags_of(headers: &HeaderMap, said: Option<&Tags>, sources: &[TagField], key: &CacheKey) -> Collected {
    // Most have none: then there is nothing to read.
    if said.is_none() && !headers.keys().any(is_tag_field) {
        return Collected::default();
    }
    let mut kept = Kept::default();
    let mut marks = Vec::new();
    // First, since the others must not take the room that RFC 9875 §2 wants for groups.
    let groups = if sources.contains(&TagField::CacheGroups) { groups(headers) } else { BTreeSet::new() };
    if !groups.is_empty() {
        let origin = origin(key);
        for group in groups {
            kept.keep(group.as_bytes(), MOST_GROUPS, |group| as_group(&origin, group));
        }
        if kept.dropped > 0 {
            marks.push(origin.into());
        }
    }
    let dropped_groups = kept.dropped;
    for tag in said.into_iter().flat_map(Tags::iter) {
        kept.keep_tag(tag.as_bytes());
    }
    if sources.contains(&TagField::SurrogateKey) {
        let lines = headers.get_all(SURROGATE_KEY).into_iter();
        let tags = lines.flat_map(|line| line.as_bytes().split(|byte| matches!(byte, b' ' | b'\t')));
        tags.for_each(|tag| kept.keep_tag(tag));
    }
    if sources.contains(&TagField::CacheTag) {
        let lines = headers.get_all(CACHE_TAG).into_iter();
        let tags = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
        tags.for_each(|tag| kept.keep_tag(field::trim_ows(tag)));
    }
    if kept.dropped > dropped_groups {
        marks.push(UNKEPT_TAGS.into());
    }
    // Over the limit, since they stand for what is.
    kept.tags.extend(marks);
    // Most have none: then there is nothing to allocate.
    let tags = if kept.tags.is_empty() { Arc::default() } else { kept.tags.into_iter().collect() };
    Collected { tags, dropped: kept.dropped }
}

/// The tags of what a 304 has freshened. A 304 that says tags says them all, and so for groups; what it does not say
/// stays as it was.
pub(crate) fn freshened(there: &[Box<str>], news: &[Box<str>]) -> Arc<[Box<str>]> {
    // In a tag the separator is escaped.
    let is_group = |tag: &str| tag.contains('|');
    let newest = |kind: bool| {
        let says_some = news.iter().any(|tag| is_group(tag) == kind);
        let tags = if says_some { news } else { there };
        tags.iter().filter(move |tag| is_group(tag) == kind).cloned()
    };
    newest(true).chain(newest(false)).collect::<BTreeSet<_>>().into_iter().collect()
}

/// Whether a response can have this tag, so that a purge by it makes sense.
pub(crate) fn is_tag(tag: &str) -> bool {
    (1..=LONGEST).contains(&tag.len())
}

/// What a purge by a tag has to end: the responses with one of these.
pub(crate) fn to_purge(tag: &str) -> [Box<str>; 2] {
    [as_tag(tag.as_bytes()), UNKEPT_TAGS.into()]
}

/// What the invalidation of a group has to end, for the tenant and at the origin that `key` is of (RFC 9875 §2.1).
pub(crate) fn to_invalidate(group: &str, key: &CacheKey) -> [Box<str>; 2] {
    let origin = origin(key);
    [as_group(&origin, group.as_bytes()), origin.into()]
}

/// Removes the fields with tags that are for caches alone. By custom they do not go out to clients; `Cache-Groups` is
/// for every cache on the way (RFC 9875 §2), and does.
pub(crate) fn strip(headers: &mut HeaderMap) {
    // To look at all names once is less than to look for each.
    if headers.keys().any(is_tag_field) {
        for name in [SURROGATE_KEY, CACHE_TAG] {
            headers.remove(name);
        }
    }
}

/// Whether it is the name of a [`TagField`].
fn is_tag_field(name: &HeaderName) -> bool {
    [SURROGATE_KEY, CACHE_TAG, CACHE_GROUPS].contains(name)
}

/// What is kept so far.
#[derive(Default)]
struct Kept {
    tags: BTreeSet<Box<str>>,
    dropped: usize,
}

impl Kept {
    fn keep_tag(&mut self, tag: &[u8]) {
        if !tag.is_empty() {
            self.keep(tag, MOST_TAGS, as_tag);
        }
    }

    /// Keeps a tag, if it is not too long and not the first over `most`.
    fn keep(&mut self, tag: &[u8], most: usize, text: impl FnOnce(&[u8]) -> Box<str>) {
        if tag.len() > LONGEST {
            self.dropped += 1;
            return;
        }
        let text = text(tag);
        if self.tags.len() < most {
            self.tags.insert(text);
        } else if !self.tags.contains(&text) {
            self.dropped += 1;
        }
    }
}

/// A tag of the operator, as it is kept.
fn as_tag(tag: &[u8]) -> Box<str> {
    let mut text = String::with_capacity(tag.len());
    escape::push(&mut text, tag, |_| false);
    text.into()
}

/// A group, as it is kept.
fn as_group(origin: &str, group: &[u8]) -> Box<str> {
    let mut text = String::with_capacity(origin.len() + 1 + group.len());
    text.push_str(origin);
    text.push('|');
    escape::push(&mut text, group, |_| false);
    text.into()
}

/// Within what a group is one: the tenant and the origin of a request (RFC 9875 §2.1). The scheme does not count, since
/// most requests do not tell theirs.
fn origin(key: &CacheKey) -> String {
    let (tenant, authority, _) = key.target();
    [tenant, "|", authority].concat()
}

const SURROGATE_KEY: HeaderName = HeaderName::from_static("surrogate-key");
const CACHE_TAG: HeaderName = HeaderName::from_static("cache-tag");

/// How many tags of a response are kept, groups included.
const MOST_TAGS: usize = 64;

/// How many groups of a response are kept: as many as RFC 9875 §2 wants, at least.
const MOST_GROUPS: usize = 32;

/// The longest tag that is kept, in bytes as it was given.
const LONGEST: usize = 256;

/// What no tag is: a `%` in a tag is escaped.
const UNKEPT_TAGS: &str = "%";

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;
    use crate::{
        field::testing::{any_value, headers},
        key::{KeySpec, RequestHead, Tenant},
    };

    fn key_at(uri: &str, tenant: &Tenant) -> CacheKey {
        let request = http::Request::get(uri).body(()).unwrap();
        KeySpec::new().key(RequestHead::of(&request), tenant).unwrap()
    }

    fn key() -> CacheKey {
        key_at("http://shop.example/lamps", &Tenant::named("acme"))
    }

    fn found<V: AsRef<[u8]>>(lines: &[(&str, V)], said: &[&str]) -> Vec<String> {
        let said = Tags::new(said.iter().copied());
        let collected = tags_of(&headers(lines), Some(&said), &TagField::ALL, &key());
        assert_eq!(collected.dropped, 0);
        collected.tags.iter().map(|tag| String::from(&**tag)).collect()
    }

    fn ends(collected: &Collected, purged: &[Box<str>]) -> bool {
        purged.iter().any(|tag| collected.tags.contains(tag))
    }

    #[test]
    fn tags_are_read_from_the_handler_and_three_fields() {
        const KEYS: &str = "surrogate-key";
        const TAGS: &str = "cache-tag";
        const GROUPS: &str = "cache-groups";
        type Lines = &'static [(&'static str, &'static [u8])];
        let cases: [(Lines, &[&str], &[&str]); 16] = [
            (&[], &[], &[]),
            (&[], &["product:7", "list"], &["list", "product:7"]),
            (&[], &["", "a", "a"], &["a"]),
            (&[], &["a b", "a,b", "é", "%", "a|b", "~"], &["%25", "%7E", "%C3%A9", "a%20b", "a%7Cb", "a,b"]),
            (&[(KEYS, b"b  a\tb"), (KEYS, b""), (KEYS, b" c,d ")], &[], &["a", "b", "c,d"]),
            (&[(TAGS, b"b, a\t,,b ,"), (TAGS, b""), (TAGS, b"c d,\"e")], &[], &["\"e", "a", "b", "c%20d"]),
            (&[(KEYS, b"a A"), (TAGS, b"A,b")], &["a"], &["A", "a", "b"]),
            (&[(KEYS, b"\xe9 \xc3\xa9"), (TAGS, b"\xff")], &["é"], &["%C3%A9", "%E9", "%FF"]),
            (&[(KEYS, b"%41 A")], &[], &["%2541", "A"]),
            (&[(GROUPS, b"\"b\", \"a b\";x")], &[], &["acme|shop.example|a%20b", "acme|shop.example|b"]),
            (&[(GROUPS, b"\"a|b\", \"\"")], &[], &["acme|shop.example|", "acme|shop.example|a%7Cb"]),
            (&[(GROUPS, b"\"a\""), (KEYS, b"a")], &[], &["a", "acme|shop.example|a"]),
            (&[(KEYS, b"acme|shop.example|a")], &[], &["acme%7Cshop.example%7Ca"]),
            (&[(GROUPS, b"\"a\", b"), (KEYS, b"c")], &[], &["c"]),
            (&[("cache-group-invalidation", b"\"a\"")], &[], &[]),
            (&[("x-key", b"a"), ("xkey", b"a")], &[], &[]),
        ];
        for (lines, said, expected) in cases {
            assert_eq!(found(lines, said), expected, "{lines:?} {said:?}");
        }
    }

    #[test]
    fn a_field_that_is_no_source_is_not_read() {
        let response = headers(&[("surrogate-key", "a"), ("cache-tag", "b"), ("cache-groups", "\"c\"")]);
        let said = Tags::new(["d"]);
        let cases: [(&[TagField], &[&str]); 4] = [
            (&[], &["d"]),
            (&[TagField::SurrogateKey], &["a", "d"]),
            (&[TagField::CacheTag], &["b", "d"]),
            (&[TagField::CacheGroups], &["acme|shop.example|c", "d"]),
        ];
        for (sources, expected) in cases {
            let found = tags_of(&response, Some(&said), sources, &key());

            assert_eq!(found.tags.iter().map(|tag| &**tag).collect::<Vec<_>>(), expected, "{sources:?}");
        }
    }

    #[test]
    fn what_is_over_a_limit_is_dropped_counted_and_marked() {
        let tags = |count| (0..count).map(|tag| format!("t{tag}")).collect::<Vec<_>>().join(" ");
        let groups = |count| (0..count).map(|group| format!("\"g{group}\"")).collect::<Vec<_>>().join(",");
        let sized = |bytes| "x".repeat(bytes);
        const ORIGIN: &str = "acme|shop.example";
        // Tags, groups, and how many are kept, dropped and marked by what.
        let cases: [(String, String, usize, usize, &[&str]); 10] = [
            (tags(64), groups(0), 64, 0, &[]),
            (tags(65), groups(0), 64, 1, &["%"]),
            (format!("{} t0 t63", tags(64)), groups(0), 64, 0, &[]),
            (tags(32), groups(32), 64, 0, &[]),
            (tags(33), groups(32), 64, 1, &["%"]),
            (tags(0), groups(33), 32, 1, &[ORIGIN]),
            (tags(64), groups(40), 64, 40, &["%", ORIGIN]),
            (sized(256), format!("\"{}\"", sized(256)), 2, 0, &[]),
            (sized(257), format!("\"{}\"", sized(256)), 1, 1, &["%"]),
            (sized(256), format!("\"{}\"", sized(257)), 1, 1, &[ORIGIN]),
        ];
        for (tags, groups, kept, dropped, marks) in cases {
            let response = headers(&[("surrogate-key", tags.as_str()), ("cache-groups", &groups)]);
            let found = tags_of(&response, None, &TagField::ALL, &key());

            assert_eq!((found.tags.len(), found.dropped), (kept + marks.len(), dropped), "{tags} {groups}");
            for mark in ["%", ORIGIN] {
                assert_eq!(found.tags.contains(&mark.into()), marks.contains(&mark), "{mark} {tags} {groups}");
            }
        }
    }

    #[test]
    fn a_group_is_one_within_a_tenant_and_an_origin() {
        let response = headers(&[("cache-groups", "\"a\"")]);
        let found = tags_of(&response, None, &TagField::ALL, &key());
        let [acme, other, shared] = [Tenant::named("acme"), Tenant::named("other"), Tenant::shared()];
        let cases = [
            ("http://shop.example/other?x", &acme, true),
            ("https://shop.example/", &acme, true),
            ("http://SHOP.example:80/", &acme, true),
            ("http://shop.example:8080/", &acme, false),
            ("http://a.shop.example/", &acme, false),
            ("/", &acme, false),
            ("http://shop.example/", &other, false),
            ("http://shop.example/", &shared, false),
        ];
        for (uri, tenant, expected) in cases {
            let key = key_at(uri, tenant);

            assert_eq!(ends(&found, &to_invalidate("a", &key)), expected, "{uri}");
            assert!(!ends(&found, &to_invalidate("A", &key)), "{uri}");
        }
        assert!(!ends(&found, &to_purge("a")));
    }

    #[test]
    fn only_what_is_for_caches_alone_is_stripped() {
        let mut response = headers(&[
            ("surrogate-key", "a"),
            ("cache-groups", "\"a\""),
            ("cache-tag", "b"),
            ("surrogate-key", "c"),
            ("surrogate-control", "max-age=1"),
        ]);
        strip(&mut response);

        assert_eq!(response, headers(&[("cache-groups", "\"a\""), ("surrogate-control", "max-age=1")]));
    }

    #[test]
    fn a_304_that_says_tags_or_groups_says_all_of_them() {
        // What was there, what the 304 says, and what there is then.
        let cases: [(&[&str], &[&str], &[&str]); 7] = [
            (&["a", "b"], &[], &["a", "b"]),
            (&["a", "b"], &["c"], &["c"]),
            (&["a", "t|o|g"], &["c"], &["c", "t|o|g"]),
            (&["a", "t|o|g"], &["t|o|h"], &["a", "t|o|h"]),
            (&["%", "a", "t|o", "t|o|g"], &[], &["%", "a", "t|o", "t|o|g"]),
            (&["%", "a", "t|o", "t|o|g"], &["b", "t|o|h"], &["b", "t|o|h"]),
            (&[], &["b", "t|o|h"], &["b", "t|o|h"]),
        ];
        for (there, news, expected) in cases {
            let boxed = |tags: &[&str]| tags.iter().map(|tag| Box::from(*tag)).collect::<Vec<Box<str>>>();
            assert_eq!(*freshened(&boxed(there), &boxed(news)), *boxed(expected), "{there:?} {news:?}");
        }
    }

    fn any_tags(most: usize) -> impl Strategy<Value = Vec<String>> {
        prop::collection::vec(prop_oneof![8 => "[ab|%, é]{1,3}", 1 => "[ab]{250,260}", 8 => "\\PC{0,9}"], 0..most)
    }

    proptest! {
        #[test]
        fn any_bytes_can_be_read(
            values in prop::collection::vec((0..3_usize, any_value()), 0..12), said in any_tags(4),
        ) {
            let names = [SURROGATE_KEY, CACHE_TAG, CACHE_GROUPS];
            let mut response = HeaderMap::new();
            for (name, value) in &values {
                response.append(names[*name].clone(), HeaderValue::from_bytes(value).unwrap());
            }
            let found = tags_of(&response, Some(&Tags::new(said)), &TagField::ALL, &key());

            prop_assert!(found.tags.is_sorted_by(|tag, next| tag < next));
            prop_assert!(found.tags.len() <= MOST_TAGS + 2);
            prop_assert!(found.tags.iter().all(|tag| tag.bytes().all(|byte| byte.is_ascii_graphic())));
            prop_assert!(found.tags.iter().all(|tag| tag.len() <= "acme|shop.example|".len() + 3 * LONGEST));
        }

        #[test]
        fn a_purge_ends_what_has_its_tag_and_what_has_more_than_is_kept(
            said in any_tags(80), others in any_tags(4),
        ) {
            let found = tags_of(&HeaderMap::new(), Some(&Tags::new(said.clone())), &TagField::ALL, &key());

            for tag in said.iter().filter(|tag| !tag.is_empty()) {
                prop_assert!(ends(&found, &to_purge(tag)), "{}", tag);
            }
            for tag in others.iter().filter(|tag| !said.contains(tag)) {
                prop_assert_eq!(ends(&found, &to_purge(tag)), found.dropped > 0, "{}", tag);
            }
        }

        #[test]
        fn a_tag_is_never_taken_for_a_group(
            tag in "[a|%. ]{0,8}", group in "[a|%. ]{0,8}", uri in "/|http://[a.]{1,3}/",
        ) {
            let Ok(request) = http::Request::get(uri).body(()) else { return Ok(()) };
            let Some(key) = KeySpec::new().key(RequestHead::of(&request), &Tenant::shared()) else { return Ok(()) };
            for purged in to_purge(&tag) {
                prop_assert!(!to_invalidate(&group, &key).contains(&purged));
            }
        }
    }
}
