//! The layers: settings in, one `Arc` out. They decide nothing.

mod cache;
mod collapse;
mod config;
mod tenant;

pub use self::{
    cache::{CacheLayer, CacheLayerBuilder},
    collapse::CollapseLayer,
    config::ConfigError,
    tenant::{TenantFuture, TenantLayer, TenantLayerBuilder, TenantService},
};
