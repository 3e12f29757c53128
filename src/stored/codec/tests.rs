use std::{sync::Arc, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, header};
use proptest::{collection::vec, prelude::*};

use super::*;
use crate::{
    field::testing::{any_headers, any_value, at, headers},
    key::{KeySpec, RequestHead, Tenant},
    rfc9111::{normal::testing::negotiating, variants::Nominated},
    stored::{
        KnownVariant, Marker, Staleness, StoredHead, VariantIndex, compact, places_before,
        raised::{PLACES, RaisedPlace, SHARED},
    },
};

fn key(uri: &str) -> CacheKey {
    let request = Request::get(uri).header("host", "shop.example").body(()).unwrap();
    KeySpec::new().key(RequestHead::of(&request), &Tenant::named("acme")).unwrap()
}

fn names(names: &[&str]) -> Vec<HeaderName> {
    names.iter().map(|name| name.parse().unwrap()).collect()
}

pub(super) fn head(fields: HeaderMap, nominated: Nominated) -> StoredHead {
    let (mut headers, has_status_place) = places_before(&fields);
    headers.extend(fields);
    StoredHead {
        status: StatusCode::NOT_FOUND,
        headers: compact(headers),
        has_status_place,
        nominated,
        began: at(1),
        brought: at(0),
        response_time: at(1_234),
        initial_age: Duration::from_millis(567),
        freshness_lifetime: Duration::from_millis(3_600_001),
        implied: true,
        staleness: Staleness {
            is_forbidden: false,
            while_revalidate: Duration::from_millis(7_000),
            if_error: Duration::from_millis(8_000),
            is_immutable: true,
        },
        has_validator: true,
        tags: Arc::new(["a".into(), "b|\u{e9}".into()]),
    }
}

fn stored_response(head: StoredHead, body: StoredBody) -> Stored {
    Stored::new(Kind::Response(StoredResponse::new(Arc::new(head), body)))
}

fn response() -> Stored {
    let mut fields = headers(&[
        ("link", &b"</a>"[..]),
        ("content-type", b"text/plain"),
        ("vary", b"accept-encoding, x-a"),
        ("link", b"</b>"),
        ("x-latin", b"\xe9\t"),
        ("x-empty", b""),
        ("set-cookie", b"secret"),
    ]);
    fields.get_mut("set-cookie").unwrap().set_sensitive(true);
    let mut request = headers(&[("accept-encoding", "GZIP, br"), ("x-a", "1"), ("x-a", "")]);
    request.get_mut("x-a").unwrap().set_sensitive(true);
    let nominated = Nominated::new(&names(&["accept-encoding", "x-a", "x-absent"]), &request);
    let trailers = Some(Arc::new(headers(&[("checksum", "7"), ("checksum", "8")])));
    stored_response(head(fields, nominated), StoredBody { bytes: Bytes::from_static(b"hello, world"), trailers })
}

fn index() -> Stored {
    let names = names(&["accept-encoding", "x-a", "x-b"]);
    let known = |request: &[(&str, &str)], until| KnownVariant {
        key: key("/a?b=1").variant(&names, &headers(request)).unwrap(),
        until: at(until),
    };
    let variants = Arc::new([
        known(&[], 1),
        known(&[("accept-encoding", "BR;q=0.5, gzip"), ("x-a", ""), ("x-b", "1|2=3%"), ("x-b", "4")], 2),
        known(&[("accept-encoding", "br;q=x"), ("x-a", "~")], 3),
        known(&[("accept-encoding", "")], 4),
    ]);
    let useful_for = Duration::from_millis(60_001);
    Stored::new(Kind::Variants(VariantIndex { names: names.into(), variants, began: at(5), useful_for }))
}

fn marker() -> Stored {
    Stored::new(Kind::Marker(Marker { began: at(6), lifetime: Duration::from_millis(5_001) }))
}

fn codecs() -> [Codec; 2] {
    [Codec::plain(), Codec::sealed_with([7; 32])]
}

