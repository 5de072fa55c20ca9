//! What happens at a listener's door is counted; this decides what of it is logged. Whoever connects decides how much
//! happens, so each kind of line has a limit. A minute begins with each call of [`Report::minute`].

use crossdock_core::Name;
use parking_lot::Mutex;
use std::fmt::{Display, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// Between two lines that tell of the same mistake of many peers.
const SELDOM: Duration = Duration::from_secs(60);
/// Lines of one minute that each tell of one peer that misbehaved. What is more is only summed up.
const LINES_MAX: u32 = 100;

/// Why a connection did not get to its adapter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The listener has as many connections as it may have.
    Full,
    /// The peer's address has as many connections as it may have.
    AddressFull,
    /// The peer's address connects too often.
    TooFast,
    /// All addresses together connect too often.
    AllTooFast,
    /// The process has no file descriptor for it.
    NoDescriptors,
    /// A TLS client at a port without TLS.
    TlsOnPlain,
    /// Something else than TLS at a port with TLS.
    PlainOnTls,
    /// An HTTP request at a port of another protocol.
    Http,
    /// No proper PROXY header.
    Proxy,
    /// The TLS handshake failed.
    Handshake,
    /// The request for a WebSocket was refused.
    WebSocket,
    /// The first bytes are of none of the listener's protocols.
    Unknown,
    /// The peer took too long.
    Slow,
    /// The peer went away, or the broker stops.
    Gone,
}

/// Every kind, with its name in the summary and its word in the metrics.
const KINDS: [(Refusal, &str, &str); 14] = [
    (Refusal::Full, "listener full", "listener_full"),
    (Refusal::AddressFull, "address full", "address_full"),
    (Refusal::TooFast, "address too fast", "address_too_fast"),
    (Refusal::AllTooFast, "listener too fast", "listener_too_fast"),
    (Refusal::NoDescriptors, "no file descriptor", "no_file_descriptor"),
    (Refusal::TlsOnPlain, "TLS on the plain port", "tls_on_plain"),
    (Refusal::PlainOnTls, "plain on the TLS port", "plain_on_tls"),
    (Refusal::Http, "HTTP", "http"),
    (Refusal::Proxy, "PROXY header", "proxy_header"),
    (Refusal::Handshake, "TLS handshake", "tls_handshake"),
    (Refusal::WebSocket, "WebSocket request", "websocket_request"),
    (Refusal::Unknown, "unknown protocol", "unknown_protocol"),
    (Refusal::Slow, "too slow", "too_slow"),
    (Refusal::Gone, "gone before the login", "gone"),
];

impl Refusal {
    /// The words of all kinds in the metrics.
    pub(super) fn words() -> [&'static str; KINDS.len()] {
        KINDS.map(|(_, _, word)| word)
    }

    /// Its word in the metrics.
    pub(super) fn word(self) -> &'static str {
        KINDS.iter().find(|(kind, ..)| *kind == self).map_or("unknown", |(_, _, word)| word)
    }
}

/// The counts of one listener since its start, and what was logged of late.
pub(super) struct Report {
    listener: Name,
    accepted: AtomicU64,
    kinds: [Kind; KINDS.len()],
    /// Lines about single peers in this minute.
    lines: AtomicU32,
    /// What the last summary said was accepted.
    told: AtomicU64,
}

#[derive(Default)]
struct Kind {
    refused: AtomicU64,
    seldom: Mutex<Seldom>,
    /// What the last summary said of it.
    told: AtomicU64,
}

/// When a line was logged that is logged seldom, and how often that happened which it tells of.
#[derive(Default)]
struct Seldom {
    at: Option<Instant>,
    since: u64,
}

impl Seldom {
    /// How often it happened since the last line; none: it is too early for the next one.
    fn due(&mut self) -> Option<u64> {
        self.since += 1;
        let now = Instant::now();
        if self.at.is_some_and(|at| now - at < SELDOM) {
            return None;
        }
        self.at = Some(now);
        Some(std::mem::take(&mut self.since))
    }
}

impl Report {
    pub(super) fn new(listener: Name) -> Self {
        let (accepted, told) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { listener, accepted, kinds: Default::default(), lines: AtomicU32::new(0), told }
    }

    /// A connection came in.
    pub(super) fn accepted(&self) {
        self.accepted.fetch_add(1, Ordering::Relaxed);
    }

    /// A connection ended before its adapter had it.
    pub(super) fn refused(&self, why: Refusal, peer: Option<SocketAddr>, detail: &dyn Display) {
        let Some(kind) = self.kind(why) else { return };
        kind.refused.fetch_add(1, Ordering::Relaxed);
        match why {
            Refusal::Slow | Refusal::Gone => self.log_quietly(why, peer, detail),
            Refusal::Proxy | Refusal::Handshake | Refusal::WebSocket | Refusal::Unknown => {
                match self.lines.fetch_add(1, Ordering::Relaxed) < LINES_MAX {
                    true => self.log_peer(why, peer, detail),
                    false => self.log_quietly(why, peer, detail),
                }
            }
            _ => {
                let due = kind.seldom.lock().due();
                match due {
                    Some(count) => self.log_seldom(why, peer, count),
                    None => self.log_quietly(why, peer, detail),
                }
            }
        }
    }

