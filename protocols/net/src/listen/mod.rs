//! Listeners: what stands between a bound port and the adapter of a protocol.
//!
//! | file | what it does |
//! |---|---|
//! | `bind` | opens the sockets of a listener |
//! | `accept` | takes connections until the drain starts; survives the want of file descriptors |
//! | `admission` | how many connections, in all and for each address, and how fast |
//! | `arrival` | one new connection, in its own task: PROXY header, TLS, WebSocket, protocol, in this order |
//! | `prefixed` | a socket whose first bytes were looked at |
//! | `proxy` | reads the header that a load balancer puts in front |
//! | `sniff` | tells by the first bytes what the peer speaks |
//! | `report` | what is counted, and what of it is logged how often |
//!
//! Nothing that a peer does or fails to do holds up the acceptance of others, and every step has a deadline.

mod accept;
mod admission;
mod arrival;
mod bind;
mod prefixed;
mod proxy;
mod report;
mod sniff;

pub use accept::serve;
pub use admission::{AdmissionHandle, AdmissionLimits, ConnectRate};
pub use bind::{BindError, Listener, bind};

use crate::tls::TlsHandle;
use crossdock_core::{Name, Protocol, Sniff};
use std::sync::Arc;

/// What a listener is to do. Its addresses are given when it is bound.
#[derive(Clone)]
pub struct ListenerSpec {
    pub name: Name,
    /// At least one. Of several the first bytes of a connection decide.
    pub protocols: Vec<Arc<dyn Protocol>>,
    pub transport: Transport,
    /// None: what passes is not encrypted.
    pub tls: Option<TlsHandle>,
    /// Every connection has to begin with a PROXY protocol header, whose address is then the peer's. Whoever can reach
    /// such a port can claim any address: only the load balancer may.
    pub proxy: bool,
    pub limits: AdmissionHandle,
}

impl ListenerSpec {
    /// A plain TCP listener without a PROXY header.
    pub fn tcp(name: Name, protocols: Vec<Arc<dyn Protocol>>, limits: AdmissionLimits) -> Self {
        let limits = AdmissionHandle::new(limits);
        Self { name, protocols, transport: Transport::Tcp, tls: None, proxy: false, limits }
    }

    /// The names for ALPN of what is spoken here, where all that is spoken has one: `mqtt` and, for WebSocket, HTTP's.
    /// The registry has none for the other protocols, whose clients may offer what they like.
    pub fn alpn(protocols: &[Arc<dyn Protocol>], transport: &Transport) -> Vec<String> {
        match (transport, protocols) {
            (Transport::WebSocket { .. }, _) => vec!["http/1.1".into()],
            (Transport::Tcp, [only]) if only.name() == "mqtt" => vec!["mqtt".into()],
            (Transport::Tcp, _) => Vec::new(),
        }
    }

    /// Whether the first bytes come from the broker, so that nothing can be told by the peer's.
    fn speaks_first(&self) -> bool {
        self.transport == Transport::Tcp
            && matches!(&*self.protocols, [only] if only.speaks_first())
    }

    /// Whether a request of a web browser is at home here.
    fn speaks_http(&self) -> bool {
        self.protocols.iter().any(|protocol| protocol.sniff(b"GET ") == Sniff::Yes)
    }
}

/// What carries a protocol's bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transport {
    /// TCP, or TLS over it.
    Tcp,
    /// WebSocket messages. A browser's page has to come from one of the `origins` (`https://example.org`); `*` is any,
    /// and so is an empty list. Clients that name no origin are no browsers, and are let in.
    WebSocket { origins: Vec<String> },
}
