//! The settings of a [`MemcachedStore`].

use std::{fmt, sync::Arc, time::Duration};

use super::{
    Inner, MemcachedStore, address::Address, driver::Settings, fenced::FencedNode, format::Format, node::Node,
    placement::Placement,
};
use crate::{
    clock::{Clock, SystemClock},
    layers::ConfigError,
    stored::codec::Codec,
};

/// Builds a [`MemcachedStore`].
///
/// ```
/// use std::time::Duration;
/// use microcache::MemcachedStore;
///
/// let store = MemcachedStore::builder(["10.0.0.1:11211", "10.0.0.2:11211"])
///     .namespace("shop")
///     .pin(17, "10.0.0.2:11211")
///     .deadline(Duration::from_millis(20))
///     .build()?;
/// assert_eq!(store.placement().servers().len(), 2);
/// # Ok::<(), microcache::ConfigError>(())
/// ```
#[must_use]
pub struct MemcachedStoreBuilder {
    servers: Vec<String>,
    pins: Vec<(u16, String)>,
    namespace: String,
    codec: Codec,
    pub(super) settings: Settings,
    pub(super) clock: Arc<dyn Clock>,
}

impl MemcachedStoreBuilder {
    pub(super) fn new(servers: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            servers: servers.into_iter().map(Into::into).collect(),
            pins: Vec::new(),
            namespace: "microcache".to_owned(),
            codec: Codec::plain(),
            settings: Settings { deadline: DEADLINE, queue: QUEUE, ..Settings::default() },
            clock: Arc::new(SystemClock),
        }
    }

    /// Sets what all keys begin with: deployments that share servers and not their responses have two of them. At most
    /// 32 letters, digits, `-`, `_` and `.`. Default: `microcache`.
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = namespace.into();
        self
    }

    /// Seals what is stored with a key (a keyed BLAKE3 MAC over the value and its cache key): whoever can write to
    /// memcached, and does not have it, can not make this cache serve anything. All processes need the same one.
    /// Default: a checksum, against accidents.
    pub fn sealed_with(mut self, key: [u8; 32]) -> Self {
        self.codec = Codec::sealed_with(key);
        self
    }

    /// Pins one of the 4,096 buckets of keys to a server, to move a hot one by hand. Default: none.
    pub fn pin(mut self, bucket: u16, server: impl Into<String>) -> Self {
        self.pins.push((bucket, server.into()));
        self
    }

    /// Sets how long a server may take for one operation. Default: 40 ms, which is below
    /// [`store_deadline`](crate::CacheLayerBuilder::store_deadline).
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.settings.deadline = deadline;
        self
    }

    /// Sets how large a value may be, its head included. Default: what fits memcached's default of 1 MiB (`-I`). A
    /// larger response is not stored.
    pub fn max_value_bytes(mut self, bytes: usize) -> Self {
        self.settings.max_value_bytes = bytes;
        self
    }

    /// Sets how many connections a server gets, one or two. Default: one.
    pub fn connections(mut self, connections: usize) -> Self {
        self.settings.connections = connections;
        self
    }

    /// The store. Nothing is connected yet.
    ///
    /// # Errors
    ///
    /// The first setting that can not work.
    pub fn build(self) -> Result<MemcachedStore, ConfigError> {
        self.check()?;
        let parse = |server: &String| Address::parse(server).map_err(|wrong| ConfigError::new("servers", wrong));
        let addresses: Vec<Address> = self.servers.iter().map(parse).collect::<Result<_, _>>()?;
        let mut placement = Placement::new(addresses.iter().map(ToString::to_string))?;
        for (bucket, server) in self.pins {
            let server = Address::parse(&server).map_err(|wrong| ConfigError::new("pin", wrong))?;
            placement = placement.pin(bucket, server.to_string())?;
        }
        let max_value_bytes = self.settings.max_value_bytes;
        let format = Arc::new(Format { codec: self.codec, namespace: self.namespace + ":", max_value_bytes });
        let node = |address| {
            let node = Node::new(address, self.settings.clone());
            Arc::new(FencedNode::new(node, Arc::clone(&format), Arc::clone(&self.clock)))
        };
        let nodes = addresses.into_iter().map(node).collect();
        let fence_deadline = self.settings.deadline.saturating_mul(FENCE_DEADLINES);
        let inner = Inner { nodes, placement, format, fence_deadline };
        Ok(MemcachedStore { inner: Arc::new(inner) })
    }

    fn check(&self) -> Result<(), ConfigError> {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if self.namespace.is_empty() || self.namespace.len() > 32 || !self.namespace.bytes().all(legal) {
            let message = "not 1 to 32 letters, digits, `-`, `_` or `.`".to_owned();
            return Err(ConfigError::new("namespace", message));
        }
        if self.settings.deadline.is_zero() || self.settings.deadline > Duration::from_secs(10) {
            let message = "not between 1 ms and 10 s; give the server some milliseconds".to_owned();
            return Err(ConfigError::new("deadline", message));
        }
        if !(1..=2).contains(&self.settings.connections) {
            let message = "one or two connections carry all that a server can answer".to_owned();
            return Err(ConfigError::new("connections", message));
        }
        if !(1024..=128 << 20).contains(&self.settings.max_value_bytes) {
            let message = "not between 1 KiB and 128 MiB, the most that `memcached -I` takes".to_owned();
            return Err(ConfigError::new("max_value_bytes", message));
        }
        Ok(())
    }
}

impl fmt::Debug for MemcachedStoreBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemcachedStoreBuilder")
            .field("servers", &self.servers)
            .field("pins", &self.pins)
            .field("namespace", &self.namespace)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

/// Below the cache's own deadline for its store, so that a server that hangs is known for it.
const DEADLINE: Duration = Duration::from_millis(40);

/// A put takes three operations at once.
const QUEUE: usize = 4_096;

/// A fence takes two operations, one after the other, and a pause before.
const FENCE_DEADLINES: u32 = 3;
