//! The content of a request in its key: one digest of it and of the fields that say what it is.

use std::{any::Any, collections::HashSet, fmt, str, sync::Arc};

use blake3::{Hash, Hasher};
use http::{
    HeaderMap,
    header::{CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_TYPE},
};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::{
    body::RequestContent,
    field::{Singleton, is_token_byte, singleton, trim_ows},
};

/// How requests with content are keyed: the digest of the content is part of the key, so that `QUERY`, and a `POST`
/// that only asks (RPC, GraphQL), can be answered from the cache.
///
/// The content is read before it is known whether the origin is needed, and replayed if it is. Two contents are the
/// same if all their bytes are, and the `Content-Type`, `Content-Encoding` and `Content-Language` of their requests.
///
/// ```
/// use microcache::Content;
///
/// let content = Content::new(axum::body::Body::new).max_bytes(16 << 10).ignore_json_members(["sent_at"]);
/// assert_eq!(format!("{content:?}"), r#"Content { max_bytes: 16384, ignored_json_members: ["sent_at"] }"#);
/// ```
#[derive(Clone)]
#[must_use]
pub struct Content {
    /// A [`Replay`] of a type that only the maker knew.
    replay: Arc<dyn Any + Send + Sync>,
    max_bytes: usize,
    /// Sorted, each once.
    ignored: Vec<String>,
}

/// Makes a request body of what was read of one.
pub(crate) type Replay<B> = Box<dyn Fn(RequestContent) -> B + Send + Sync>;

impl Content {
    /// `replay` makes the origin's request body of what was read: `Content::new(axum::body::Body::new)`.
    ///
    /// A service whose requests have a body of another type goes uncached for requests with content.
    pub fn new<B: 'static>(replay: impl Fn(RequestContent) -> B + Send + Sync + 'static) -> Self {
        let replay: Replay<B> = Box::new(replay);
        Self { replay: Arc::new(replay), max_bytes: DEFAULT_MAX_BYTES, ignored: Vec::new() }
    }

    /// Sets how much content a request may have to be answered from the cache, in bytes. Default: 64 KiB.
    ///
    /// A request with more goes to the origin as it comes, past the cache. So much is held for each request that
    /// waits.
    pub fn max_bytes(mut self, bytes: usize) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// Declares that these members of a JSON object do not change what the origin answers: a message id, a
    /// timestamp. Default: none.
    ///
    /// **The response must not repeat what is ignored.** Whoever asks next gets it: a JSON-RPC response repeats the
    /// `id` of its request, and with `id` ignored everybody would get the `id` of somebody else. If the origin refuses
    /// some values, that answer must not be storable.
    ///
    /// Only values are ignored, not whether they are there (a JSON-RPC request without `id` is a notification), and
    /// only of members of the outermost object, compared exactly once their escapes are undone. The order of
    /// its members and the space between them do not count any more, either; within a value all does. All bytes count
    /// where that would be unsafe: if the media type is neither `application/json` nor ends in `+json`, if it has a
    /// parameter other than `charset=utf-8`, if there is a `Content-Encoding`, if a name occurs twice (in any case
    /// of its letters), and if the content is anything but one object, as a JSON-RPC batch.
    pub fn ignore_json_members(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.ignored.extend(names.into_iter().map(Into::into));
        self.ignored.sort_unstable();
        self.ignored.dedup();
        self
    }

    /// How much content is read.
    pub(crate) fn limit(&self) -> usize {
        self.max_bytes
    }

    /// What makes the origin's request body; `None` if bodies are of another type.
    pub(crate) fn replay<B: 'static>(&self) -> Option<&Replay<B>> {
        self.replay.downcast_ref()
    }

    /// The digest of a request's content. Framed like a key, so that nothing can pass for its neighbour: lines and
    /// names and contents have their length before them, lists their count, and the two ways to read their tag.
    pub(crate) fn digest(&self, headers: &HeaderMap, body: &[u8]) -> Hash {
        let mut hasher = Hasher::new();
        // The same bytes are another content if these differ (RFC 9110 §8.3, §8.4, §8.5).
        for name in [CONTENT_TYPE, CONTENT_ENCODING, CONTENT_LANGUAGE] {
            let lines = headers.get_all(name);
            push_number(&mut hasher, lines.iter().count());
            lines.iter().for_each(|line| push_bytes(&mut hasher, line.as_bytes()));
        }
        match self.counting_members(headers, body) {
            None => {
                hasher.update(b"raw");
                push_bytes(&mut hasher, body);
            }
            Some(members) => {
                hasher.update(b"members");
                push_number(&mut hasher, members.len());
                for (name, value) in members {
                    push_bytes(&mut hasher, name.as_bytes());
                    push_bytes(&mut hasher, value.as_bytes());
                }
            }
        }
        hasher.finalize()
    }

    /// The members, sorted by name, without the values that are ignored; `None` if all bytes count.
    fn counting_members<'a>(&self, headers: &HeaderMap, body: &'a [u8]) -> Option<Vec<(String, &'a str)>> {
        if self.ignored.is_empty() || !is_json(headers) {
            return None;
        }
        let Members(mut members) = serde_json::from_str(str::from_utf8(body).ok()?).ok()?;
        if has_repeated_names(&members) {
            return None;
        }
        for (name, value) in &mut members {
            if self.ignored.binary_search(name).is_ok() {
                // No JSON value is this.
                *value = "";
            }
        }
        members.sort_unstable();
        Some(members)
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Content")
            .field("max_bytes", &self.max_bytes)
            .field("ignored_json_members", &self.ignored)
            .finish()
    }
}