    fn kind(&self, why: Refusal) -> Option<&Kind> {
        self.kinds.iter().zip(KINDS).find(|(_, (kind, ..))| *kind == why).map(|(kind, _)| kind)
    }

    fn log_quietly(&self, why: Refusal, peer: Option<SocketAddr>, detail: &dyn Display) {
        let (listener, peer) = (&self.listener, peer.map(tracing::field::display));
        tracing::debug!(%listener, peer, ?why, %detail, "connection refused");
    }

    /// What one peer did.
    fn log_peer(&self, why: Refusal, peer: Option<SocketAddr>, detail: &dyn Display) {
        let (listener, peer) = (&self.listener, peer.map(tracing::field::display));
        match why {
            Refusal::Proxy => tracing::warn!(
                %listener, peer, %detail,
                "connection closed: it has no PROXY header that can be used, and this listener requires one"
            ),
            Refusal::Handshake => tracing::warn!(
                %listener, peer, %detail,
                "connection closed: the TLS handshake failed"
            ),
            Refusal::WebSocket => tracing::warn!(
                %listener, peer, %detail,
                "connection closed: its request for a WebSocket was refused"
            ),
            _ => tracing::warn!(
                %listener, peer, %detail,
                "connection closed: its first bytes are of no protocol of this listener"
            ),
        }
    }

    /// What many peers may do at once: `count` did since the last such line, the last of them is `peer`.
    fn log_seldom(&self, why: Refusal, peer: Option<SocketAddr>, count: u64) {
        let (listener, peer) = (&self.listener, peer.map(tracing::field::display));
        match why {
            Refusal::Full => tracing::warn!(
                %listener, peer, count,
                "connection closed at once: the listener has as many as it may have"
            ),
            Refusal::AddressFull => tracing::warn!(
                %listener, peer, count,
                "connection closed at once: its address has as many as one address may have"
            ),
            Refusal::TooFast => tracing::warn!(
                %listener, peer, count,
                "connection closed at once: its address connects faster than one address may"
            ),
            Refusal::AllTooFast => tracing::warn!(
                %listener, peer, count,
                "connection closed at once: more connect in a second than the listener takes"
            ),
            Refusal::NoDescriptors => tracing::warn!(
                %listener, count,
                "connection closed at once: the process has as many open files as it may have"
            ),
            Refusal::TlsOnPlain => tracing::warn!(
                %listener, peer, count,
                "a TLS client connected to the plain port: its connection was closed"
            ),
            Refusal::PlainOnTls => tracing::warn!(
                %listener, peer, count,
                "a client without TLS connected to the TLS port: its connection was closed"
            ),
            _ => tracing::warn!(
                %listener, peer, count,
                "an HTTP client connected to the port of another protocol: its connection was closed"
            ),
        }
    }

    /// A connection could not be accepted, for another reason than the want of file descriptors.
    pub(super) fn not_accepted(&self, error: &std::io::Error, seldom: &mut NotAccepted) {
        if let Some(count) = seldom.0.due() {
            tracing::warn!(
                listener = %self.listener, %error, count,
                "cannot accept a connection: trying again"
            );
        }
    }

    /// Sums up the minute, if anything happened in it, and begins the next one.
    pub(super) fn minute(&self, open: usize) {
        let listener = &self.listener;
        let more = self.lines.swap(0, Ordering::Relaxed).saturating_sub(LINES_MAX);
        if more > 0 {
            tracing::warn!(
                %listener, count = more,
                "more peers misbehaved in the last minute than are logged one by one"
            );
        }
        let accepted = since(&self.accepted, &self.told);
        let mut refused = String::new();
        for (kind, (_, name, _)) in self.kinds.iter().zip(KINDS) {
            let count = since(&kind.refused, &kind.told);
            if count > 0 {
                let comma = if refused.is_empty() { "" } else { ", " };
                let _ = write!(refused, "{comma}{name}: {count}");
            }
        }
        if accepted > 0 || !refused.is_empty() {
            tracing::info!(%listener, accepted, refused, open, "connections of the last minute");
        }
    }
}

/// When it was last logged that connections cannot be accepted.
#[derive(Default)]
pub(super) struct NotAccepted(Seldom);

fn since(count: &AtomicU64, told: &AtomicU64) -> u64 {
    let count = count.load(Ordering::Relaxed);
    count - told.swap(count, Ordering::Relaxed)
}

#[cfg(test)]
#[path = "report_tests.rs"]
mod tests;
