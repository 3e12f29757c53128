//! What messages say, read for the model: field lines, and `Cache-Control` (RFC 9111 §5.2).

use std::collections::BTreeSet;

use crate::date;

/// Field lines in order, with names in lower case.
pub(crate) type Fields = Vec<(String, String)>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) fields: Fields,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) fields: Fields,
    pub(crate) body: String,
}

/// The lines of a field.
pub(crate) fn lines<'a>(fields: &'a Fields, name: &str) -> Vec<&'a str> {
    fields.iter().filter(|(other, _)| other == name).map(|(_, value)| value.as_str()).collect()
}

pub(crate) fn has(fields: &Fields, name: &str) -> bool {
    !lines(fields, name).is_empty()
}

/// The value of a field that stands once. Lines that differ say nothing (RFC 9110 §5.3).
pub(crate) fn single<'a>(fields: &'a Fields, name: &str) -> Option<&'a str> {
    let lines = lines(fields, name);
    let first = *lines.first()?;
    lines.iter().all(|line| *line == first).then_some(first)
}

/// The date in a field, in seconds since 1970.
pub(crate) fn date(fields: &Fields, name: &str) -> Option<u64> {
    date::read(single(fields, name)?)
}

/// The members of a list over all lines (RFC 9110 §5.6.1). A comma between quotes is none.
pub(crate) fn list(fields: &Fields, name: &str) -> Vec<String> {
    let mut members = Vec::new();
    for line in lines(fields, name) {
        let (mut member, mut is_quoted) = (String::new(), false);
        for character in line.chars() {
            is_quoted ^= character == '"';
            if character == ',' && !is_quoted {
                members.push(std::mem::take(&mut member));
            } else {
                member.push(character);
            }
        }
        members.push(member);
    }
    members.iter().map(|member| member.trim().to_owned()).filter(|member| !member.is_empty()).collect()
}

/// The names in `Vary`, in lower case.
pub(crate) fn vary(fields: &Fields) -> BTreeSet<String> {
    list(fields, "vary").iter().map(|name| name.to_lowercase()).collect()
}

/// A well-formed entity tag (RFC 9110 §8.8.3), as it is written.
pub(crate) fn tag(fields: &Fields) -> Option<&str> {
    single(fields, "etag").filter(|tag| is_tag(tag))
}

pub(crate) fn is_tag(text: &str) -> bool {
    let quoted = text.strip_prefix("W/").unwrap_or(text);
    quoted.len() >= 2 && quoted.starts_with('"') && quoted.ends_with('"') && !quoted.contains(' ')
}

/// RFC 9110 §8.8.3.2: the same, weak or not.
pub(crate) fn weakly_equal(one: &str, other: &str) -> bool {
    one.trim_start_matches("W/") == other.trim_start_matches("W/")
}

pub(crate) fn is_weak(tag: &str) -> bool {
    tag.starts_with("W/")
}

/// Digits alone (RFC 9111 §1.2.2), or nothing.
pub(crate) fn delta_seconds(text: &str) -> Option<u64> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    // §1.2.2: what is too large is 2^31.
    is_number.then(|| text.parse().unwrap_or(u64::MAX).min(1 << 31))
}

/// The directives of a response, each with its argument (RFC 9111 §5.2).
#[derive(Clone, Debug, Default)]
pub(crate) struct Directives {
    said: Vec<(String, Option<String>)>,
    /// They are those of `CDN-Cache-Control`, next to which `Expires` says nothing.
    pub(crate) is_targeted: bool,
    /// A quote is not closed, or not where an argument begins.
    has_broken_quotes: bool,
}

