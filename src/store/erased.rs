//! The object-safe twin of [`Store`]. Nothing else says `dyn` of a store.

use std::time::Duration;

use futures_util::future::BoxFuture;

use super::{Fence, Lease, Peek, Put, Reach, ServerState, ServerWatch, Store, StoreError, StoreSize};
use crate::{key::CacheKey, observe::trace, stored::Stored};

pub(crate) trait ErasedStore: Send + Sync {
    fn peek(&self, key: &CacheKey) -> Peek;
    fn get<'a>(&'a self, key: &'a CacheKey) -> BoxFuture<'a, Result<Option<Stored>, StoreError>>;
    fn put<'a>(&'a self, key: &'a CacheKey, stored: Stored) -> BoxFuture<'a, Result<Put, StoreError>>;
    fn remove<'a>(&'a self, key: &'a CacheKey) -> BoxFuture<'a, Result<(), StoreError>>;
    fn fence<'a>(&'a self, fence: &'a Fence) -> BoxFuture<'a, Result<(), StoreError>>;
    fn is_shared(&self) -> bool;
    fn reach(&self) -> Reach;
    fn is_fenced<'a>(&'a self, key: &'a CacheKey, stored: &'a Stored) -> BoxFuture<'a, Result<bool, StoreError>>;
    fn lease<'a>(&'a self, key: &'a CacheKey, lifetime: Duration) -> BoxFuture<'a, Result<Lease, StoreError>>;
    fn size(&self) -> StoreSize;
    fn servers(&self) -> Vec<ServerState>;
    fn watch_servers(&self, watch: ServerWatch);
}

impl<T: Store> ErasedStore for T {
    fn peek(&self, key: &CacheKey) -> Peek {
        Store::peek(self, key)
    }

    fn get<'a>(&'a self, key: &'a CacheKey) -> BoxFuture<'a, Result<Option<Stored>, StoreError>> {
        Box::pin(trace::within(trace::store("get"), Store::get(self, key)))
    }

    fn put<'a>(&'a self, key: &'a CacheKey, stored: Stored) -> BoxFuture<'a, Result<Put, StoreError>> {
        Box::pin(trace::within(trace::store("put"), Store::put(self, key, stored)))
    }

    fn remove<'a>(&'a self, key: &'a CacheKey) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(trace::within(trace::store("remove"), Store::remove(self, key)))
    }

    fn fence<'a>(&'a self, fence: &'a Fence) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(trace::within(trace::store("fence"), Store::fence(self, fence)))
    }

    fn is_shared(&self) -> bool {
        Store::is_shared(self)
    }

    fn reach(&self) -> Reach {
        Store::reach(self)
    }

    fn is_fenced<'a>(&'a self, key: &'a CacheKey, stored: &'a Stored) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(trace::within(trace::store("is_fenced"), Store::is_fenced(self, key, stored)))
    }

    fn lease<'a>(&'a self, key: &'a CacheKey, lifetime: Duration) -> BoxFuture<'a, Result<Lease, StoreError>> {
        Box::pin(trace::within(trace::store("lease"), Store::lease(self, key, lifetime)))
    }

    fn size(&self) -> StoreSize {
        Store::size(self)
    }

    fn servers(&self) -> Vec<ServerState> {
        Store::servers(self)
    }

    fn watch_servers(&self, watch: ServerWatch) {
        Store::watch_servers(self, watch);
    }
}
