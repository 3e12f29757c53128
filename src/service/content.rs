//! Requests that are keyed by what they carry: read, looked up, and replayed to the origin.

use std::sync::Arc;

use http::Request;

use super::{
    Asked, Cache, Invalidation, Shown,
    answer::Ask,
    origin::{Answer, Carries, Origin},
    settings::Refused,
};
use crate::{
    body::{Read, RequestContent, read_content},
    field::{ContentLength, content_length},
    key::{RequestHead, Tenant},
    observe::Tally,
    policy::{BypassReason, Carried, Policy},
    rfc9111::invalidation::is_safe,
};

/// Answers a request by its content. What is longer than the policy reads goes to the origin untouched, and so does
/// what breaks off.
pub(super) async fn by_content<S, ReqBody>(
    cache: Cache<S>,
    tenant: Tenant,
    policy: Arc<Policy>,
    tally: Arc<Tally>,
    carried: Carried,
    request: Request<ReqBody>,
) -> Answer<S, ReqBody>
where
    S: Origin<ReqBody>,
    ReqBody: Carries,
{
    let refused = |reason| Refused { reason, tally: &tally, mode: policy.shows.mode };
    let Some((content, replay)) = policy.content.as_ref().and_then(|content| Some((content, content.replay()?))) else {
        return cache.bypass(request, &refused(BypassReason::Content)).await;
    };
    let limit = content.limit();
    if matches!(content_length(request.headers()), ContentLength::Bytes(length) if length > limit as u64) {
        return cache.bypass(request, &refused(BypassReason::LongContent)).await;
    }
    let invalidation = if is_safe(request.method()) { None } else { Invalidation::of(&cache.settings, &request) };
    let (head, body) = request.into_parts();
    let bytes = match read_content(body, limit).await {
        Read::Whole { bytes, trailers: None } => bytes,
        // What follows the content is not in the key.
        Read::Whole { bytes, trailers } => {
            let request = Request::from_parts(head, replay(RequestContent::whole(bytes, trailers)));
            return cache.bypass(request, &refused(BypassReason::Content)).await;
        }
        Read::Over(content) | Read::Failed(content) => {
            let request = Request::from_parts(head, replay(content));
            return cache.bypass(request, &refused(BypassReason::LongContent)).await;
        }
    };
    let digest = content.digest(&head.headers, &bytes);
    let mut request = Request::from_parts(head, replay(RequestContent::whole(bytes, None)));
    let key = match cache.settings.key(&RequestHead::of(&request), &tenant, &policy, carried, Some(&digest)) {
        Ok(key) => key,
        Err(reason) => return cache.bypass(request, &refused(reason)).await,
    };
    let mut ask = Ask::of(&request, carried);
    ask.by_content = true;
    if let Err(reason) = policy.hide(&mut request, &key, ask.is_plain()) {
        return cache.bypass(request, &refused(reason)).await;
    }
    let shown = (!policy.shows.is_plain()).then(|| Shown::of(&policy, &key));
    let asked = Asked { key, policy: Arc::clone(&policy), ask, tally: Arc::clone(&tally) };
    let mut flow = cache.flow(request, asked);
    flow.invalidation = invalidation;
    let mut response = flow.respond().await?;
    if let Some(shown) = shown {
        shown.apply(&mut response);
    }
    Ok(response)
}