fn encoded(codec: &Codec, key: &CacheKey, content: &Stored) -> Bytes {
    let encoded = codec.encode(key, content);
    let whole = encoded.parts.concat();
    assert_eq!(whole.len(), encoded.encoded_len());
    whole.into()
}

/// With the seal that these bytes would have.
fn resealed(codec: &Codec, bytes: &[u8]) -> Bytes {
    [bytes, &codec.seal.close([bytes, b"", b""])].concat().into()
}

/// Everything that is in it, as text, so that two can be compared.
fn shown(content: &Stored) -> String {
    let lines = |fields: &HeaderMap| -> Vec<_> {
        fields
            .iter()
            .map(|(name, value)| (name.clone(), value.as_bytes().escape_ascii().to_string(), value.is_sensitive()))
            .collect()
    };
    match &content.kind {
        Kind::Response(response) => {
            let head = &response.head;
            let asked: HeaderMap = head.nominated.lines().map(|(name, line)| (name.clone(), line.clone())).collect();
            let trailers = response.trailers().map(lines);
            format!("{head:?} {:?} {:?} {trailers:?} {:?}", lines(&head.headers), lines(&asked), response.body())
        }
        Kind::Variants(index) => {
            let keys: Vec<_> = index.variants.iter().map(|variant| variant.key.as_str()).collect();
            format!("{index:?} {keys:?}")
        }
        Kind::Marker(marker) => format!("{marker:?}"),
    }
}

fn encoded_fences(codec: &Codec, key: &CacheKey, raised: &Raised) -> Bytes {
    codec.encode_fences(key, raised).parts.concat().into()
}

fn fences_come_back(key: &CacheKey, raised: &Raised) -> bool {
    let comes_back =
        |codec: &Codec| codec.decode_fences(key, &encoded_fences(codec, key, raised)).as_ref() == Ok(raised);
    codecs().iter().all(comes_back)
}

fn decoded(codec: &Codec, key: &CacheKey, bytes: &[u8]) -> Result<String, DecodeError> {
    codec.decode(key, &Bytes::copy_from_slice(bytes)).map(|content| shown(&content))
}

/// Whether it comes back as it is.
fn comes_back(key: &CacheKey, content: &Stored) -> bool {
    codecs().iter().all(|codec| decoded(codec, key, &encoded(codec, key, content)) == Ok(shown(content)))
}

fn stored_head(content: &Stored) -> &StoredHead {
    &content.response().unwrap().head
}

#[test]
fn frames_of_version_1_are_written_and_read_as_ever() {
    let [plain, sealed] = codecs();
    for (codec, content, golden) in [
        (&plain, response(), &include_bytes!("../../../tests/golden/frame_v1_response.bin")[..]),
        (&sealed, response(), include_bytes!("../../../tests/golden/frame_v1_sealed.bin")),
        (&plain, index(), include_bytes!("../../../tests/golden/frame_v1_index.bin")),
        (&plain, marker(), include_bytes!("../../../tests/golden/frame_v1_marker.bin")),
    ] {
        assert_eq!(encoded(codec, &key("/a?b=1"), &content), golden);
        assert_eq!(decoded(codec, &key("/a?b=1"), golden), Ok(shown(&content)));
    }
}

#[test]
fn fences_of_version_1_are_written_and_read_as_ever() {
    let place = |check, hard, soft| RaisedPlace { check, hard, soft };
    let places = [(0, place(SHARED, 1, 2)), (7, place(u32::MAX, 3, 0)), (PLACES - 1, place(5, 0, 1_600_000_000_000))];
    let raised = Raised { hard: 1_600_000_000_001, soft: 4, places: places.into() };
    let (key, golden) = (key("/a?b=1"), &include_bytes!("../../../tests/golden/frame_v1_fences.bin")[..]);

    assert_eq!(encoded_fences(&Codec::plain(), &key, &raised), golden);
    assert_eq!(Codec::plain().decode_fences(&key, golden), Ok(raised));
    for length in 0..golden.len() {
        assert!(Codec::plain().decode_fences(&key, &golden[..length]).is_err(), "{length}");
    }
    let other = key.variant(&names(&["x-a"]), &HeaderMap::new()).unwrap();
    let read = |key, codec: &Codec| codec.decode_fences(key, golden).err();
    assert_eq!(read(&other, &Codec::plain()), Some(DecodeError::OtherKey));
    assert_eq!(read(&key, &codecs()[1]), Some(DecodeError::Unsealed));
}

