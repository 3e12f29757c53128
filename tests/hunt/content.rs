//! The checker's second half: the status, the part, the body.

use http::{HeaderMap, Method, header};

use crate::{
    checker::{Answer, Asked, End, Rule, Source, Verdict, is_known_to_client},
    history::Record,
    world::ranges,
};

pub(crate) fn check(asked: &Asked, answer: &Answer, source: &Source) -> Verdict {
    let base = source.base();
    let (said, got) = (base.status.as_u16(), answer.status.as_u16());
    let may_be_special = matches!(asked.ask.method, Method::GET | Method::HEAD);
    match got {
        304 => {
            let holds = may_be_special && matches!(said, 200..=299 | 304);
            Rule::Status.holds_if(holds, || format!("304 for {said}"))?;
            let is_known = is_known_to_client(&asked.ask, &answer.headers, source);
            Rule::Condition.holds_if(is_known, || format!("forward {} is not what the client has", base.number))?;
            is_nothing(answer)
        }
        206 if said == 200 => is_what_was_asked_for(asked, answer, base),
        416 => {
            let range = ranges(asked.ask.text("range"), base.length);
            let holds = said == 200 && range.is_some_and(|parts| parts.is_empty());
            Rule::Range.holds_if(holds, || format!("416 for {:?}", asked.ask.text("range")))?;
            is_nothing(answer)
        }
        _ => {
            Rule::Status.holds_if(said == got, || format!("{got} for {said}"))?;
            if asked.ask.method == Method::HEAD { is_nothing(answer) } else { is_whole(asked, answer, base) }
        }
    }
}

fn is_nothing(answer: &Answer) -> Verdict {
    let is_empty = answer.body.is_empty() && answer.trailers.is_none() && answer.end != End::Failed;
    Rule::Content.holds_if(is_empty, || format!("{} bytes where there are none", answer.body.len()))
}

/// All of the content, or as much of it as the client took or the origin gave.
fn is_whole(asked: &Asked, answer: &Answer, record: &Record) -> Verdict {
    let content = match (record.status.as_u16(), record.part) {
        (204 | 304, _) => Vec::new(),
        (_, Some((first, last))) => record.content()[first..=last].to_vec(),
        (_, None) => record.content(),
    };
    let is_own = record.saw.number() == asked.ask.number();
    if let Some(part) = record.part {
        let wanted = ranges(asked.ask.text("range"), record.length);
        Rule::Range.holds_if(wanted == Some(vec![part]), || format!("{part:?} is not the part"))?;
    }
    is(answer, &content, is_own && record.is_broken, record.is_broken, record.number)?;
    let trailer = |trailers: &HeaderMap| trailers.len() == 1 && trailers["x-trailer"] == record.number.to_string();
    let has_its_own = answer.trailers.as_ref().is_none_or(trailer);
    let has_all = answer.end != End::Clean || record.is_broken || answer.trailers.is_some() == record.has_trailers;
    Rule::Content.holds_if(has_its_own && has_all, || format!("trailers {:?}", answer.trailers))
}

/// `may_be_short`: the origin may have ended cleanly before. `may_fail`: it has not brought all.
fn is(answer: &Answer, content: &[u8], may_be_short: bool, may_fail: bool, number: u64) -> Verdict {
    let got = &answer.body[..];
    let is_beginning = content.starts_with(got);
    Rule::Content.holds_if(is_beginning, || {
        let at = content.iter().zip(got).position(|(one, other)| one != other);
        let text = String::from_utf8_lossy(&got[..got.len().min(200)]);
        format!("not the bytes of forward {number}, from byte {at:?} of {}: {text}", content.len())
    })?;
    let is_whole = got.len() == content.len();
    let holds = match answer.end {
        End::Clean => is_whole || may_be_short,
        End::Failed => may_fail,
        End::Left => true,
    };
    Rule::Content.holds_if(holds, || {
        format!("{} of {} bytes of forward {number}, then {:?}", got.len(), content.len(), answer.end)
    })?;
    let length = answer.headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    let is_right = length.is_none_or(|length: usize| length == content.len()) || may_be_short;
    Rule::Content.holds_if(is_right, || format!("{length:?} bytes are said, of {}", content.len()))
}

/// RFC 9110 §14 and §13.1.5: the part, or the parts, of the representation that the client has.
fn is_what_was_asked_for(asked: &Asked, answer: &Answer, record: &Record) -> Verdict {
    let range = asked.ask.text("range");
    let wanted = ranges(range, record.length).unwrap_or_default();
    if let Some(has) = asked.ask.headers.get(header::IF_RANGE) {
        // A weak tag tells nothing of bytes.
        let is_same = record.validators.get(header::ETAG) == Some(has) && !has.as_bytes().starts_with(b"W/");
        Rule::Range.holds_if(is_same, || format!("{has:?} is not forward {}", record.number))?;
    }
    Rule::Content.holds_if(answer.trailers.is_none(), || "trailers of the whole".to_owned())?;
    let content = record.content();
    let field = |name| answer.headers.get(name).map_or("", |value| value.to_str().unwrap_or_default());
    let (unit, media_type) = (field(header::CONTENT_RANGE), field(header::CONTENT_TYPE));
    let whole = |(first, last): (usize, usize)| format!("bytes {first}-{last}/{}", content.len());
    match wanted[..] {
        [part] => {
            Rule::Range.holds_if(unit == whole(part), || format!("{unit:?} for {range:?}"))?;
            is(answer, &content[part.0..=part.1], false, record.is_broken, record.number)
        }
        [_, _] => {
            let boundary = media_type.split_once("boundary=").map_or("", |(_, boundary)| boundary.trim_matches('"'));
            Rule::Range.holds_if(!boundary.is_empty(), || format!("{media_type:?} for {range:?}"))?;
            let mut body = Vec::new();
            for part in &wanted {
                body.extend_from_slice(
                    format!("\r\n--{boundary}\r\nContent-Range: {}\r\n\r\n", whole(*part)).as_bytes(),
                );
                body.extend_from_slice(&content[part.0..=part.1]);
            }
            body.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
            is(answer, &body, false, record.is_broken, record.number)
        }
        _ => Rule::Range.holds_if(false, || format!("206 for {range:?}")),
    }
}
