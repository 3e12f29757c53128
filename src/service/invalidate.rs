//! What an unsafe method makes invalid (RFC 9111 §4.4, RFC 9875 §3), and how what was invalidated or purged ends.

use std::{collections::BTreeSet, future::Future, sync::Arc, time::Duration};

use futures_util::{FutureExt, future::join_all};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, header, response, uri::PathAndQuery};
use tokio::sync::oneshot;

use super::{Core, Settings, job::Job, store::within};
use crate::{
    collapse::in_background,
    key::{CacheKey, RequestHead, Tenant},
    policy::tags::to_invalidate,
    rfc9111::{
        groups,
        invalidation::{further_targets, invalidates},
    },
    store::{Covers, Fence, Peek, StoreError, StoreErrorKind},
};

/// What of an unsafe request is needed when its response is there.
pub(super) struct Invalidation {
    settings: Arc<Settings>,
    method: Method,
    uri: Uri,
    host: Option<HeaderValue>,
    tenant: Tenant,
    target: CacheKey,
}

impl Invalidation {
    /// None for a request that has no key: nothing is stored for what it asks.
    pub(super) fn of<B>(settings: &Arc<Settings>, request: &Request<B>) -> Option<Box<Self>> {
        let head = RequestHead::of(request);
        let tenant = settings.core.tenancy.of(head);
        let policy = settings.routes.policy(head.uri().path(), &tenant);
        let key = &policy.key;
        // What is stored is stored for GET.
        let get = RequestHead::new(&Method::GET, head.uri(), head.headers(), head.extensions());
        let target = key.of_target().write(&get, false, &tenant, None, String::new()).ok()?;
        Some(Box::new(Self {
            settings: Arc::clone(settings),
            method: request.method().clone(),
            uri: key.target_uri_of(head).clone(),
            host: request.headers().get(header::HOST).cloned(),
            tenant,
            target,
        }))
    }

    /// Invalidates the target URI, and what `Location` and `Content-Location` name of the same origin, if the response
    /// is no error.
    pub(super) fn apply(self, status: StatusCode, response: &HeaderMap) {
        if !invalidates(status) {
            return;
        }
        let further = further_targets(&self.uri, self.host.as_ref(), response);
        let further: Vec<_> = further.into_iter().filter_map(|target| self.key_of(target)).collect();
        for key in std::iter::once(self.target).chain(further) {
            self.settings.core.invalidate(key);
        }
    }

    /// Invalidates the groups that the response names, for this tenant and at this origin, whatever its status (RFC 9875
    /// §3).
    pub(super) fn end_groups(&self, response: &HeaderMap) {
        let groups = groups::invalidated(&self.method, response);
        let tags: BTreeSet<_> = groups.iter().flat_map(|group| to_invalidate(group, &self.target)).collect();
        if !tags.is_empty() {
            let of_tag = |tag: Box<str>| Covers::Tag { tenant: self.tenant.in_key(), tag: tag.into() };
            drop(self.settings.core.fence(tags.into_iter().map(of_tag).collect(), false));
        }
    }

    /// The key of a GET for another target at the same host.
    fn key_of(&self, target: PathAndQuery) -> Option<CacheKey> {
        let mut parts = self.uri.clone().into_parts();
        parts.path_and_query = Some(target);
        let mut request = Request::new(());
        *request.uri_mut() = Uri::from_parts(parts).ok()?;
        if let Some(host) = &self.host {
            request.headers_mut().insert(header::HOST, host.clone());
        }
        let policy = self.settings.routes.policy(request.uri().path(), &self.tenant);
        let key = policy.key.of_target();
        key.write(&RequestHead::of(&request), false, &self.tenant, None, String::new()).ok()
    }
}

impl Job {
    /// RFC 9111 §4.4, for an unsafe method whose response is not kept.
    pub(super) fn invalidate(&mut self, head: &response::Parts) {
        if let Some(invalidation) = self.invalidation.take() {
            invalidation.apply(head.status, &head.headers);
        }
    }
}