#[test]
fn fences_out_of_place_are_refused() {
    for (places, is_read) in [
        (&[][..], true),
        (&[0, 1, 1_023], true),
        (&[1, 0], false),
        (&[1, 1], false),
        (&[1_024], false),
        (&[1_023, 16_000], false),
    ] {
        let of_place = |place: &u64| (*place, 1_u64, 1_u64, 1_u64);
        let head = to_bytes(&(1_u64, 1_u64, places.iter().map(of_place).collect::<Vec<_>>()));
        let (start, end) = frame::write(seal::PLAIN, &key("/"), FENCES, &head, 0, b"");
        let frame = resealed(&Codec::plain(), &[start, end].concat());

        assert_eq!(Codec::plain().decode_fences(&key("/"), &frame).is_ok(), is_read, "{places:?}");
    }
}

#[test]
fn every_truncation_and_every_changed_byte_is_an_error() {
    let key = key("/a?b=1");
    for codec in codecs() {
        for content in [response(), index(), marker()] {
            let frame = encoded(&codec, &key, &content);
            for length in 0..frame.len() {
                assert!(codec.decode(&key, &frame.slice(..length)).is_err(), "{length} of {}", frame.len());
            }
            for length in MAGIC.len() + 2..frame.len() - codec.seal.length() {
                let cut = resealed(&codec, &frame[..length]);
                assert_eq!(decoded(&codec, &key, &cut), Err(DecodeError::Malformed), "{length} of {}", frame.len());
            }
            for place in 0..frame.len() {
                for flip in [0x01, 0x02, 0x80, 0xff] {
                    let mut changed = frame.to_vec();
                    changed[place] ^= flip;
                    assert!(decoded(&codec, &key, &changed).is_err(), "{flip:#x} at {place}");
                }
            }
            let longer = [&frame[..], b"\0"].concat();
            assert_eq!(decoded(&codec, &key, &longer), Err(DecodeError::Checksum));
        }
    }
}

#[test]
fn each_error_has_its_cause() {
    let [plain, sealed] = codecs();
    let key = key("/a?b=1");
    let (frame, sealed_frame) = (encoded(&plain, &key, &marker()), encoded(&sealed, &key, &marker()));
    let with = |place: usize, byte: u8| {
        let mut changed = frame.to_vec();
        changed[place] = byte;
        changed
    };
    let as_if_sealed = [&with(5, seal::SEALED)[..frame.len() - 16], &[0; 32]].concat();
    let too_long = resealed(&plain, &[&frame[..frame.len() - 16], b"\0"].concat()).to_vec();
    for (name, codec, bytes, expected) in [
        ("empty", &plain, Vec::new(), DecodeError::Magic),
        ("magic alone", &plain, MAGIC.to_vec(), DecodeError::Malformed),
        ("another magic", &plain, with(3, b'g'), DecodeError::Magic),
        ("an older version", &plain, with(4, 0), DecodeError::Version),
        ("a newer version", &plain, with(4, 2), DecodeError::Version),
        ("an unknown flag", &plain, with(5, 2), DecodeError::Malformed),
        ("a changed byte", &plain, with(20, b'~'), DecodeError::Checksum),
        ("shorter than a seal", &plain, frame[..8].to_vec(), DecodeError::Malformed),
        ("sealed, without a key", &plain, sealed_frame.to_vec(), DecodeError::Sealed),
        ("plain, with a key", &sealed, frame.to_vec(), DecodeError::Unsealed),
        ("a seal of zeroes", &sealed, as_if_sealed, DecodeError::Checksum),
        ("another seal key", &Codec::sealed_with([8; 32]), sealed_frame.to_vec(), DecodeError::Checksum),
        ("a byte too many", &plain, too_long, DecodeError::Malformed),
    ] {
        assert_eq!(decoded(codec, &key, &bytes), Err(expected), "{name}");
    }
}

