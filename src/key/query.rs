//! The query as a component of a key: which parameters count, and in which order.
//!
//! A query is what stands between `&`s. Nothing else is read into it: `;` is data, `a` is not `a=`, an empty
//! piece is a piece, and no two parameters are ever merged.

use std::borrow::Cow;

use url::form_urlencoded::byte_serialize;

use super::{KeyError, escape};

/// Which parameters of the query are part of a key. Default: [`QueryRule::keep`].
///
/// The parameters are sorted by name, unless they count [verbatim](Self::verbatim). Those of the same name keep their
/// order, because the origin may read only the first or the last of them.
///
/// ```
/// use microcache::{KeySpec, QueryRule, RequestHead, Tenant};
///
/// let request = http::Request::get("/products?utm_source=mail&page=2&color=red&color=blue").body(()).unwrap();
/// let key = |rule| {
///     let spec = KeySpec::new().query(rule);
///     spec.key(RequestHead::of(&request), &Tenant::shared()).unwrap().to_string()
/// };
/// assert_eq!(key(QueryRule::keep()), "|GET||/products?color=red&color=blue&page=2&utm_source=mail");
/// assert_eq!(key(QueryRule::without(["utm_*"])), "|GET||/products?color=red&color=blue&page=2");
/// assert_eq!(key(QueryRule::only(["page"])), "|GET||/products?page=2");
/// assert_eq!(key(QueryRule::ignore()), "|GET||/products");
/// assert_eq!(key(QueryRule::verbatim()), "|GET||/products?utm_source=mail&page=2&color=red&color=blue");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct QueryRule {
    select: Select,
    normalized: bool,
    max_parameters: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Select {
    Verbatim,
    All,
    Only(Names),
    Without(Names),
    Nothing,
}

impl QueryRule {
    /// The query counts byte by byte, in the order that it was sent in: `?b=1&a=2` and `?a=2&b=1` are two resources,
    /// as URIs have it (RFC 9111 §2).
    pub const fn verbatim() -> Self {
        Self::of(Select::Verbatim)
    }

    /// All parameters count, in any order of their names.
    pub const fn keep() -> Self {
        Self::of(Select::All)
    }

    /// Only the parameters of these names count. A name that ends in `*` stands for all that begin with what
    /// is before it; any other `*` is itself.
    ///
    /// The origin must not look at any other. A parameter counts if its name matches as it was sent or once
    /// decoded: an origin that decodes `%70age` to `page` would else see a parameter that is not in the key.
    pub fn only<I: IntoIterator<Item: Into<String>>>(names: I) -> Self {
        Self::of(Select::Only(Names::new(names)))
    }

    /// All parameters count but those of these names, where `utm_*` stands for all names that begin with
    /// `utm_`. Names are compared as they were sent, so that `%75tm_source` still counts.
    ///
    /// The origin must not look at these.
    pub fn without<I: IntoIterator<Item: Into<String>>>(names: I) -> Self {
        Self::of(Select::Without(Names::new(names)))
    }

    /// No parameter counts: all queries of a path share one key, that of no query.
    pub const fn ignore() -> Self {
        Self::of(Select::Nothing)
    }

    /// Makes spellings of the same parameter equal: `%7e`, `%7E` and `~`, or `+` and `%20`.
    ///
    /// Names and values are decoded as HTML forms are, to bytes, and encoded again; bytes that are not UTF-8
    /// stay different from each other. A stray `%` stands for itself, so that it equals `%25`. The names of
    /// [`only`](Self::only) and [`without`](Self::without) are compared to the decoded ones. A query that counts
    /// [verbatim](Self::verbatim) stays as it is. Ask for it only if the origin decodes its query in the same way.
    pub fn normalized(mut self) -> Self {
        self.normalized = true;
        self
    }

    /// Sets how many parameters a query may have, those that do not count among them. Default: 256.
    ///
    /// A request with more has no key: it goes past the cache. A parameter is what stands between two `&`, be it empty.
    /// Where the query does not count at all, there is no limit.
    pub const fn max_parameters(mut self, most: usize) -> Self {
        self.max_parameters = most;
        self
    }

    const fn of(select: Select) -> Self {
        Self { select, normalized: false, max_parameters: MAX_PARAMETERS }
    }

    pub(super) fn check_parameters(&self, query: Option<&str>) -> Result<(), KeyError> {
        let Some(query) = query else { return Ok(()) };
        // As many parameters need as many bytes, but for the first.
        let is_over = query.len() >= self.max_parameters
            && self.select != Select::Nothing
            && query.bytes().filter(|byte| *byte == b'&').count() >= self.max_parameters;
        if is_over { Err(KeyError::TooManyParameters) } else { Ok(()) }
    }

    /// How many bytes of this query count at most, before escaping.
    pub(super) fn length_in_key(&self, query: Option<&str>) -> usize {
        match self.select {
            Select::Nothing => 0,
            Select::Verbatim | Select::All | Select::Only(_) | Select::Without(_) => query.map_or(0, str::len),
        }
    }

    /// Appends `?` and the sorted parameters that count; nothing without a query or if none counts.
    pub(super) fn push(&self, out: &mut String, query: Option<&str>) {
        let Some(text) = query else { return };
        let query = text.as_bytes();
        match (&self.select, self.normalized) {
            (Select::Nothing, _) => {}
            (Select::Verbatim, _) => {
                out.push('?');
                escape::push_str(out, text, |_| false);
            }
            (Select::All, false) if is_sorted(query) => {
                out.push('?');
                escape::push_str(out, text, |_| false);
            }
            (Select::All, false) => push_sorted(out, pieces(query)),
            (select, false) => push_sorted(out, pieces(query).filter(|piece| select.counts_as_sent(piece.name))),
            (select, true) => {
                let texts: Vec<_> = pieces(query).filter_map(|piece| select.normalize(piece)).collect();
                push_sorted(out, texts.iter().map(|text| Piece::new(text.as_bytes())));
            }
        }
    }
}