/// Whether the content is JSON in UTF-8 as it stands: by its media type or the suffix of it (RFC 6839 §3.1), without
/// a coding that would have to be undone first (RFC 9110 §8.4).
fn is_json(headers: &HeaderMap) -> bool {
    let Singleton::One(value) = singleton(headers, &CONTENT_TYPE) else { return false };
    let value = value.as_bytes().to_ascii_lowercase();
    let mut pieces = value.split(|byte| *byte == b';').map(trim_ows);
    let media_type = pieces.next().unwrap_or_default();
    !headers.contains_key(CONTENT_ENCODING)
        && media_type.iter().all(|byte| is_token_byte(*byte) || *byte == b'/')
        && (media_type == b"application/json" || media_type.ends_with(b"+json"))
        // Any other charset, and who knows which parameter, makes other characters of the bytes.
        && pieces.all(|parameter| matches!(parameter, b"" | b"charset=utf-8" | b"charset=\"utf-8\""))
}

/// Which of two members with one name counts is each reader's own choice (RFC 8259 §4), and so is, to some, whether
/// names differ that differ only in case: then their order counts.
fn has_repeated_names(members: &[(String, &str)]) -> bool {
    let mut seen = HashSet::with_capacity(members.len());
    // To lower case and back: some letters have their sibling in one direction only, as the long s.
    !members.iter().all(|(name, _)| seen.insert(name.to_lowercase().to_uppercase()))
}

/// The members of one JSON object, in their order, none left out.
///
/// Their values are the exact text. To convert them would merge what an origin may tell apart: 1.0 and 1, or two
/// numbers with more digits than a float holds.
struct Members<'a>(Vec<(String, &'a str)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Members<'de>, A::Error> {
        let mut members = Vec::new();
        while let Some((name, value)) = object.next_entry::<String, &RawValue>()? {
            members.push((name, value.get()));
        }
        Ok(Members(members))
    }
}

fn push_bytes(hasher: &mut Hasher, bytes: &[u8]) {
    push_number(hasher, bytes.len());
    hasher.update(bytes);
}

fn push_number(hasher: &mut Hasher, number: usize) {
    hasher.update(&(number as u64).to_le_bytes());
}