impl Core {
    /// From now on nothing that began earlier is used for the target URI of `key`. The other processes are told in the
    /// background.
    fn invalidate(self: &Arc<Self>, key: CacheKey) {
        self.counters.invalidated();
        drop(self.fence(vec![Covers::Target(key)], false));
    }

    /// From now on, what is covered and began earlier is not used, or is stale if `is_soft`. The other processes are told
    /// in the background, whether or not the future is waited for; it says whether the store has taken it.
    pub(crate) fn fence(
        self: &Arc<Self>,
        covers: Vec<Covers>,
        is_soft: bool,
    ) -> impl Future<Output = Result<(), StoreError>> + Send + use<> {
        let at = self.stamp();
        let mut fences: Vec<_> = covers.into_iter().map(|covers| Fence::new(covers, at, is_soft)).collect();
        fences.iter().for_each(|fence| self.fences.raise(fence));
        // A store that knows need not be asked to forget what it does not have.
        let is_absent = |key: &CacheKey| !is_soft && matches!(self.store.peek(key), Peek::Absent);
        fences.retain(|fence| !fence.key().is_some_and(is_absent));
        let told = if fences.is_empty() { Told::Now(Ok(())) } else { self.tell(fences) };
        async move {
            match told {
                Told::Now(ended) => ended,
                Told::Later(told) => {
                    told.await.unwrap_or_else(|late| Err(StoreError::new(StoreErrorKind::Timeout, late)))
                }
            }
        }
    }

    /// Begins to tell the other processes.
    fn tell(self: &Arc<Self>, fences: Vec<Fence>) -> Told {
        let core = Arc::clone(self);
        let mut end = async move { core.end(&fences).await }.boxed();
        if let Some(ended) = (&mut end).now_or_never() {
            return Told::Now(ended);
        }
        let (tell, told) = oneshot::channel();
        // Who does not wait for it has gone.
        in_background(end.map(|ended| drop(tell.send(ended))), REMOVAL_LIMIT);
        Told::Later(told)
    }

    /// Ends what the fences cover, for all processes. A store that fails keeps it, and that is all.
    async fn end(&self, fences: &[Fence]) -> Result<(), StoreError> {
        let deadline = self.store_deadline.saturating_mul(FENCE_DEADLINES);
        let ended = join_all(fences.iter().map(|fence| within(deadline, self.store.fence(fence)))).await;
        ended.iter().filter_map(|ended| ended.as_ref().err()).for_each(|error| self.counters.store_failed(error));
        ended.into_iter().collect()
    }

    /// Removes what is stored under `key`. A store that fails keeps it, and that is all.
    pub(super) async fn forget(&self, key: &CacheKey) {
        if let Err(error) = within(self.store_deadline, self.store.remove(key)).await {
            self.counters.store_failed(&error);
        }
    }
}

/// Whether the store has taken what it was told.
enum Told {
    Now(Result<(), StoreError>),
    Later(oneshot::Receiver<Result<(), StoreError>>),
}

/// The store has a deadline of its own, which is shorter.
const REMOVAL_LIMIT: Duration = Duration::from_secs(30);

/// A fence takes a store that is shared several operations, one after the other.
const FENCE_DEADLINES: u32 = 3;

#[cfg(test)]
mod tests {
    use std::{
        convert::Infallible,
        sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    };

    use bytes::Bytes;
    use http::Response;
    use http_body_util::{BodyExt, Full};
    use tower::{Layer, Service, util::BoxCloneService};

    use super::*;
    use crate::{
        CacheLayer, ManualClock, MemoryStore, Policy,
        clock::{later, monotonic},
        collapse::Role,
        service::{
            Asked, Cache, Landed,
            follow::{Followed, Waiting},
            settings::Admitted,
        },
        status::{CacheStatus, ForwardReason},
        store::contract,
    };