impl Default for QueryRule {
    fn default() -> Self {
        Self::keep()
    }
}

impl Select {
    fn counts_as_sent(&self, name: &[u8]) -> bool {
        match self {
            Self::Verbatim | Self::All => true,
            Self::Only(names) => names.contain(name) || names.contain(&form_decode(name)),
            Self::Without(names) => !names.contain(name),
            Self::Nothing => false,
        }
    }

    fn counts_decoded(&self, name: &[u8]) -> bool {
        match self {
            Self::Verbatim | Self::All => true,
            Self::Only(names) => names.contain(name),
            Self::Without(names) => !names.contain(name),
            Self::Nothing => false,
        }
    }

    fn normalize(&self, piece: Piece<'_>) -> Option<String> {
        let name = form_decode(piece.name);
        if !self.counts_decoded(&name) {
            return None;
        }
        let mut text: String = byte_serialize(&name).collect();
        if let Some(value) = piece.value() {
            text.push('=');
            text.extend(byte_serialize(&form_decode(value)));
        }
        Some(text)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Names {
    /// Sorted.
    exact: Vec<String>,
    prefixes: Vec<String>,
}

impl Names {
    fn new<I: IntoIterator<Item: Into<String>>>(names: I) -> Self {
        let mut all = Self { exact: Vec::new(), prefixes: Vec::new() };
        for name in names {
            let name = name.into();
            match name.strip_suffix('*') {
                Some(prefix) => all.prefixes.push(prefix.to_owned()),
                None => all.exact.push(name),
            }
        }
        all.exact.sort_unstable();
        all
    }

    fn contain(&self, name: &[u8]) -> bool {
        self.exact.binary_search_by(|exact| exact.as_bytes().cmp(name)).is_ok()
            || self.prefixes.iter().any(|prefix| name.starts_with(prefix.as_bytes()))
    }
}

/// A parameter as it stands in the query.
#[derive(Clone, Copy)]
struct Piece<'a> {
    name: &'a [u8],
    text: &'a [u8],
}

impl<'a> Piece<'a> {
    const EMPTY: Self = Self { name: b"", text: b"" };

    fn new(text: &'a [u8]) -> Self {
        let name_length = text.iter().position(|&byte| byte == b'=').unwrap_or(text.len());
        Self { name: text.split_at(name_length).0, text }
    }

    /// What follows the first `=`, if there is one.
    fn value(&self) -> Option<&'a [u8]> {
        let (_, rest) = self.text.split_at(self.name.len());
        rest.split_first().map(|(_, value)| value)
    }
}

fn pieces(query: &[u8]) -> impl Iterator<Item = Piece<'_>> {
    query.split(|&byte| byte == b'&').map(Piece::new)
}

fn is_sorted(query: &[u8]) -> bool {
    let (mut before, mut rest) = (None, query);
    loop {
        let end = rest.iter().position(|&byte| byte == b'&').unwrap_or(rest.len());
        let (piece, tail) = rest.split_at(end);
        if before.is_some_and(|before| !are_in_order(before, piece)) {
            return false;
        }
        let Some((_, tail)) = tail.split_first() else { return true };
        (before, rest) = (Some(piece), tail);
    }
}

/// Mostly the first byte tells, and the ends of the names need not be looked for.
fn are_in_order(before: &[u8], piece: &[u8]) -> bool {
    match (before, piece) {
        (&[one, ..], &[other, ..]) if one != other && one != b'=' && other != b'=' => one < other,
        _ => Piece::new(before).name <= Piece::new(piece).name,
    }
}

/// Sorts in place what fits, because nearly all queries do.
fn push_sorted<'a>(out: &mut String, mut pieces: impl Iterator<Item = Piece<'a>>) {
    let mut few = [Piece::EMPTY; INLINE_PIECES];
    let mut length = 0;
    for piece in pieces.by_ref().take(INLINE_PIECES) {
        let at = few[..length].iter().rposition(|other| other.name <= piece.name).map_or(0, |before| before + 1);
        few.copy_within(at..length, at + 1);
        few[at] = piece;
        length += 1;
    }
    let few = &few[..length];
    let Some(next) = pieces.next() else {
        return push_joined(out, few);
    };
    let mut many = few.to_vec();
    many.push(next);
    many.extend(pieces);
    many.sort_by_key(|piece| piece.name);
    push_joined(out, &many);
}

fn push_joined(out: &mut String, pieces: &[Piece<'_>]) {
    for (index, piece) in pieces.iter().enumerate() {
        out.push(if index == 0 { '?' } else { '&' });
        escape::push(out, piece.text, |_| false);
    }
}

/// Decodes as HTML forms are decoded, but to bytes: replacing what is not UTF-8 would merge different names.
fn form_decode(text: &[u8]) -> Cow<'_, [u8]> {
    if !text.iter().any(|byte| matches!(byte, b'%' | b'+')) {
        return Cow::Borrowed(text);
    }
    let spaced: Vec<u8> = text.iter().map(|&byte| if byte == b'+' { b' ' } else { byte }).collect();
    Cow::Owned(escape::percent_decode(&spaced))
}

const INLINE_PIECES: usize = 16;

/// More parameters than forms have.
const MAX_PARAMETERS: usize = 256;