#[test]
fn every_changed_bit_of_a_seal_is_noticed() {
    let key = key("/a?b=1");
    for codec in codecs() {
        let frame = encoded(&codec, &key, &response());
        for bit in 0..codec.seal.length() * 8 {
            let mut changed = frame.to_vec();
            let place = frame.len() - 1 - bit / 8;
            changed[place] ^= 1 << (bit % 8);
            assert_eq!(decoded(&codec, &key, &changed), Err(DecodeError::Checksum), "{bit}");
        }
    }
}

#[test]
fn a_checksum_is_that_of_xxh3_however_the_frame_is_cut() {
    let of_nothing = 0x99aa_06d3_0147_98d8_6001_c324_468d_497f_u128;
    assert_eq!(Seal::Checksum.close([b"", b"", b""]), of_nothing.to_be_bytes());

    let Codec { seal: keyed, .. } = Codec::sealed_with([7; 32]);
    for seal in [Seal::Checksum, keyed] {
        for length in [0, 1, 16, 17, 128, 240, 241, 1_024, 100_000] {
            let frame: Vec<u8> = (0..=255).cycle().take(length).collect();
            let (start, rest) = frame.split_at(length / 3);
            let (body, end) = rest.split_at(length / 3);
            assert!(seal.verify(&frame, &seal.close([start, body, end])), "{length}");
        }
    }
}

#[test]
fn a_frame_for_one_key_is_nothing_under_another() {
    let variant = key("/a?b=1").variant(&names(&["x-a"]), &HeaderMap::new()).unwrap();
    for codec in codecs() {
        for content in [response(), index(), marker()] {
            let frame = encoded(&codec, &key("/a?b=1"), &content);
            for other in [key("/a?b=2"), key("/a"), key("/a?b=10"), variant.clone()] {
                assert_eq!(decoded(&codec, &other, &frame), Err(DecodeError::OtherKey), "{other}");
            }
        }
    }
}

#[test]
fn the_body_is_never_copied() {
    let key = key("/a?b=1");
    for codec in codecs() {
        let content = response();
        let encoded_parts = codec.encode(&key, &content);
        assert_eq!(encoded_parts.parts[1].as_ptr(), content.response().unwrap().body().as_ptr());

        let frame = encoded(&codec, &key, &content);
        let found = codec.decode(&key, &frame).unwrap();
        let body = found.response().unwrap().body();
        assert_eq!(body.as_ptr(), frame[encoded_parts.parts[0].len()..].as_ptr());
    }
}

#[test]
fn nothing_but_a_body_keeps_the_frame() {
    let key = key("/a?b=1");
    let empty = StoredBody { trailers: Some(Arc::new(headers(&[("x-a", "1")]))), ..StoredBody::default() };
    let without_body = stored_response(head(headers(&[("etag", "\"1\"")]), Nominated::default()), empty);
    for content in [without_body, index()] {
        let frame = encoded(&Codec::plain(), &key, &content);

        let found = Codec::plain().decode(&key, &frame);

        assert!(found.is_ok() && frame.is_unique());
    }
}

#[test]
fn the_values_of_fields_are_slices_beside_a_body_and_copies_without() {
    let key = key("/a?b=1");
    for (body, is_slice) in [(&b"body"[..], true), (b"", false)] {
        let body = StoredBody { bytes: Bytes::from_static(body), trailers: None };
        let put = stored_response(head(headers(&[("etag", "\"1\"")]), Nominated::default()), body);
        let frame = encoded(&Codec::plain(), &key, &put);

        let found = Codec::plain().decode(&key, &frame).unwrap();

        let value = stored_head(&found).headers[header::ETAG].as_bytes().as_ptr();
        assert_eq!(frame.as_ptr_range().contains(&value), is_slice);
    }
}