/// Room for a query with its variables.
const DEFAULT_MAX_BYTES: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http_body::Body;
    use proptest::{collection::vec, prelude::*, sample::select};

    use super::*;
    use crate::field::testing::{any_value, headers};

    fn content() -> Content {
        Content::new(|content| content)
    }

    fn json() -> HeaderMap {
        headers(&[("content-type", "application/json")])
    }

    /// Without `id` and `at`.
    fn ignoring() -> Content {
        content().ignore_json_members(["id", "at", "id"])
    }

    fn of_json(body: &str) -> Hash {
        ignoring().digest(&json(), body.as_bytes())
    }

    #[test]
    fn content_is_replayed_only_as_the_type_that_replay_makes() {
        let content = Content::new(|content: RequestContent| Some(content.size_hint().exact()));
        let whole = || RequestContent::whole(Bytes::from_static(b"abc"), None);

        assert_eq!(content.replay::<Option<Option<u64>>>().map(|replay| replay(whole())), Some(Some(Some(3))));
        assert!(content.replay::<Option<u64>>().is_none());
    }

    #[test]
    fn content_may_have_64_kibibytes_unless_told_otherwise() {
        assert_eq!(content().limit(), 65_536);
        assert_eq!(content().max_bytes(0).limit(), 0);
    }

    #[test]
    fn an_object_counts_by_its_members_without_the_values_that_are_ignored() {
        let same = [
            r#"{"id":1,"q":[1, 2],"n":1}"#,
            r#"{"n":1,"q":[1, 2],"id":{"id":[]}}"#,
            " {\r\n\t\"q\" : [1, 2] , \"id\":null, \"n\" : 1 } \n",
            r#"{"\u0069d":7,"\u0071":[1, 2],"n":1}"#,
        ];
        let other = [
            r#"{"q":[1, 2],"n":1}"#,
            r#"{"id":1,"at":2,"q":[1, 2],"n":1}"#,
            r#"{"q":[1,2],"n":1}"#,
            r#"{"q":[1, 2],"n":1.0}"#,
            r#"{"q":[1, 2],"n":1e0}"#,
            r#"{"q":[1, 2],"n":"1"}"#,
            r#"{"q":[1, 2]}"#,
            r#"{"q":[1, 2],"n":1,"ID":7}"#,
            r#"{"q":[1, 2],"n":1,"id ":7}"#,
            r#"{"q":[1, 2],"n":1,"":7}"#,
            r#"{"q":[2, 1],"n":1}"#,
            r#"{"q":1,"n":[1, 2]}"#,
            r#"{"n":9007199254740993}"#,
            r#"{"n":9007199254740992}"#,
            "{}",
        ];
        for body in same {
            assert_eq!(of_json(body), of_json(same[0]), "{body}");
        }
        let digests: HashSet<_> = other.iter().chain(&same[..1]).map(|body| of_json(body)).collect();
        assert_eq!(digests.len(), other.len() + 1);
        assert_ne!(of_json(r#"{"id":1}"#), of_json("{}"), "whether it is there counts");
    }

    #[test]
    fn all_bytes_count_of_what_is_not_one_object_with_each_name_once() {
        for (one, other) in [
            (r#"[{"id":1}]"#, r#"[{"id":2}]"#),
            (r#"{"id":1}{}"#, r#"{"id":2}{}"#),
            (r#"{"id":1"#, r#"{"id":2"#),
            (r#"{"id":1,}"#, r#"{"id":2,}"#),
            (r#"{"id":1,"id":1}"#, r#"{"id":1,"id":2}"#),
            (r#"{"a":1,"a":2}"#, r#"{"a":2,"a":1}"#),
            (r#"{"a":1,"\u0061":2}"#, r#"{"\u0061":2,"a":1}"#),
            (r#"{"a":1,"A":2}"#, r#"{"A":2,"a":1}"#),
            (r#"{"s":1,"ſ":2}"#, r#"{"ſ":2,"s":1}"#),
            (r#"{"k":1,"\u212a":2}"#, r#"{"\u212a":2,"k":1}"#),
            (r#"{"\ud800":1,"a":2}"#, r#"{"a":2,"\ud800":1}"#),
            ("{\"id\":1,/**/\"a\":1}", "{\"id\":2,/**/\"a\":1}"),
            ("\u{feff}{\"id\":1}", "\u{feff}{\"id\":2}"),
            ("1", "1 "),
            ("\"id\"", " \"id\""),
            ("", " "),
        ] {
            assert_ne!(of_json(one), of_json(other), "{one}");
        }
        let not_utf_8 = |id: u8| ignoring().digest(&json(), &[b"{\"id\":", &[id][..], b",\"a\":\"\xff\"}"].concat());
        assert_ne!(not_utf_8(b'1'), not_utf_8(b'2'));
    }

    #[test]
    fn members_are_ignored_only_in_plain_json() {
        let table: [(&[(&str, &str)], bool); 19] = [
            (&[("content-type", "application/json")], true),
            (&[("content-type", "Application/JSON ; Charset=UTF-8")], true),
            (&[("content-type", "application/json;charset=\"utf-8\";")], true),
            (&[("content-type", "application/graphql+json")], true),
            (&[("content-type", "application/json"), ("content-type", "application/json")], true),
            (&[("content-type", "application/json"), ("content-language", "en")], true),
            (&[], false),
            (&[("content-type", "")], false),
            (&[("content-type", "text/json")], false),
            (&[("content-type", "application/jsonp")], false),
            (&[("content-type", "application/json-seq")], false),
            (&[("content-type", "text/plain, application/x+json")], false),
            (&[("content-type", "text/plain;a=b+json")], false),
            (&[("content-type", "application/json;charset=utf-7")], false),
            (&[("content-type", "application/json;charset=utf-8;charset=utf-7")], false),
            (&[("content-type", "application/json"), ("content-type", "text/plain")], false),
            (&[("content-type", "application/json"), ("content-encoding", "gzip")], false),
            (&[("content-type", "application/json"), ("content-encoding", "identity")], false),
            (&[("content-type", "application/json"), ("content-encoding", "")], false),
        ];
        for (lines, ignores) in table {
            let of = |body: &[u8]| ignoring().digest(&headers(lines), body);

            assert_eq!(of(b"{\"id\":1}") == of(b"{\"id\":2}"), ignores, "{lines:?}");
        }
    }

    #[test]
    fn nothing_is_ignored_unless_it_is_named() {
        let of = |body: &[u8]| content().ignore_json_members([""; 0]).digest(&json(), body);

        assert_ne!(of(b"{\"a\":1,\"b\":2}"), of(b"{\"b\":2,\"a\":1}"));
        assert_ne!(of(b"{}"), of(b"{ }"));
        // The same object, read in two ways.
        assert_ne!(of(b"{}"), of_json("{}"));
    }

    #[test]
    fn raw_content_can_not_pass_for_members() {
        let mut framed = 1_u64.to_le_bytes().to_vec();
        for text in ["a", "1"] {
            framed.extend((text.len() as u64).to_le_bytes());
            framed.extend(text.as_bytes());
        }

        assert_ne!(ignoring().digest(&json(), &framed), of_json(r#"{"a":1}"#));
        assert_ne!(ignoring().digest(&json(), &[b"members", &framed[..]].concat()), of_json(r#"{"a":1}"#));
    }

    #[test]
    fn deep_nesting_is_read_without_recursion() {
        let deep = |id: u8| format!("{{\"id\":{id},\"a\":{}{}}}", "[".repeat(30_000), "]".repeat(30_000));

        assert_eq!(of_json(&deep(1)), of_json(&deep(2)));
    }

    /// Lines of the three fields, and content, in few bytes, so that their concatenations often agree.
    fn samples() -> impl Strategy<Value = ([Vec<Vec<u8>>; 3], Vec<u8>)> {
        let text = || vec(select(vec![b'a', b'b', b'1']), 0..3);
        ([vec(text(), 0..3), vec(text(), 0..2), vec(text(), 0..2)], text())
    }

    fn framed((fields, body): &([Vec<Vec<u8>>; 3], Vec<u8>)) -> Hash {
        let names = ["content-type", "content-encoding", "content-language"];
        let lines: Vec<_> =
            names.iter().zip(fields).flat_map(|(name, lines)| lines.iter().map(|l| (*name, l))).collect();
        content().digest(&headers(&lines), body)
    }

    const VALUES: [&str; 10] = ["1", "1.0", "-0", "null", "\"\"", "\"a\"", r#""\u0061""#, "[]", "[ ]", r#"{"id":1}"#];

    /// Members with names of their own, none ignored: name and index of the value.
    fn members() -> impl Strategy<Value = Vec<(String, usize)>> {
        let name = r#"[b-e\\"é \n]{0,3}"#;
        prop::collection::btree_map(name, 0..VALUES.len(), 0..6).prop_map(|members| members.into_iter().collect())
    }

    fn written(members: &[(String, usize)], space: &str) -> String {
        let written: Vec<_> = members
            .iter()
            .map(|(name, value)| {
                let name = serde_json::to_string(name).unwrap();
                format!("{space}{name}{space}:{space}{}{space}", VALUES[*value])
            })
            .collect();
        format!("{space}{{{}}}{space}", written.join(","))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1024))]

        #[test]
        fn any_bytes_have_a_digest(
            lines in vec((select(vec!["content-type", "content-encoding", "content-language"]), any_value()), 0..4),
            body in vec(any::<u8>(), 0..64),
            pieces in vec(select(vec!["{", "}", "[", "]", ",", ":", "\"", "\\", "id", "\"id\":1", "\\u00", "e9", " "]), 0..12),
        ) {
            for body in [body, pieces.concat().into_bytes()] {
                for headers in [headers(&lines), json()] {
                    let digest = ignoring().digest(&headers, &body);

                    prop_assert_eq!(digest, ignoring().digest(&headers, &body));
                }
            }
        }

        #[test]
        fn different_contents_have_different_digests(one in vec(any::<u8>(), 0..9), other in vec(any::<u8>(), 0..9)) {
            for headers in [HeaderMap::new(), json()] {
                let of = |body: &[u8]| content().digest(&headers, body);

                prop_assert_eq!(of(&one) == of(&other), one == other);
            }
        }

        #[test]
        fn no_field_nor_content_can_pass_for_its_neighbour(one in samples(), other in samples()) {
            prop_assert_eq!(framed(&one) == framed(&other), one == other);
        }

        #[test]
        fn bytes_moved_over_a_boundary_change_the_digest(sample in samples(), what in 0..5_usize) {
            let mut moved = sample.clone();
            let (fields, body) = &mut moved;
            match what {
                0 => fields.rotate_left(1),
                1 => body.splice(0..0, fields[2].pop().unwrap_or_default()).for_each(drop),
                2 => fields[2].push(std::mem::take(body)),
                3 => fields[0] = vec![fields[0].concat()],
                _ => fields[1].push(Vec::new()),
            }

            prop_assert_eq!(framed(&moved) == framed(&sample), moved == sample);
        }

        #[test]
        fn order_space_and_ignored_members_do_not_count(
            (members, shuffled) in members().prop_flat_map(|members| (Just(members.clone()), Just(members).prop_shuffle())),
            space in select(vec!["", " ", "\r\n\t"]),
            (one, other) in (0..VALUES.len(), 0..VALUES.len()),
            at: prop::sample::Index,
        ) {
            let with_id = |mut members: Vec<_>, at: usize, value| {
                members.insert(at, ("id".to_owned(), value));
                members
            };
            let changed = with_id(shuffled, at.index(members.len() + 1), other);
            let members = with_id(members, 0, one);

            prop_assert_eq!(of_json(&written(&changed, space)), of_json(&written(&members, "")));
        }

        #[test]
        fn every_other_member_counts(one in members(), other in members(), at: prop::sample::Index, value in 0..VALUES.len()) {
            let of = |members: &[(String, usize)]| of_json(&written(members, ""));
            prop_assert_eq!(of(&one) == of(&other), one == other);

            let mut changed = one.clone();
            if !changed.is_empty() {
                let at = at.index(changed.len());
                changed[at].1 = value;
            }
            prop_assert_eq!(of(&one) == of(&changed), one == changed);
        }
    }
}
