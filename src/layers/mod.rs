//! The layers: settings in, one `Arc` out. They decide nothing.

mod cache;
mod collapse;
mod config;

pub use self::{
    cache::{CacheLayer, CacheLayerBuilder},
    collapse::CollapseLayer,
    config::ConfigError,
};
