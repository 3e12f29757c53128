//! Asking the origin whether what is stored still holds, and taking its word for it (RFC 9111 §4.3).

use std::{error::Error, time::SystemTime};

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode, header, response};
use http_body::Body;

use super::{
    Lookup,
    answer::{self, Ask},
    job::Job,
    pump::Use,
};
use crate::{
    body::CacheBody,
    clock::monotonic,
    policy::{Plan, SkipReason, Storability},
    rfc9111::{age::Exchange, freshening},
    stored::{KnownVariant, StoredResponse},
};

/// What the origin is asked to confirm.
pub(super) struct Validation {
    /// What is stored for this request.
    stored: Option<StoredResponse>,
    /// Other variants, which may turn out to be the one for it.
    others: Vec<KnownVariant>,
}

impl Validation {
    /// None if there is nothing to confirm, or the method has no use for it.
    pub(super) fn of(lookup: &Lookup, ask: &Ask, request: &HeaderMap, now: SystemTime) -> Option<Self> {
        if ask.by_content {
            return None;
        }
        let stored = lookup.validatable(ask, request).cloned();
        // An origin that is asked about tags does not look at the date (RFC 9110 §13.1.3).
        let has_date_alone = stored.as_ref().is_some_and(|stored| !stored.head.headers.contains_key(header::ETAG));
        let is_asked_about = |other: &&KnownVariant| other.tag.is_some() && !has_date_alone;
        let others: Vec<_> = lookup.others(now).filter(is_asked_about).cloned().collect();
        (stored.is_some() || !others.is_empty()).then_some(Self { stored, others })
    }

    /// Makes the request conditional.
    pub(super) fn ask(&self, request: &mut HeaderMap) {
        let nothing = HeaderMap::new();
        let stored = self.stored.as_ref().map_or(&nothing, |stored| &stored.head.headers);
        let tags = self.others.iter().filter_map(|other| other.tag.as_ref());
        freshening::add_conditions(request, stored, tags);
    }
}

impl Job {
    /// §4.3.3: what the 304 confirms answers the request, and is stored anew.
    pub(super) async fn validated<B>(
        mut self: Box<Self>,
        validation: Validation,
        head: response::Parts,
        exchange: Exchange,
    ) -> Response<CacheBody<B>>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let Some(stored) = self.confirmed(&validation, &head.headers).await else {
            return self.contradicted().await;
        };
        let Some((head, verdict)) = self.freshened(&stored, head, &exchange) else {
            return self.contradicted().await;
        };
        let reason = match verdict {
            Storability::Store(plan) => match self.place(&plan) {
                Ok(place) => {
                    self.release_unless_shareable(&plan);
                    let stored_head = self.stored_head(&head, &plan, exchange).into();
                    let stored = StoredResponse::new(stored_head, stored.body);
                    return self.whole(head, stored, &place, Use::Store).await;
                }
                Err(reason) => reason,
            },
            Storability::Skip(reason) => reason,
        };
        // It may not be kept any longer.
        self.core.forget(&self.stored_key).await;
        self.refuse(head, CacheBody::stored(stored.body), reason)
    }

    /// What a 304 identifies among what was asked about (§4.3.4).
    async fn confirmed(&self, validation: &Validation, not_modified: &HeaderMap) -> Option<StoredResponse> {
        if let Some(stored) = &validation.stored {
            let only = validation.others.is_empty();
            if freshening::selects(not_modified, &stored.head.headers, only) {
                return Some(stored.clone());
            }
        }
        let named = not_modified.get(header::ETAG)?;
        let other = validation.others.iter().find(|other| other.tag.as_ref() == Some(named))?;
        let found = self.core.find_variant(&self.asked.key, &other.key).await?;
        freshening::selects(not_modified, &found.head.headers, false).then_some(found)
    }

    /// The origin says that something holds that nobody asked about: it answered another request, or none. The next
    /// one is not asked conditionally.
    async fn contradicted<B>(mut self: Box<Self>) -> Response<CacheBody<B>>
    where
        CacheBody<B>: Body,
    {
        self.core.forget(&self.stored_key).await;
        if let Some(response) = self.stale_if_error() {
            return response;
        }
        self.fail();
        answer::fault(StatusCode::BAD_GATEWAY, self.status.with_detail(SkipReason::NotAsked.detail()))
    }

    /// §4.3.5: a 200 to a HEAD updates what is stored for GET, or shows that it has changed.
    pub(super) async fn updated_by_head(&self, head: &response::Parts, exchange: Exchange) {
        let Some(stored) = &self.stored else { return };
        if stored.head.nominated.matches(&self.fields)
            && freshening::head_confirms(&head.headers, &stored.head.headers, stored.body.bytes.len() as u64)
        {
            let mut copy = Response::new(()).into_parts().0;
            (copy.status, copy.headers) = (head.status, head.headers.clone());
            if let Some((head, Storability::Store(plan))) = self.freshened(stored, copy, &exchange)
                && let Ok(place) = self.place(&plan)
            {
                let stored_head = self.stored_head(&head, &plan, exchange).into();
                let stored = StoredResponse::new(stored_head, stored.body.clone());
                self.core.keep(&place, stored).await;
                return;
            }
        }
        self.core.forget(&self.stored_key).await;
    }

    /// The stored response with what the origin says of it now (§3.2, §4.3.4), and what is to be done with it. None if
    /// that is more than a head can hold.
    fn freshened(
        &self,
        stored: &StoredResponse,
        mut head: response::Parts,
        exchange: &Exchange,
    ) -> Option<(response::Parts, Storability)> {
        let there = stored.head.without_places();
        let fields = freshening::updated_fields(&there, &head.headers, exchange.response_time)?;
        // Its age is that of the news (§4.2.3).
        let age = head.headers.remove(header::AGE);
        head.headers = fields;
        head.headers.extend(age.map(|age| (header::AGE, age)));
        head.status = stored.head.status;
        let verdict = self.asked.policy.storability(&self.candidate(&head, exchange));
        Some((head, verdict))
    }

    /// RFC 5861 §4: the origin has failed; what is stale is served to all that wait, if that is allowed.
    pub(super) fn stale_if_error<B>(&mut self) -> Option<Response<CacheBody<B>>> {
        let stored = self.stored.as_ref()?;
        let response = self.core.stale(stored, &self.asked.ask, &self.fields, self.status)?;
        self.core.counters.not_stored();
        if let Some(leader) = self.leader.take() {
            leader.announce(stored.clone().into(), monotonic());
            leader.land();
        }
        Some(response)
    }

    /// A response that is stored only to be validated is for nobody else: who waits asks for itself.
    pub(super) fn release_unless_shareable(&mut self, plan: &Plan) {
        if plan.is_shareable {
            return;
        }
        match (self.leader.take(), &self.flight) {
            (Some(leader), _) => leader.not_reusable(monotonic()),
            (None, Some(flight)) => self.core.collapser.mark(flight, &self.asked.policy.collapse, monotonic()),
            (None, None) => {}
        }
    }
}
