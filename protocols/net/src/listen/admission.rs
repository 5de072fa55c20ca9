//! How many connections a listener takes: in all, from each address at once, and from each address in a second. What is
//! counted for addresses is bounded, whoever connects from how many of them.

use super::report::Refusal;
use parking_lot::{Mutex, RwLock};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// The time to log in where nothing else is said.
const LOGIN_TIME: Duration = Duration::from_secs(10);

/// Addresses without an open connection that are remembered for their rate. With more than that they are all forgotten.
const REMEMBERED_MAX: usize = 65_536;
/// With fewer addresses than this none is looked for that can be forgotten.
const SWEEP_MIN: usize = 1024;

/// What a listener admits. For a peer on this machine there is no limit of its address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AdmissionLimits {
    /// Connections that are open at once.
    pub connections_max: usize,
    /// Connections of one address that are open at once; none: any number. The addresses of one IPv6 network of 64 bits
    /// are one address, since one host can have all of them.
    pub per_address: Option<usize>,
    /// How fast one address may connect; none: as fast as it likes.
    pub connect_rate: Option<ConnectRate>,
    /// How fast all addresses together may connect; none: as fast as they like.
    pub total_rate: Option<ConnectRate>,
    /// Within this time a connection has to get to its adapter, which counts its own time to log in from the same
    /// start. Half of it is for the handshake of TLS.
    pub login_time: Duration,
}

impl AdmissionLimits {
    /// This many connections in all, and no other limit.
    pub fn connections(connections_max: usize) -> Self {
        Self {
            connections_max,
            per_address: None,
            connect_rate: None,
            total_rate: None,
            login_time: LOGIN_TIME,
        }
    }
}

/// Connections that are admitted: `burst` at once, and `per_second` in the long run. At least 1 each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectRate {
    pub per_second: u32,
    pub burst: u32,
}

impl ConnectRate {
    /// Whether one more may come. `paid`: when those before would all be paid for at this rate.
    fn admits(self, paid: &mut Instant, now: Instant) -> bool {
        let price = Duration::from_secs(1) / self.per_second.max(1);
        let ahead = paid.saturating_duration_since(now);
        let may = ahead <= price * (self.burst.max(1) - 1);
        if may {
            *paid = (*paid).max(now) + price;
        }
        may
    }
}

/// The limits of a listener while it runs. Clones are the same handle.
#[derive(Debug, Clone)]
pub struct AdmissionHandle(Arc<RwLock<AdmissionLimits>>);

impl AdmissionHandle {
    /// A handle with these limits.
    pub fn new(limits: AdmissionLimits) -> Self {
        Self(Arc::new(RwLock::new(limits)))
    }

    /// From now on new connections are admitted by these. Open ones stay, and count.
    pub fn replace(&self, limits: AdmissionLimits) {
        *self.0.write() = limits;
    }

    /// As they are now.
    pub fn limits(&self) -> AdmissionLimits {
        *self.0.read()
    }
}

/// The count of a listener's connections.
pub(super) struct Admission {
    limits: AdmissionHandle,
    open: AtomicUsize,
    addresses: Mutex<Addresses>,
    /// When all connections so far would be paid for at the rate of all.
    paid: Mutex<Instant>,
}

#[derive(Default)]
struct Addresses {
    /// The key comes from peers: the map's hash has a secret.
    seen: HashMap<IpAddr, Seen>,
    /// With this many addresses it is time to forget some.
    sweep_at: usize,
}

/// What is known of an address.
struct Seen {
    /// Its open connections.
    open: usize,
    /// When the connections that it made would all be paid for at the allowed rate.
    paid: Instant,
}

/// A connection's place. It is free again when this is dropped.
pub(super) struct Place {
    admission: Arc<Admission>,
    /// The address that it is counted for, as it is counted.
    address: Option<IpAddr>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.admission.open.fetch_sub(1, Ordering::Relaxed);
        if let Some(address) = self.address {
            self.admission.left(address);
        }
    }
}

impl Place {
    /// Counts the connection for its address, also where there is no limit now: there may be one later. An error if the
    /// address has too many.
    pub(super) fn of_address(&mut self, address: IpAddr) -> Result<(), Refusal> {
        let (limits, now) = (&self.admission.limits.limits(), Instant::now());
        let address = counted_as(address);
        if let Some(rate) = limits.total_rate
            && !rate.admits(&mut self.admission.paid.lock(), now)
        {
            return Err(Refusal::AllTooFast);
        }
        self.admission.addresses.lock().enter(address, limits, now)?;
        self.address = Some(address);
        Ok(())
    }
}

impl Admission {
    pub(super) fn new(limits: AdmissionHandle) -> Arc<Self> {
        let (open, paid) = (AtomicUsize::new(0), Mutex::new(Instant::now()));
        Arc::new(Self { limits, open, addresses: Mutex::default(), paid })
    }

    /// A place for one more connection, if there is one.
    pub(super) fn place(self: &Arc<Self>) -> Option<Place> {
        let place = Place { admission: self.clone(), address: None };
        // Dropping the place takes this back.
        let others = self.open.fetch_add(1, Ordering::Relaxed);
        (others < self.limits.limits().connections_max).then_some(place)
    }

    /// The time that a new connection has to log in.
    pub(super) fn login_time(&self) -> Duration {
        self.limits.limits().login_time
    }

    /// How many connections are open.
    pub(super) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    fn left(&self, address: IpAddr) {
        let mut addresses = self.addresses.lock();
        if let Some(seen) = addresses.seen.get_mut(&address) {
            seen.open = seen.open.saturating_sub(1);
            if seen.open == 0 && seen.paid <= Instant::now() {
                addresses.seen.remove(&address);
            }
        }
    }
}

