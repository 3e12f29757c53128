//! How a server is reached.

use std::fmt;

use tokio::net::TcpStream;

use super::{address::Address, connection::Stream, wire::Fault};

/// Opens connections.
#[derive(Clone, Default)]
pub(super) enum Network {
    #[default]
    System,
    /// What a simulation has in its place.
    #[cfg(any(test, feature = "test-util"))]
    Simulated(super::simulated::Simulated),
}

impl Network {
    pub(super) async fn open(&self, address: &Address) -> Result<Box<dyn Stream>, Fault> {
        match self {
            Self::System => open(address).await,
            #[cfg(any(test, feature = "test-util"))]
            Self::Simulated(simulated) => simulated.open(address).await,
        }
    }
}

async fn open(address: &Address) -> Result<Box<dyn Stream>, Fault> {
    match address {
        Address::Tcp { host, port } => {
            let stream = TcpStream::connect((host.as_str(), *port)).await?;
            stream.set_nodelay(true)?;
            Ok(Box::new(stream))
        }
        #[cfg(unix)]
        Address::Unix(path) => Ok(Box::new(tokio::net::UnixStream::connect(path).await?)),
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Network").finish_non_exhaustive()
    }
}