    type Answer = Response<crate::CacheBody<Full<Bytes>>>;

    /// A cache whose origin says which forward it was, or fails.
    struct Fixture {
        core: Arc<Core>,
        settings: Arc<Settings>,
        cache: BoxCloneService<Request<Full<Bytes>>, Answer, Infallible>,
        clock: ManualClock,
        fails: Arc<AtomicBool>,
    }

    fn fixture(cache_control: &'static str) -> Fixture {
        let (clock, fails) = (ManualClock::new(), Arc::new(AtomicBool::new(false)));
        let layer = CacheLayer::builder(MemoryStore::with_max_bytes(1 << 20))
            .policy(Policy::new().stale_while_revalidate(Duration::from_secs(1)))
            .clock(clock.clone())
            .build()
            .unwrap();
        let (count, failing) = (Arc::new(AtomicUsize::new(0)), Arc::clone(&fails));
        let origin = tower::service_fn(move |_: Request<Full<Bytes>>| {
            let number = count.fetch_add(1, SeqCst) + 1;
            let response = match failing.load(SeqCst) {
                true => Response::builder().status(503),
                false => Response::builder().header("cache-control", cache_control),
            };
            std::future::ready(Ok::<_, Infallible>(response.body(Full::from(number.to_string())).unwrap()))
        });
        let cache: Cache<_> = layer.layer(origin);
        let settings = Arc::clone(&cache.settings);
        Fixture { core: Arc::clone(&settings.core), settings, cache: BoxCloneService::new(cache), clock, fails }
    }

    impl Fixture {
        async fn ask(&mut self, path: &str) -> (String, String) {
            let response = self.cache.call(asking(path)).await.unwrap();
            let said = CacheStatus::of(&response).unwrap().to_string();
            let body = response.into_body().collect().await.unwrap().to_bytes();
            // What is refreshed in the background is done.
            for _ in 0..20 {
                tokio::task::yield_now().await;
            }
            (String::from_utf8(body.to_vec()).unwrap(), said)
        }

        fn admitted(&self, path: &str) -> Asked {
            match self.settings.admit(&mut asking(path)).unwrap_or_else(|_| panic!("not admitted")) {
                Admitted::Lookup(seen) => seen.into_asked(),
                Admitted::ByContent(..) => panic!("by content"),
            }
        }
    }

    fn asking(path: &str) -> Request<Full<Bytes>> {
        Request::get(path).header("host", "shop.example").body(Full::default()).unwrap()
    }

    fn kinds(key: CacheKey) -> [Covers; 3] {
        [Covers::Target(key), Covers::Tenant(String::new()), Covers::All]
    }

    #[tokio::test]
    async fn what_was_purged_is_forwarded_and_nothing_else() {
        for kind in 0..3 {
            let mut fixture = fixture("max-age=60");
            for path in ["/a", "/b"] {
                fixture.ask(path).await;
            }
            let covers = kinds(fixture.admitted("/a").key).into_iter().nth(kind).unwrap();

            fixture.core.fence(vec![covers], false).await.unwrap();

            assert_eq!(fixture.ask("/a").await.0, "3");
            assert_eq!(fixture.ask("/b").await.0, if kind == 0 { "2" } else { "4" });
            assert_eq!(fixture.ask("/a").await, ("3".to_owned(), "hit; ttl=60".to_owned()));
        }
    }

    #[tokio::test]
    async fn what_was_purged_for_another_tenant_or_by_another_tag_stays() {
        let mut fixture = fixture("max-age=60");
        fixture.ask("/a").await;
        let tag = Covers::Tag { tenant: String::new(), tag: "x".into() };
        for covers in [Covers::Tenant("acme".to_owned()), tag] {
            fixture.core.fence(vec![covers], false).await.unwrap();
            assert_eq!(fixture.ask("/a").await.0, "1");
        }
    }

