//! RFC 9111 §5.4 and §5.5: what do `Pragma` and `Warning` say? Nothing.

use crate::{
    common::{SECOND, field},
    exchange::{Fields, Then::*, given, plain},
};

#[tokio::test]
async fn pragma_is_deprecated_and_says_nothing() {
    let (fresh, pragma) = (("cache-control", "max-age=60"), ("pragma", "no-cache"));
    // §5.4: what it would mean in a response was never specified.
    assert_eq!(given(200, &[fresh, pragma]).second().await, Stored);
    assert_eq!(given(200, &[fresh, pragma]).after(60 * SECOND).second().await, Forwarded);
    assert_eq!(given(200, &[("pragma", "max-age=60")]).second().await, Forwarded);
    // §5.4: deprecated in requests, with and without Cache-Control next to it.
    let asks: [Fields<'_>; 3] =
        [&[pragma], &[pragma, ("cache-control", "max-age=60")], &[("pragma", "no-store, no-cache")]];
    for asked in asks {
        for policy in [plain(), plain().honour_request_directives()] {
            let second = given(200, &[fresh]).policy(policy).then("GET", asked).second().await;
            assert_eq!(second, Stored, "{asked:?}");
        }
        assert_eq!(given(200, &[fresh]).asked("GET", asked).second().await, Stored, "{asked:?}");
    }
}

#[tokio::test]
async fn warning_is_obsolete_and_neither_read_nor_written() {
    let stale = ("cache-control", "max-age=60, stale-while-revalidate=600");
    for after in [0, 59, 61] {
        let answer = given(200, &[stale]).after(after * SECOND).answer().await.unwrap();
        assert!(!answer.headers().contains_key("warning"), "after {after} s");
        let warned = [stale, ("warning", "110 - \"stale\"")];
        let answer = given(200, &warned).after(after * SECOND).answer().await.unwrap();
        assert_eq!(field(&answer, "warning"), "110 - \"stale\"", "after {after} s");
    }
    let expired = given(200, &[("cache-control", "max-age=60"), ("warning", "113 - \"heuristic\"")]);
    assert_eq!(expired.after(60 * SECOND).second().await, Forwarded);
}
