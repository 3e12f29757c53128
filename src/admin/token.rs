//! Who may ask.

use http::{
    HeaderMap, StatusCode,
    header::{AUTHORIZATION, WWW_AUTHENTICATE},
};

use super::problem::Problem;
use crate::{
    field::{Singleton, singleton},
    layers::ConfigError,
};

/// The hash of a token, which is all that is kept of it.
pub(super) struct Token {
    hash: blake3::Hash,
}

impl Token {
    /// Says what is wrong without a word of the token.
    pub(super) fn new(token: &str) -> Result<Self, ConfigError> {
        let wrong = |message: String| Err(ConfigError::new("bearer_token", message));
        // RFC 6750 §2.1: what `Authorization` can carry.
        let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte);
        if token.len() < MIN_BYTES {
            return wrong(format!("shorter than {MIN_BYTES} characters, and could be guessed"));
        }
        let unpadded = token.trim_end_matches('=');
        if unpadded.is_empty() || !unpadded.bytes().all(is_legal) {
            return wrong("may have letters, digits and -._~+/ in it, and = at its end, alone".to_owned());
        }
        Ok(Self { hash: blake3::hash(token.as_bytes()) })
    }

    /// Whether a request carries it in `Authorization`, once. Nothing else counts: a browser adds cookies by itself,
    /// and queries stand in logs.
    pub(super) fn is_in(&self, headers: &HeaderMap) -> bool {
        let Singleton::One(credentials) = singleton(headers, &AUTHORIZATION) else { return false };
        // The comparison of hashes takes the same time wherever they differ.
        bearer(credentials.as_bytes()).is_some_and(|token| blake3::hash(token) == self.hash)
    }
}

/// RFC 9110 §11.6.1: a 401 says how to ask.
pub(super) fn challenge() -> Problem {
    let detail = "this needs `Authorization: Bearer` and the token".to_owned();
    Problem::new(StatusCode::UNAUTHORIZED, detail).with(WWW_AUTHENTICATE, "Bearer")
}

/// RFC 9110 §11.4: the scheme in any case, then spaces, then the token.
fn bearer(credentials: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = credentials.split_at_checked(b"Bearer".len())?;
    let is_bearer = scheme.eq_ignore_ascii_case(b"Bearer") && rest.first() == Some(&b' ');
    is_bearer.then(|| rest.trim_ascii_start())
}

const MIN_BYTES: usize = 16;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::field::testing::{any_value, headers};

    const TOKEN: &str = "correct-horse-battery";

    #[test]
    fn a_token_that_can_be_guessed_or_not_be_sent_is_refused() {
        let long = "a".repeat(100_000);
        let table = [
            ("", false),
            ("fifteen-letters", false),
            ("sixteen-letters.", true),
            ("AZaz09-._~+/ABCD==", true),
            ("================", false),
            ("with=in-the-middle", false),
            ("with a space in it", false),
            ("with\na-line-feed-in", false),
            ("with-an-\u{fc}-in-it-all", false),
            (long.as_str(), true),
        ];
        for (token, is_legal) in table {
            let built = Token::new(token);
            assert_eq!(built.is_ok(), is_legal, "{token:?}");
            if let Err(error) = built {
                assert!(token.is_empty() || !error.to_string().contains(token), "{error}");
            }
        }
    }

    #[test]
    fn only_the_whole_token_after_bearer_counts() {
        let token = Token::new(TOKEN).unwrap();
        let table: &[(&[(&str, &str)], bool)] = &[
            (&[("authorization", "Bearer correct-horse-battery")], true),
            (&[("authorization", "bearer  correct-horse-battery")], true),
            (&[("authorization", "Bearer correct-horse-batterz")], false),
            (&[("authorization", "Bearer correct-horse-batter")], false),
            (&[("authorization", "Bearer correct-horse-battery ,")], false),
            (&[("authorization", "Bearer")], false),
            (&[("authorization", "Bearer ")], false),
            (&[("authorization", "Bearercorrect-horse-battery")], false),
            (&[("authorization", "Basic correct-horse-battery")], false),
            (&[("authorization", "correct-horse-battery")], false),
            (&[("authorization", "Bearer correct-horse-battery"), ("authorization", "Bearer x")], false),
            (&[("cookie", "token=correct-horse-battery")], false),
            (&[("x-token", "correct-horse-battery")], false),
            (&[], false),
        ];
        for (lines, is_known) in table {
            assert_eq!(token.is_in(&headers(lines)), *is_known, "{lines:?}");
        }
    }

    proptest! {
        #[test]
        fn nobody_gets_in_by_chance(value in any_value(), is_bearer: bool) {
            let value = if is_bearer { [b"Bearer ", value.as_slice()].concat() } else { value };
            prop_assert!(!Token::new(TOKEN).unwrap().is_in(&headers(&[("authorization", value)])));
        }
    }
}