    #[tokio::test]
    async fn what_was_purged_softly_is_served_while_it_is_refreshed_once() {
        for kind in 0..3 {
            let mut fixture = fixture("max-age=60");
            fixture.ask("/a").await;
            let covers = kinds(fixture.admitted("/a").key).into_iter().nth(kind).unwrap();

            fixture.core.fence(vec![covers], true).await.unwrap();

            let (body, said) = fixture.ask("/a").await;
            assert!(body == "1" && said.starts_with("hit; ttl=0"), "{body} {said}");
            assert_eq!(fixture.ask("/a").await, ("2".to_owned(), "hit; ttl=60".to_owned()));
        }
    }

    #[tokio::test]
    async fn what_was_purged_softly_is_served_while_the_origin_fails() {
        let mut fixture = fixture("max-age=60");
        fixture.ask("/a").await;
        fixture.core.fence(vec![Covers::All], true).await.unwrap();
        fixture.fails.store(true, SeqCst);
        for _ in 0..3 {
            assert_eq!(fixture.ask("/a").await.0, "1");
        }
        // Once it is stale by itself, as long as any other.
        fixture.clock.advance(Duration::from_secs(62));
        assert!(fixture.ask("/a").await.1.contains("fwd"));
    }

    #[tokio::test]
    async fn what_may_not_be_served_stale_is_forwarded_after_a_soft_purge() {
        for cache_control in ["max-age=60, must-revalidate", "max-age=60, proxy-revalidate", "s-maxage=60"] {
            let mut fixture = fixture(cache_control);
            fixture.ask("/a").await;
            fixture.core.fence(vec![Covers::All], true).await.unwrap();

            let (body, said) = fixture.ask("/a").await;

            assert!(body == "2" && said.contains("fwd=stale"), "{cache_control}: {body} {said}");
            assert_eq!(fixture.ask("/a").await.0, "2");
        }
    }

    #[tokio::test]
    async fn who_follows_a_flight_whose_tag_was_purged_looks_again_and_joins_one_that_began_later() {
        let fixture = fixture("max-age=60");
        let asked = fixture.admitted("/a");
        let collapse = asked.policy.collapse.clone();
        let began = fixture.core.stamp();
        let stored = contract::response(began, Default::default()).response().unwrap().clone();
        let join = |fenced| fixture.core.collapser.join("flight", "", &collapse, fenced, monotonic());
        let Role::Leader(leader) = join(None) else { panic!("no leader") };
        drop(fixture.core.fence(vec![Covers::Tag { tenant: String::new(), tag: "shelf".into() }], false));
        let Role::Follower(follower) = join(fixture.core.fences.raised_at(&asked.key, &[])) else { panic!("alone") };
        leader.announce(Landed::from(stored.clone()), later(monotonic(), Duration::from_secs(1)));

        let fields = [("accept-language", "de")];
        let fields = crate::field::testing::headers(&fields);
        let status = CacheStatus::forward(ForwardReason::UriMiss);
        let deadline = later(monotonic(), Duration::from_secs(5));
        let waiting = Waiting { follower, asked: &asked, fields: &fields, tags: &[], status, deadline };
        let followed: Followed<Full<Bytes>> = fixture.core.follow(&waiting).await;
        let Followed::Purged(tags) = followed else { panic!("answered") };

        // All that look again share the next flight.
        let fenced = fixture.core.fences.raised_at(&asked.key, &tags);
        let Role::Leader(next) = join(fenced) else { panic!("the same flight again") };
        let Role::Follower(follower) = join(fenced) else { panic!("a flight of its own") };
        next.announce(Landed::from(stored), later(monotonic(), Duration::from_secs(1)));
        let waiting = Waiting { follower, asked: &asked, fields: &fields, tags: &tags, status, deadline };
        let followed: Followed<Full<Bytes>> = fixture.core.follow(&waiting).await;
        assert!(matches!(followed, Followed::Answer(_)));
    }
}