#[test]
fn a_hit_finds_its_places_and_the_shared_values() {
    let key = key("/a?b=1");
    for fields in [
        headers(&[("content-type", "text/x-codec"), ("x-a", "1")]),
        headers(&[("cache-status", "other; hit"), ("content-type", "text/x-codec"), ("cache-status", "third")]),
    ] {
        let put = stored_response(head(fields, Nominated::default()), StoredBody::default());
        let found = Codec::plain().decode(&key, &encoded(&Codec::plain(), &key, &put)).unwrap();

        let (put, found) = (stored_head(&put), stored_head(&found));
        let hit = |head: &StoredHead| head.headers_at(Duration::from_secs(9), HeaderValue::from_static("us; hit"));
        assert!(hit(put).iter().eq(hit(found).iter()), "{:?}", hit(found));
        assert!(put.without_places().iter().eq(found.without_places().iter()));
        let text = |head: &StoredHead| head.headers[header::CONTENT_TYPE].as_bytes().as_ptr();
        assert_eq!(text(put), text(found));
    }
}

#[test]
fn a_head_that_no_response_has_is_refused() {
    fn append(head: &mut StoredHead, name: &'static str) {
        head.headers.append(name, HeaderValue::from_static("a"));
    }
    type Change = fn(&mut StoredHead);
    let changes: &[(&str, Change)] = &[
        ("no places", |head| head.headers.clear()),
        ("no place for the age", |head| head.headers = headers(&[("x-a", "1"), ("age", "0")])),
        ("two ages", |head| append(head, "age")),
        ("no place for the status", |head| head.headers = headers(&[("age", "0"), ("x-a", "1")])),
        ("not in its place", |head| head.headers = headers(&[("age", "0"), ("x-a", "1"), ("cache-status", "a")])),
        ("two of them", |head| append(head, "cache-status")),
        ("too many fields", |head| (0..4_096).for_each(|_| append(head, "x-a"))),
        ("unsorted names", |head| head.nominated = Nominated::new(&names(&["x-b", "x-a"]), &HeaderMap::new())),
        ("a name twice", |head| head.nominated = Nominated::new(&names(&["x-a", "x-a"]), &HeaderMap::new())),
    ];
    for (name, change) in changes {
        let mut head = head(HeaderMap::new(), Nominated::default());
        change(&mut head);
        let content = stored_response(head, StoredBody::default());

        let frame = encoded(&Codec::plain(), &key("/"), &content);

        assert_eq!(decoded(&Codec::plain(), &key("/"), &frame), Err(DecodeError::Malformed), "{name}");
    }
}

#[test]
fn an_index_names_variants_of_its_own_key_alone() {
    let own = key("/a");
    let at_key = |key: CacheKey| {
        let variant = KnownVariant { key, until: at(0) };
        let variants: Arc<[_]> = Arc::new([variant]);
        let useful_for = Duration::ZERO;
        Stored::new(Kind::Variants(VariantIndex { names: Arc::new([]), variants, began: at(0), useful_for }))
    };
    let variant = |key: &CacheKey| key.variant(&names(&["x-a"]), &headers(&[("x-a", "1")])).unwrap();
    assert!(comes_back(&own, &at_key(variant(&own))));
    assert!(comes_back(&own, &at_key(own.clone())));

    for other in [variant(&key("/b")), variant(&key("/ab")), key("/ab"), key("/")] {
        let frame = encoded(&Codec::plain(), &own, &at_key(other.clone()));
        assert_eq!(decoded(&Codec::plain(), &own, &frame), Err(DecodeError::Malformed), "{}", other.as_str());
    }
}

#[test]
fn an_index_of_more_variants_than_there_can_be_is_refused() {
    for (count, is_read) in [(64, true), (65, false)] {
        let known = |number: usize| KnownVariant {
            key: key("/").variant(&names(&["x-a"]), &headers(&[("x-a", number.to_string())])).unwrap(),
            until: at(0),
        };
        let index = VariantIndex {
            names: names(&["x-a"]).into(),
            variants: (0..count).map(known).collect(),
            began: at(0),
            useful_for: Duration::ZERO,
        };

        assert_eq!(comes_back(&key("/"), &Stored::new(Kind::Variants(index))), is_read, "{count}");
    }
}