impl Directives {
    pub(crate) fn of(fields: &Fields) -> Self {
        // Rule: RFC 9213 §2.2, a targeted field that is there, well-formed and not empty is read instead.
        if let Some(said) = targeted(&list(fields, "cdn-cache-control")) {
            return Self { said, is_targeted: true, has_broken_quotes: false };
        }
        let (mut said, mut has_broken_quotes) = (Vec::new(), false);
        for member in list(fields, "cache-control") {
            match directive(&member) {
                Some((name, argument)) => said.push((name.to_lowercase(), argument)),
                // Rule: what is not written as §5.2 has it restricts by every word in it, and allows nothing.
                None => {
                    let words = member.split(|character| !is_token_character(character));
                    said.extend(words.map(|word| (word.to_lowercase(), Some(UNCLEAR.to_owned()))));
                    has_broken_quotes |= member.contains('"');
                }
            }
        }
        Self { said, is_targeted: false, has_broken_quotes }
    }

    /// The directive is there, with an argument or without.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.said.iter().any(|(other, _)| other == name)
    }

    /// The directive is there as it should be written if it takes no argument.
    pub(crate) fn has_bare(&self, name: &str) -> bool {
        self.said.iter().any(|(other, argument)| other == name && argument.is_none())
    }

    fn has_with_argument(&self, name: &str) -> bool {
        self.said.iter().any(|(other, argument)| other == name && argument.is_some())
    }

    /// §4.2.1: of several the most restrictive; what is malformed is stale.
    pub(crate) fn seconds(&self, name: &str) -> Option<u64> {
        let arguments = self.said.iter().filter(|(other, _)| other == name);
        arguments.map(|(_, argument)| argument.as_deref().and_then(delta_seconds).unwrap_or(0)).min()
    }

    /// The argument of every such directive is a number.
    pub(crate) fn is_well_formed(&self, name: &str) -> bool {
        let mut arguments = self.said.iter().filter(|(other, _)| other == name);
        self.has(name) && arguments.all(|(_, argument)| argument.as_deref().and_then(delta_seconds).is_some())
    }

    /// Something in them may be, or may hide, a `no-store` that no `must-understand` lifts.
    pub(crate) fn is_unclear(&self) -> bool {
        self.has_broken_quotes || self.has_with_argument("must-understand")
    }

    /// §4.2.4: it is never served stale.
    pub(crate) fn forbids_stale(&self) -> bool {
        ["no-cache", "must-revalidate", "proxy-revalidate", "s-maxage"].iter().any(|name| self.has(name))
    }
}

/// `name`, `name=token` or `name="quoted"`, the last without its quotes.
fn directive(member: &str) -> Option<(&str, Option<String>)> {
    let (name, argument) = match member.split_once('=') {
        None => (member, None),
        Some((name, argument)) => (name, Some(argument)),
    };
    let is_token = |text: &str| !text.is_empty() && text.chars().all(is_token_character);
    let argument = match argument {
        None => None,
        Some(argument) if is_token(argument) => Some(argument.to_owned()),
        Some(argument) => Some(argument.strip_prefix('"')?.strip_suffix('"')?.to_owned()),
    };
    let is_read = is_token(name) && !argument.as_deref().unwrap_or_default().contains(['"', '\\']);
    is_read.then_some((name, argument))
}

/// A dictionary of booleans and whole numbers (RFC 9651 §3.2); one error makes it void, and the last of a name counts.
fn targeted(members: &[String]) -> Option<Vec<(String, Option<String>)>> {
    let mut said: Vec<(String, Option<String>)> = Vec::new();
    for member in members {
        let (name, argument) = match member.split_once('=') {
            None => (member.as_str(), None),
            Some((name, argument)) => (name, Some(argument.parse::<u32>().ok()?.to_string())),
        };
        if name.is_empty() || !name.chars().all(|character| character.is_ascii_lowercase() || character == '-') {
            return None;
        }
        said.retain(|(other, _)| other != name);
        said.push((name.to_owned(), argument));
    }
    (!said.is_empty()).then_some(said)
}

fn is_token_character(character: char) -> bool {
    character.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(character)
}

/// An argument that is neither a number nor none.
const UNCLEAR: &str = "unclear";
