//! Asking the origin whether what is stored still holds, and taking its word for it (RFC 9111 §4.3).

use std::sync::Arc;

use futures_util::FutureExt;
use http::{HeaderMap, Response, StatusCode, header, response};

use super::{Asked, Core, Landed, Lookup, answer, job::Job, origin::Carries, pump::Use};
use crate::{
    body::CacheBody,
    clock::monotonic,
    field,
    key::CacheKey,
    policy::{Plan, SkipReason, Storability, selected, tags::freshened},
    rfc9111::{age::Exchange, freshening},
    stored::{StoredHead, StoredResponse},
};

/// What the origin is asked to confirm.
pub(super) enum Validation {
    /// What is stored for this request.
    Own(StoredResponse),
    /// Other variants, of which one may turn out to be the one for it.
    Others(Vec<StoredResponse>),
}

impl Validation {
    /// None if there is nothing to confirm, or the method has no use for it.
    pub(super) fn of(core: &Core, lookup: &Lookup, asked: &Asked, request: &HeaderMap) -> Option<Self> {
        if asked.ask.by_content {
            return None;
        }
        let own = lookup.validatable(&asked.ask, request);
        if let Some(stored) = own.filter(|stored| !core.is_gone(&asked.key, stored)) {
            return Some(Self::Own(stored.clone()));
        }
        // Most have no variants: then there is nothing to look up.
        lookup.index()?;
        // What was made for another's credentials is not to be confirmed for these, whatever the origin's tags.
        let is_personal = asked.ask.credentials.any() || lookup.varies_on_credentials();
        if is_personal || core.collapser.is_marked(&distrust(&asked.key), monotonic()) {
            return None;
        }
        let others: Vec<_> = lookup
            .others(core.clock.now())
            // Here, so that what is confirmed can be served.
            .filter_map(|other| core.peek_variant(&asked.key, &other.key))
            .filter(|other| freshening::has_strong_tag(&other.head.headers))
            .collect();
        (!others.is_empty()).then_some(Self::Others(others))
    }

    /// Makes the request conditional.
    pub(super) fn ask(&self, request: &mut HeaderMap) {
        match self {
            Self::Own(stored) => freshening::add_conditions(request, &stored.head.headers, [].into_iter()),
            Self::Others(others) => {
                let tags = others.iter().filter_map(|other| other.head.headers.get(header::ETAG));
                freshening::add_conditions(request, &HeaderMap::new(), tags);
            }
        }
    }

    /// What a 304 says of it.
    fn confirmed_by(self, not_modified: &HeaderMap) -> Confirmed {
        match self {
            Self::Own(stored) => {
                if freshening::selects(not_modified, &stored.head.headers, true) {
                    Confirmed::News(stored)
                } else if freshening::names_weakly(not_modified, &stored.head.headers) {
                    Confirmed::NoNews(stored)
                } else {
                    Confirmed::Nothing
                }
            }
            Self::Others(others) => {
                // Nobody has asked about a weak tag.
                let is_strong = freshening::has_strong_tag(not_modified);
                let named = others
                    .into_iter()
                    .filter(|other| is_strong && freshening::selects(not_modified, &other.head.headers, false));
                // §4: the most recent, by its `Date`.
                let newest = named.max_by_key(|other| field::single_date(&other.head.headers, &header::DATE));
                newest.map_or(Confirmed::Nothing, Confirmed::News)
            }
        }
    }
}

/// What a 304 has confirmed (RFC 9111 §4.3.4).
enum Confirmed {
    /// This still holds, and what the 304 says of it is news.
    News(StoredResponse),
    /// This still holds for those that asked, as the condition was weak; the 304 may be about other bytes.
    NoNews(StoredResponse),
    Nothing,
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
        B: Carries,
    {
        let stored = match validation.confirmed_by(&head.headers) {
            Confirmed::News(stored) => stored,
            Confirmed::NoNews(stored) => return self.confirmed_as_it_is(stored),
            Confirmed::Nothing => return self.contradicted().await,
        };
        let tags = freshened(&stored.head.tags, &self.tags(&head));
        let (head, verdict) = self.freshened(&stored, head, &exchange);
        let reason = match verdict {
            Storability::Store(plan) => match self.place(&plan, exchange.response_time) {
                Ok(place) => {
                    self.release_unless_shareable(&plan);
                    let stored = self.confirmed(stored, &head, &plan, exchange, tags);
                    return self.whole(head, stored, place, Use::Store).answer().await;
                }
                Err(reason) => reason,
            },
            Storability::Skip(reason) => reason,
        };
        // It may not be kept any longer as it was, unless there is only no room for it as another variant.
        if !matches!(reason, SkipReason::Variants | SkipReason::KeyTooLong) {
            self.forget().await;
        }
        self.refuse(head, CacheBody::stored(stored.body), reason)
    }

    /// It answers those that wait for it, and stays as stale as it is.
    fn confirmed_as_it_is<B>(mut self: Box<Self>, stored: StoredResponse) -> Response<CacheBody<B>> {
        self.asked.tally.not_stored("confirmed");
        let answer = self.asked.ask.answer(&stored, self.status, stored.head.age(self.core.clock.now()));
        match self.leader.take() {
            Some(leader) if stored.head.staleness.is_forbidden => leader.not_reusable(monotonic()),
            Some(leader) => leader.bring(Landed::found(stored), monotonic()),
            None => {}
        }
        answer
    }