#[test]
fn fractions_of_a_millisecond_never_make_fresher() {
    let fraction = Duration::from_nanos(500_000);
    let mut head = head(HeaderMap::new(), Nominated::default());
    head.began += fraction;
    head.response_time += fraction;
    head.initial_age += fraction;
    head.freshness_lifetime += fraction;
    head.staleness.while_revalidate += fraction;
    head.staleness.if_error += fraction;
    let put = stored_response(head, StoredBody::default());

    let found = Codec::plain().decode(&key("/"), &encoded(&Codec::plain(), &key("/"), &put)).unwrap();

    let found = stored_head(&found);
    assert_eq!((found.began, found.response_time), (at(1), at(1_234)));
    assert_eq!(found.initial_age, Duration::from_millis(568));
    assert_eq!(found.freshness_lifetime, Duration::from_millis(3_600_001));
    assert_eq!(found.staleness.while_revalidate, Duration::from_millis(7_000));
    assert_eq!(found.staleness.if_error, Duration::from_millis(8_000));
}

#[test]
fn a_marker_that_says_something_else_is_refused() {
    let put = Marker { began: at(6), lifetime: Duration::from_millis(5_001) };
    let head = marker::write(&put);
    for (name, head, body, trailers, is_read) in [
        ("as it was written", head.clone(), &b""[..], &b""[..], true),
        ("with more", [&head[..], &[1]].concat(), b"", b"", false),
        ("with less", head[..head.len() - 1].to_vec(), b"", b"", false),
        ("with a body", head.clone(), b"a", b"", false),
        ("with trailers", head.clone(), b"", b"\0", false),
    ] {
        let (start, end) = frame::write(seal::PLAIN, &key("/"), MARKER, &head, body.len(), trailers);
        let frame = resealed(&Codec::plain(), &[&start[..], body, &end].concat());

        let found = decoded(&Codec::plain(), &key("/"), &frame);

        assert_eq!(found.err(), (!is_read).then_some(DecodeError::Malformed), "{name}");
    }
}

#[test]
fn tags_that_are_not_sorted_or_too_many_are_refused() {
    let many = |count: usize| (0..count).map(|number| format!("{number:04}").into()).collect();
    let tags: [(Arc<[Box<str>]>, bool); 6] = [
        (Arc::new([]), true),
        (Arc::new(["a".into(), "b".into()]), true),
        (Arc::new(["b".into(), "a".into()]), false),
        (Arc::new(["a".into(), "a".into()]), false),
        (many(1_024), true),
        (many(1_025), false),
    ];
    for (tags, is_read) in tags {
        let head = StoredHead { tags, ..head(HeaderMap::new(), Nominated::default()) };
        let content = stored_response(head, StoredBody::default());

        assert_eq!(comes_back(&key("/"), &content), is_read, "{}", shown(&content));
    }
}

#[test]
fn lengths_that_lie_allocate_nothing_large() {
    let key = key("/a?b=1");
    // Sequences that claim to be as long as they can: none of it may be believed.
    for claim in [&b"\xff\xff\xff\xff\x0f"[..], b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", b"\x80\x80\x04"] {
        for kind in [RESPONSE, INDEX, MARKER, FENCES] {
            for start in [&b""[..], b"\xc8\x01", b"\x00", b"\xc8\x01\x00\x00"] {
                let head = [start, claim, &[0; 64]].concat();
                let (mut frame, end) = frame::write(seal::PLAIN, &key, kind, &head, 0, b"");
                frame.extend_from_slice(&end);
                let codec = Codec::plain();
                let frame = resealed(&codec, &frame);
                let limit = (64 * frame.len()) as u64;

                let used = allocation_counter::measure(|| {
                    drop(codec.decode(&key, &frame));
                    drop(codec.decode_fences(&key, &frame));
                });

                assert!(used.bytes_max <= limit, "{used:?} for {}", frame.len());
            }
        }
    }
}

