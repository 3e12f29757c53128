//! What an unsafe method makes invalid (RFC 9111 §4.4).

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use futures_util::FutureExt;
use http::{HeaderMap, HeaderValue, Request, StatusCode, Uri, header, response, uri::PathAndQuery};

use super::{Core, Settings, job::Job, store::within};
use crate::{
    collapse::in_background,
    key::{CacheKey, RequestHead, Tenant},
    rfc9111::invalidation::{further_targets, invalidates},
    store::Peek,
};

/// What of an unsafe request is needed when its response is there.
pub(super) struct Invalidation {
    settings: Arc<Settings>,
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
        let key = &settings.routes.policy(head.uri().path()).key;
        let target = key.of_target().write(&head, false, &tenant, None, String::new()).ok()?.for_get();
        Some(Box::new(Self {
            settings: Arc::clone(settings),
            uri: key.target_uri_of(head).clone(),
            host: request.headers().get(header::HOST).cloned(),
            tenant,
            target,
        }))
    }

    /// Invalidates the target URI, and what `Location` and `Content-Location` name of the same origin, if the response
    /// is no error.
    pub(super) fn apply(&self, status: StatusCode, response: &HeaderMap) {
        if !invalidates(status) {
            return;
        }
        let core = &self.settings.core;
        core.invalidate(&self.target);
        for target in further_targets(&self.uri, self.host.as_ref(), response) {
            if let Some(key) = self.key_of(target) {
                core.invalidate(&key);
            }
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
        let policy = self.settings.routes.policy(request.uri().path());
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
    /// From now on nothing that began earlier is used for the target URI of `key`.
    fn invalidate(self: &Arc<Self>, key: &CacheKey) {
        self.counters.invalidated();
        let at = self.stamp();
        self.fences.raise(key, at);
        // A store that knows need not be asked to forget what it does not have.
        if matches!(self.store.peek(key), Peek::Absent) {
            return;
        }
        let (core, key) = (Arc::clone(self), key.clone());
        let mut removal = async move { core.end(&key, at).await }.boxed();
        if (&mut removal).now_or_never().is_none() {
            in_background(removal, REMOVAL_LIMIT);
        }
    }

    /// Ends what is stored under `key`, for all processes. A store that fails keeps it, and that is all.
    async fn end(&self, key: &CacheKey, at: SystemTime) {
        if within(self.store_deadline, self.store.fence(key, at)).await.is_err() {
            self.counters.store_failed();
        }
    }

    /// Removes what is stored under `key`. A store that fails keeps it, and that is all.
    pub(super) async fn forget(&self, key: &CacheKey) {
        if within(self.store_deadline, self.store.remove(key)).await.is_err() {
            self.counters.store_failed();
        }
    }
}

/// The store has a deadline of its own, which is shorter.
const REMOVAL_LIMIT: Duration = Duration::from_secs(30);