    /// The origin says that something holds that nobody asked about: it answered another request, or none. The next
    /// requests are not asked conditionally.
    async fn contradicted<B>(mut self: Box<Self>) -> Response<CacheBody<B>>
    where
        B: Carries,
    {
        self.forget().await;
        let lifetime = self.asked.policy.collapse.marker_lifetime;
        self.core.collapser.mark(&distrust(&self.asked.key), lifetime, monotonic());
        if let Some(response) = self.stale_if_error() {
            return response;
        }
        self.fail();
        answer::fault(StatusCode::BAD_GATEWAY, self.status.with_detail(SkipReason::NotAsked.detail()))
    }

    /// §4.3.5: a 200 to a HEAD updates what is stored for GET, or shows that it has changed.
    pub(super) async fn updated_by_head(&mut self, head: &response::Parts, exchange: Exchange) {
        let Some(stored) = self.stored.clone() else { return };
        // §4.4: what was invalidated meanwhile does not come back. §4.3.5: only what could have been chosen for this
        // request.
        let fields = self.fields.named(stored.head.nominated.names());
        if self.core.is_gone(&self.asked.key, &stored)
            || selected(&stored.head, self.asked.ask.credentials, &fields).is_err()
        {
            return;
        }
        if freshening::head_confirms(&head.headers, &stored.head.headers, stored.body.bytes.len() as u64) {
            let tags = freshened(&stored.head.tags, &self.tags(head));
            let mut copy = Response::new(()).into_parts().0;
            (copy.status, copy.headers, copy.extensions) = (head.status, head.headers.clone(), head.extensions.clone());
            let (head, verdict) = self.freshened(&stored, copy, &exchange);
            match verdict {
                Storability::Store(plan) => {
                    if let Ok(place) = self.place(&plan, exchange.response_time) {
                        let stored = self.confirmed(stored, &head, &plan, exchange, tags);
                        let kept = self.keep(place, stored);
                        self.patience.told(kept).await;
                    }
                    return;
                }
                Storability::Skip(reason) if reason.is_of_request() => return,
                Storability::Skip(_) => {}
            }
        }
        self.forget().await;
    }

    /// The same content, with what is said of it now.
    fn confirmed(
        &self,
        stored: StoredResponse,
        head: &response::Parts,
        plan: &Plan,
        exchange: Exchange,
        tags: Arc<[Box<str>]>,
    ) -> StoredResponse {
        let brought = stored.head.brought;
        let stored_head = StoredHead { brought, ..self.stored_head(head, plan, exchange, tags) };
        StoredResponse::new(stored_head.into(), stored.body)
    }

    /// What was stored for it may not be used any more.
    async fn forget(&mut self) {
        let (core, key) = (Arc::clone(&self.core), self.variant_key.as_ref().unwrap_or(&self.asked.key).clone());
        self.patience.see(async move { core.forget(&key).await }.boxed()).await;
    }

    /// The stored response with what the origin says of it now (§3.2, §4.3.4), and what is to be done with it.
    fn freshened(
        &self,
        stored: &StoredResponse,
        mut head: response::Parts,
        exchange: &Exchange,
    ) -> (response::Parts, Storability) {
        head.status = stored.head.status;
        let there = stored.head.without_places();
        let fields = freshening::updated_fields(&there, &head.headers, exchange.response_time);
        // An origin that adds new names each time would make it grow for ever.
        let Some(fields) = fields.filter(|fields| fields.len() <= MAX_FIELDS.max(there.len())) else {
            head.headers = there;
            return (head, Storability::Skip(SkipReason::TooLarge));
        };
        // Its age is that of the news (§4.2.3).
        let age = head.headers.remove(header::AGE);
        head.headers = fields;
        head.headers.extend(age.map(|age| (header::AGE, age)));
        let verdict = self.asked.policy.storability(&self.candidate(&head, exchange));
        (head, verdict)
    }

    /// RFC 5861 §4: the origin has failed; what is stale is served to all that wait, if that is allowed.
    pub(super) fn stale_if_error<B>(&mut self) -> Option<Response<CacheBody<B>>> {
        let stored = self.stored.as_ref()?;
        let fields = self.fields.named(stored.head.nominated.names());
        let response = self.core.stale(stored, &self.asked, &fields, self.status)?;
        self.asked.tally.not_stored("origin-failed");
        self.asked.tally.stale_if_error();
        if let Some(leader) = self.leader.take() {
            leader.bring(Landed::found(stored.clone()), monotonic());
        }
        Some(response)
    }

    /// Who waits, or comes in the next seconds, forwards on its own.
    pub(super) fn release(&mut self) {
        match (self.leader.take(), &self.flight) {
            (Some(leader), _) => leader.not_reusable(monotonic()),
            (None, Some(flight)) => {
                self.core.collapser.mark(flight, self.asked.policy.collapse.marker_lifetime, monotonic());
            }
            (None, None) => {}
        }
    }

    /// A response that is stored only to be validated is for nobody else: who waits asks for itself.
    pub(super) fn release_unless_shareable(&mut self, plan: &Plan) {
        if !plan.is_shareable {
            self.release();
        }
    }
}

/// The mark for an origin that does not know its variants apart. No key ends so, and no flight.
fn distrust(key: &CacheKey) -> String {
    [key.as_str(), "|~304"].concat()
}

/// More fields than this are not made by freshening.
const MAX_FIELDS: usize = 256;
