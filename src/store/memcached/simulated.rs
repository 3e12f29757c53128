//! What a simulation has in place of the network and of the system's clock.

use std::{future::Future, io, sync::Arc};

use futures_util::{FutureExt, TryFutureExt, future::BoxFuture};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{MemcachedStoreBuilder, address::Address, connection::Stream, network::Network, wire::Fault};
use crate::clock::Clock;

/// Opens connections.
#[derive(Clone)]
pub(super) struct Simulated {
    connect: Arc<Connect>,
}

type Connect = dyn Fn(String) -> BoxFuture<'static, io::Result<Box<dyn Stream>>> + Send + Sync;

impl Simulated {
    pub(super) async fn open(&self, address: &Address) -> Result<Box<dyn Stream>, Fault> {
        Ok((self.connect)(address.to_string()).await?)
    }
}

impl MemcachedStoreBuilder {
    /// For simulations: opens connections with this, which is told the address of the server, and asks this clock, which
    /// is to be that of the cache.
    pub fn simulated<C, F, S>(mut self, clock: impl Clock, connect: C) -> Self
    where
        C: Fn(String) -> F + Send + Sync + 'static,
        F: Future<Output = io::Result<S>> + Send + 'static,
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let connect = move |server| connect(server).map_ok(|stream| Box::new(stream) as Box<dyn Stream>).boxed();
        self.settings.network = Network::Simulated(Simulated { connect: Arc::new(connect) });
        self.clock = Arc::new(clock);
        self
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::{sync::Mutex, time::Duration};

    use tokio::{io::DuplexStream, net::TcpStream};

    use super::*;
    use crate::{
        clock::{Clock, ManualClock},
        store::{
            MemcachedStore, Put, Store, StoreErrorKind,
            contract::{key, response},
            memcached::driver::tests::memcached::Memcached,
        },
    };

    const MILLI: Duration = Duration::from_millis(1);

    #[tokio::test]
    async fn in_a_simulation_both_connections_and_the_time_are_its_own() {
        let (memcached, clock, asked) = (Memcached::start(&[]), ManualClock::new(), Arc::new(Mutex::new(Vec::new())));
        let connect = {
            let (asked, address) = (Arc::clone(&asked), memcached.address());
            move |server| {
                asked.lock().unwrap().push(server);
                TcpStream::connect(address.clone())
            }
        };
        let builder = MemcachedStore::builder(["Nowhere:1"]).deadline(Duration::from_secs(5));
        let store = builder.simulated(clock.clone(), connect).build().unwrap();

        // The server knows of no fences, and begins anew: by that clock, which is years behind.
        let began = |at| response(at, Default::default());
        assert_eq!(store.put(&key("/a"), began(clock.now() - 2 * MILLI)).await.unwrap(), Put::Fenced);
        assert_eq!(store.put(&key("/a"), began(clock.now() + MILLI)).await.unwrap(), Put::Stored);
        assert!(store.get(&key("/a")).await.unwrap().is_some());
        assert_eq!(*asked.lock().unwrap(), ["nowhere:1"]);
    }

    #[tokio::test]
    async fn a_connection_that_a_simulation_does_not_open_is_an_error() {
        let refuse = |_| std::future::ready(Err::<DuplexStream, _>(io::ErrorKind::ConnectionRefused.into()));
        let store = MemcachedStore::builder(["a:1"]).simulated(ManualClock::new(), refuse).build().unwrap();
        assert_eq!(store.get(&key("/a")).await.unwrap_err().kind(), StoreErrorKind::Io);
    }
}