#[test]
fn the_most_that_small_frames_can_say_takes_little_memory() {
    let long = key(&format!("/{}", "x".repeat(4_000)));
    let same: Vec<_> = (0..4_000).map(|_| ("a".to_owned(), "")).collect();
    let others: Vec<_> = (0..4_000).map(|number| (format!("{number:x}"), "")).collect();
    let fields = [same, others].map(|lines| {
        let lines: Vec<_> = lines.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        stored_response(head(headers(&lines), Nominated::default()), StoredBody::default())
    });
    let variant = KnownVariant { key: long.clone(), until: at(0) };
    let variants = Stored::new(Kind::Variants(VariantIndex {
        names: Arc::new([]),
        variants: vec![variant; 64].into(),
        began: at(0),
        useful_for: Duration::ZERO,
    }));
    for content in fields.into_iter().chain([variants]) {
        let frame = encoded(&Codec::plain(), &long, &content);
        let limit = (128 * frame.len()) as u64;

        let used = allocation_counter::measure(|| assert!(Codec::plain().decode(&long, &frame).is_ok()));

        assert!(used.bytes_max <= limit, "{used:?} for {}", frame.len());
    }
}

fn any_millis() -> impl Strategy<Value = u64> {
    prop_oneof![0..100_000_u64, any::<u64>()]
}

/// Lines without `age`, some of them sensitive, with and without `cache-status`.
fn any_fields() -> impl Strategy<Value = HeaderMap> {
    let status = vec(any_value(), 0..3);
    (any_headers(), status, any::<u32>()).prop_map(|(fields, status, sensitive)| {
        let status = headers(&status.iter().map(|value| ("cache-status", value)).collect::<Vec<_>>());
        let mut all = HeaderMap::new();
        for (number, (name, value)) in status.iter().chain(&fields).filter(|(name, _)| *name != "age").enumerate() {
            let mut value = value.clone();
            value.set_sensitive(sensitive >> (number % 32) & 1 == 1);
            all.append(name, value);
        }
        all
    })
}

fn any_nominated() -> impl Strategy<Value = Nominated> {
    let few = proptest::sample::subsequence(vec!["accept", "accept-encoding", "accept-language", "x-a"], 0..=4);
    (few, negotiating(), any_value()).prop_map(|(few, mut request, value)| {
        request.append("x-a", HeaderValue::from_bytes(&value).unwrap());
        Nominated::new(&names(&few), &request)
    })
}

fn any_response() -> impl Strategy<Value = Stored> {
    let body = (any::<Vec<u8>>(), prop::option::of(any_fields()));
    let times = prop::array::uniform6(any_millis());
    (any_fields(), any_nominated(), times, any::<[bool; 4]>(), 100..1_000_u16, body).prop_map(
        |(fields, nominated, times, marks, status, (bytes, trailers))| {
            let [began, response_time, initial_age, lifetime, while_revalidate, if_error] = times;
            let head = StoredHead {
                status: StatusCode::from_u16(status).unwrap(),
                began: units::time(began).unwrap(),
                brought: units::time(began / 2).unwrap(),
                response_time: units::time(response_time).unwrap(),
                initial_age: Duration::from_millis(initial_age),
                freshness_lifetime: Duration::from_millis(lifetime),
                implied: marks[0],
                staleness: Staleness {
                    is_forbidden: marks[1],
                    while_revalidate: Duration::from_millis(while_revalidate),
                    if_error: Duration::from_millis(if_error),
                    is_immutable: marks[2],
                },
                has_validator: marks[3],
                ..head(fields, nominated)
            };
            stored_response(head, StoredBody { bytes: bytes.into(), trailers: trailers.map(Arc::new) })
        },
    )
}

fn any_index() -> impl Strategy<Value = Stored> {
    let few = || proptest::sample::subsequence(vec!["accept", "accept-encoding", "accept-language"], 0..=3);
    let variant = (few(), negotiating(), any_millis());
    let times = prop::array::uniform2(any_millis());
    (few(), vec(variant, 0..4), times).prop_map(|(few, variants, [began, useful_for])| {
        let known = |(few, request, until): (Vec<&str>, HeaderMap, u64)| KnownVariant {
            key: key("/a?b=1").variant(&names(&few), &request).unwrap(),
            until: units::time(until).unwrap(),
        };
        Stored::new(Kind::Variants(VariantIndex {
            names: names(&few).into(),
            variants: variants.into_iter().map(known).collect(),
            began: units::time(began).unwrap(),
            useful_for: Duration::from_millis(useful_for),
        }))
    })
}

