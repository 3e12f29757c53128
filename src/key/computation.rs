//! The key of what is computed without a request.

use super::{CacheKey, KeyError, Tenant, escape, within_limit};

impl CacheKey {
    /// The key of a computation: `{tenant}|compute()|@[/{part}]*`. No method has brackets (RFC 9110 §9.1) and no
    /// target has such an authority, so that no request has this key, and no invalidation by a request is for it.
    pub(crate) fn of_computation(tenant: &Tenant, parts: &[&str]) -> Result<Self, KeyError> {
        if tenant.is_unidentified() {
            return Err(KeyError::UnidentifiedTenant);
        }
        let mut text = String::new();
        escape::push_str(&mut text, tenant.name().unwrap_or_default(), |_| false);
        text.push_str("|compute()|@|");
        for part in parts {
            // Before any work that grows with it: escaping only makes it longer.
            within_limit(text.len() + part.len())?;
            text.push('/');
            escape::push_str(&mut text, part, |byte| byte == b'/');
        }
        within_limit(text.len())?;
        Ok(Self(text))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use http::Request;

    use super::*;
    use crate::key::{KeySpec, RequestHead};

    fn key(parts: &[&str]) -> String {
        CacheKey::of_computation(&Tenant::named("a|b"), parts).unwrap().as_str().to_owned()
    }

    #[test]
    fn different_parts_have_different_keys() {
        let lists: [&[&str]; 12] = [
            &[],
            &[""],
            &["", ""],
            &["/"],
            &["a"],
            &["a", "b"],
            &["a/b"],
            &["a%2Fb"],
            &["a", ""],
            &["", "a"],
            &["a|b"],
            &["ä ~"],
        ];
        let keys: HashSet<_> = lists.iter().map(|parts| key(parts)).collect();

        assert_eq!(keys.len(), lists.len(), "{keys:?}");
        assert_eq!(key(&["report", "7/8"]), "a%7Cb|compute()|@|/report/7%2F8");
    }

    #[test]
    fn no_request_has_the_key_or_the_target_of_a_computation() {
        assert!(http::Method::from_bytes(b"compute()").is_err());
        let computed = CacheKey::of_computation(&Tenant::shared(), &["a"]).unwrap();
        for host in ["@", "a@", "%40", ""] {
            let request = Request::get("/a").header("host", host).body(()).unwrap();
            let key = KeySpec::new().key(RequestHead::of(&request), &Tenant::shared());

            assert!(key.is_none_or(|key| key.target() != computed.target()), "{host}");
        }
    }

    #[test]
    fn nobody_known_and_what_is_too_long_has_no_key() {
        let of = |tenant, part: &str| CacheKey::of_computation(&tenant, &[part]);

        assert_eq!(of(Tenant::unidentified(), "a"), Err(KeyError::UnidentifiedTenant));
        assert_eq!(of(Tenant::shared(), &"a".repeat(8_193)), Err(KeyError::TooLong));
        assert_eq!(of(Tenant::shared(), &"|".repeat(8_000)), Err(KeyError::TooLong));
    }
}
