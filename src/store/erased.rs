//! The object-safe twin of [`Store`]. Nothing else says `dyn` of a store.

use std::time::Duration;

use futures_util::future::BoxFuture;

use super::{Fence, Lease, Peek, Put, Reach, Store, StoreError};
use crate::{key::CacheKey, stored::Stored};

pub(crate) trait ErasedStore: Send + Sync {
    fn peek(&self, key: &CacheKey) -> Peek;
    fn get<'a>(&'a self, key: &'a CacheKey) -> BoxFuture<'a, Result<Option<Stored>, StoreError>>;
    fn put<'a>(&'a self, key: &'a CacheKey, stored: Stored) -> BoxFuture<'a, Result<Put, StoreError>>;
    fn remove<'a>(&'a self, key: &'a CacheKey) -> BoxFuture<'a, Result<(), StoreError>>;
    fn fence<'a>(&'a self, fence: &'a Fence) -> BoxFuture<'a, Result<(), StoreError>>;
    fn is_shared(&self) -> bool;
    fn reach(&self) -> Reach;
    fn lease<'a>(&'a self, key: &'a CacheKey, lifetime: Duration) -> BoxFuture<'a, Result<Lease, StoreError>>;
}

impl<T: Store> ErasedStore for T {
    fn peek(&self, key: &CacheKey) -> Peek {
        Store::peek(self, key)
    }

    fn get<'a>(&'a self, key: &'a CacheKey) -> BoxFuture<'a, Result<Option<Stored>, StoreError>> {
        Box::pin(Store::get(self, key))
    }

    fn put<'a>(&'a self, key: &'a CacheKey, stored: Stored) -> BoxFuture<'a, Result<Put, StoreError>> {
        Box::pin(Store::put(self, key, stored))
    }

    fn remove<'a>(&'a self, key: &'a CacheKey) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(Store::remove(self, key))
    }

    fn fence<'a>(&'a self, fence: &'a Fence) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(Store::fence(self, fence))
    }

    fn is_shared(&self) -> bool {
        Store::is_shared(self)
    }

    fn reach(&self) -> Reach {
        Store::reach(self)
    }

    fn lease<'a>(&'a self, key: &'a CacheKey, lifetime: Duration) -> BoxFuture<'a, Result<Lease, StoreError>> {
        Box::pin(Store::lease(self, key, lifetime))
    }
}