fn any_marker() -> impl Strategy<Value = Stored> {
    (any_millis(), any_millis()).prop_map(|(began, lifetime)| {
        let (began, lifetime) = (units::time(began).unwrap(), Duration::from_millis(lifetime));
        Stored::new(Kind::Marker(Marker { began, lifetime }))
    })
}

fn any_raised() -> impl Strategy<Value = Raised> {
    let check = prop_oneof![Just(SHARED), any::<u32>()];
    let place = (check, any_millis(), any_millis()).prop_map(|(check, hard, soft)| RaisedPlace { check, hard, soft });
    let places = prop::collection::btree_map(0..PLACES, place, 0..20);
    (any_millis(), any_millis(), places).prop_map(|(hard, soft, places)| Raised { hard, soft, places })
}

/// A kind with some bytes, or with a head that was written and then changed in a few places.
fn any_head() -> impl Strategy<Value = (u8, Vec<u8>)> {
    let written =
        prop_oneof![2 => any_response(), 2 => any_index(), 1 => any_marker()].prop_map(|content| match content.kind {
            Kind::Response(response) => (RESPONSE, head::write(&response.head)),
            Kind::Variants(index) => (INDEX, index::write(&key("/a?b=1"), &index)),
            Kind::Marker(marker) => (MARKER, marker::write(&marker)),
        });
    let changes = vec((any::<prop::sample::Index>(), any::<u8>()), 0..3);
    let changed = (written, changes).prop_map(|((kind, mut head), changes)| {
        for (place, byte) in changes {
            let place = place.index(head.len());
            head[place] = byte;
        }
        (kind, head)
    });
    prop_oneof![1 => (0..5_u8, any::<Vec<u8>>()), 4 => changed]
}

proptest! {
    #[test]
    fn what_was_written_comes_back(content in prop_oneof![any_response(), any_index(), any_marker()]) {
        prop_assert!(comes_back(&key("/a?b=1"), &content), "{}", shown(&content));
    }

    #[test]
    fn fences_that_were_written_come_back(raised in any_raised()) {
        prop_assert!(fences_come_back(&key("/a?b=1"), &raised));
        let frame = encoded_fences(&Codec::plain(), &key("/a?b=1"), &raised);
        prop_assert!(Codec::plain().decode(&key("/a?b=1"), &frame).is_err());
    }

    #[test]
    fn any_bytes_can_be_read(bytes: Vec<u8>, flags in 0..3_u8, (kind, head) in any_head()) {
        let key = key("/a?b=1");
        for codec in codecs() {
            prop_assert!(decoded(&codec, &key, &bytes).is_err());
            let begun = [&MAGIC[..], &[VERSION, flags], &bytes].concat();
            prop_assert!(decoded(&codec, &key, &resealed(&codec, &begun)).is_err());

            // Under a seal that holds there may be anything, too.
            for (body, trailers) in [(&bytes[..], &b"\0"[..]), (b"", &bytes), (b"", b"")] {
                let (start, end) = frame::write(codec.seal.flags(), &key, kind, &head, body.len(), trailers);
                let frame = [&start[..], body, &end].concat();
                let frame = resealed(&codec, &frame);
                let limit = (64 * frame.len() + 4_096) as u64;
                let mut found = None;
                let used = allocation_counter::measure(|| found = codec.decode(&key, &frame).ok());
                prop_assert!(used.bytes_max <= limit, "{:?} for {}", used, frame.len());
                // What was believed is a value like others.
                if let Some(found) = found {
                    prop_assert!(comes_back(&key, &found), "{}", shown(&found));
                }
                if let Ok(found) = codec.decode_fences(&key, &frame) {
                    prop_assert!(fences_come_back(&key, &found), "{:?}", found);
                }
            }
        }
    }
}