impl Addresses {
    fn enter(
        &mut self,
        address: IpAddr,
        limits: &AdmissionLimits,
        now: Instant,
    ) -> Result<(), Refusal> {
        if self.seen.len() >= self.sweep_at.max(SWEEP_MIN) {
            self.sweep(now);
        }
        let seen = self.seen.entry(address).or_insert(Seen { open: 0, paid: now });
        if limits.per_address.is_some_and(|most| seen.open >= most) {
            return Err(Refusal::AddressFull);
        }
        if let Some(rate) = limits.connect_rate
            && !rate.admits(&mut seen.paid, now)
        {
            return Err(Refusal::TooFast);
        }
        seen.open += 1;
        Ok(())
    }

    /// Forgets addresses of which nothing has to be known; the work is in proportion to the connections made.
    fn sweep(&mut self, now: Instant) {
        self.seen.retain(|_, seen| seen.open > 0 || seen.paid > now);
        if self.seen.len() > REMEMBERED_MAX {
            self.seen.retain(|_, seen| seen.open > 0);
        }
        self.sweep_at = self.seen.len() * 2;
    }
}

/// The address whose count a peer's connection goes to.
fn counted_as(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (!0 << 64)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::advance;

    fn admission(per_address: Option<usize>, rate: Option<(u32, u32)>) -> Arc<Admission> {
        let connect_rate = rate.map(|(per_second, burst)| ConnectRate { per_second, burst });
        let all = AdmissionLimits::connections(1 << 20);
        let limits = AdmissionLimits { per_address, connect_rate, ..all };
        Admission::new(AdmissionHandle::new(limits))
    }

    fn enter(admission: &Arc<Admission>, address: &str) -> Result<Place, Refusal> {
        let mut place = admission.place().expect("a place");
        place.of_address(address.parse().expect("an address")).map(|()| place)
    }

    #[test]
    fn a_place_is_free_again_when_it_is_left() {
        let admission = Admission::new(AdmissionHandle::new(AdmissionLimits::connections(2)));
        let (first, _second) = (admission.place().unwrap(), admission.place().unwrap());
        assert!(admission.place().is_none());
        assert_eq!(admission.open(), 2, "a refused connection is not counted");
        drop(first);
        assert!(admission.place().is_some());
    }

    #[tokio::test]
    async fn each_address_has_its_own_connections() {
        let admission = admission(Some(2), None);
        let first = enter(&admission, "192.0.2.1").unwrap();
        let _mapped = enter(&admission, "::ffff:192.0.2.1").unwrap();
        assert_eq!(enter(&admission, "192.0.2.1").err(), Some(Refusal::AddressFull));
        let _other = enter(&admission, "192.0.2.2").unwrap();
        drop(first);
        assert!(enter(&admission, "192.0.2.1").is_ok());
    }

    #[tokio::test]
    async fn limits_that_change_count_the_connections_that_are_open() {
        let handle = AdmissionHandle::new(AdmissionLimits::connections(3));
        let admission = Admission::new(handle.clone());
        let _open = [enter(&admission, "192.0.2.1").unwrap(), enter(&admission, "::1").unwrap()];
        let limits = AdmissionLimits { per_address: Some(1), ..AdmissionLimits::connections(3) };
        handle.replace(limits);
        assert_eq!(enter(&admission, "192.0.2.1").err(), Some(Refusal::AddressFull));
        assert!(enter(&admission, "192.0.2.2").is_ok());
        handle.replace(AdmissionLimits::connections(2));
        assert!(admission.place().is_none());
        handle.replace(AdmissionLimits::connections(3));
        assert!(enter(&admission, "192.0.2.1").is_ok());
    }

    #[tokio::test]
    async fn a_network_of_64_bits_is_one_address() {
        let admission = admission(Some(1), None);
        let _first = enter(&admission, "2001:db8:1:2::1").unwrap();
        assert_eq!(enter(&admission, "2001:db8:1:2:ffff::9").err(), Some(Refusal::AddressFull));
        assert!(enter(&admission, "2001:db8:1:3::1").is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_connects_in_a_burst_and_then_at_its_rate() {
        let admission = admission(None, Some((10, 5)));
        let connects = |seconds: u32| {
            let fits = (0..100).filter(|_| enter(&admission, "192.0.2.1").is_ok()).count();
            (seconds, fits)
        };
        assert_eq!(connects(0), (0, 5));
        advance(Duration::from_millis(300)).await;
        assert_eq!(connects(0), (0, 3), "what was refused is not paid for");
        advance(Duration::from_secs(60)).await;
        assert_eq!(connects(60), (60, 5), "no more than the burst is saved up");
        assert!(enter(&admission, "192.0.2.2").is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn addresses_that_are_gone_are_forgotten() {
        let admission = admission(Some(1), Some((1, 1)));
        let address = |n: u32| std::net::Ipv4Addr::from_bits(n).to_string();
        let kept = enter(&admission, "192.0.2.1").unwrap();
        for n in 0..5 * SWEEP_MIN as u32 {
            drop(enter(&admission, &address(n)).unwrap());
            advance(Duration::from_millis(10)).await;
        }
        assert!(admission.addresses.lock().seen.len() <= SWEEP_MIN + 1);
        assert_eq!(enter(&admission, "192.0.2.1").err(), Some(Refusal::AddressFull));
        drop(kept);
        for n in 0..200_000 {
            drop(enter(&admission, &address(n << 8)).ok());
        }
        assert!(admission.addresses.lock().seen.len() <= 2 * REMEMBERED_MAX + 2);
    }
}
