//! RFC 9111 §3.3 and §3.4: what of a response that is not whole?

use crate::{
    common::{TestBody, ask, cache, get, reply, text},
    exchange::{Fields, Then::*, given, plain, single, then},
};

#[tokio::test]
async fn a_response_that_breaks_off_answers_nobody_else() {
    let fresh = ("cache-control", "max-age=60");
    // What is declared, and what comes.
    let table: [(Option<&str>, &'static str, bool); 7] = [
        (None, "one", true),
        (None, "", true),
        (Some("9"), "one", false),
        (Some("9"), "", false),
        (Some("9"), "one", true),
        (Some("2"), "one", false),
        (Some("3, 4"), "one", false),
    ];
    for (declared, content, is_broken) in table {
        let (mut cache, origin, _) = cache(plain());
        let (body, feed) = TestBody::streamed();
        feed.data(content);
        if is_broken {
            feed.fail()
        } else {
            feed.end()
        }
        let mut said = vec![fresh];
        said.extend(declared.map(|length| ("content-length", length)));
        origin.queue([reply(200, &said, body)]);
        let _ = text(ask(&mut cache, get("/")).await).await;

        assert_eq!(then(&mut cache, &origin, get("/")).await, Forwarded, "{declared:?} {content:?} {is_broken}");
    }
}

#[tokio::test]
async fn a_body_that_came_in_pieces_and_is_whole_is_stored() {
    for declared in [None, Some("6")] {
        let (mut cache, origin, _) = cache(plain());
        let (body, feed) = TestBody::streamed();
        let mut said = vec![("cache-control", "max-age=60")];
        said.extend(declared.map(|length| ("content-length", length)));
        origin.queue([reply(200, &said, body)]);
        let answer = ask(&mut cache, get("/")).await;
        feed.data("one");
        feed.data("two");
        feed.end();
        assert_eq!(text(answer).await.unwrap(), "onetwo");

        assert_eq!(then(&mut cache, &origin, get("/")).await, Stored, "{declared:?}");
    }
}

/// §3.3, §3.4: parts are not stored, whatever they say of themselves.
const PARTS: &[Fields<'static>] = &[
    &[("content-range", "bytes 0-2/9")],
    &[("content-range", "bytes 0-2/3")],
    &[("content-range", "bytes 0-2/*")],
    &[("content-range", "lines 0-2/9")],
    &[("content-range", "bytes 0-2/9"), ("etag", "\"a\"")],
    &[("content-type", "multipart/byteranges; boundary=x")],
    &[],
];

#[tokio::test]
async fn a_part_is_neither_the_whole_nor_stored() {
    for said in PARTS {
        let said = [&[("cache-control", "public, max-age=60")], *said].concat();
        for policy in [plain(), single()] {
            let part = given(206, &said).policy(policy).asked("GET", &[("range", "bytes=0-2")]);
            for then in [&[][..], &[("range", "bytes=0-2")], &[("range", "bytes=0-1")], &[("range", "bytes=3-5")]] {
                let second = part.clone().then("GET", then).second().await;
                assert!(!matches!(second, Stored | Refreshed | Refused(_)), "{said:?} {then:?} {second:?}");
            }
        }
    }
}
