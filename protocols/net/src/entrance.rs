//! Where a connection came in, and what it says of itself there.

use crate::Lost;
use crossdock_core::{
    Broker, CertificateNames, Credentials, Error, ErrorKind, Identity, Login, LoginExchange,
    LoginStep, Name, PeerCertificate, RefusedLogin, San, Unfinished,
};
use std::sync::OnceLock;

/// Where a connection came in.
#[derive(Debug)]
pub struct Entrance {
    /// The protocol's name, for logs.
    pub(crate) protocol: &'static str,
    pub listener: Name,
    /// The peer's address as text, for logs.
    pub peer: Name,
    /// The peer is on this machine.
    pub loopback: bool,
    /// What passes is encrypted between the peer and this process.
    pub secure: bool,
    /// The verified certificate of the peer, if it showed one.
    pub certificate: Option<PeerCertificate>,
    /// User and client id that the peer gave, true or not: for the log of a login that failed.
    pub claimed: OnceLock<(Name, Name)>,
}

impl Entrance {
    /// Who is this? `Refused` when nobody, which is noted with what the peer says of itself. `vhost`: where it wants to
    /// be, if that is known yet.
    pub async fn log_in(
        &self,
        broker: &Broker,
        credentials: Credentials,
        vhost: Option<Name>,
    ) -> Result<Identity, Error> {
        let login = self.attempt(credentials, vhost);
        let checked = broker.login(&login).await;
        if let Err(error) = &checked {
            self.note_refused(broker, &login, error);
        }
        checked
    }

    /// The next message of a login of several. `Refused` when the peer is nobody, which is noted in the same way.
    pub fn go_on(
        &self,
        broker: &Broker,
        exchange: &mut dyn LoginExchange,
        (message, vhost): (&[u8], Name),
    ) -> Result<LoginStep, Error> {
        let login = self.attempt(Credentials::Anonymous, Some(vhost));
        let step = broker.go_on_with_login(exchange, message, &login);
        if let Err(error) = &step {
            self.note_refused(broker, &login, error);
        }
        step
    }

    fn attempt(&self, credentials: Credentials, vhost: Option<Name>) -> Login {
        let (loopback, peer) = (self.loopback, self.peer.clone());
        let client = self.claimed.get().map(|(_, client)| client.clone()).unwrap_or_default();
        Login { client, vhost, ..Login::new(credentials, loopback, peer) }
    }

    fn note_refused(&self, broker: &Broker, login: &Login, error: &Error) {
        if error.kind() != ErrorKind::Refused {
            return;
        }
        let (user, client) = self.claimed.get().cloned().unwrap_or_default();
        let why = login.why.get().map_or(error.detail(), String::as_str);
        let protocol = self.protocol;
        let (listener, peer, user, client) = (&self.listener, &self.peer, &user, &client);
        broker.note_refused_login(&RefusedLogin { protocol, listener, peer, user, client, why });
    }

    /// Counts a peer that was lost before its login was complete. That the broker begins to stop is not the peer's
    /// doing.
    pub fn note_lost(&self, broker: &Broker, lost: &Lost) {
        let why = match lost {
            Lost::StoppedInLogin => return,
            Lost::LoginTooLong => Unfinished::TooSlow,
            _ => Unfinished::Left,
        };
        broker.note_unfinished_login((&self.listener, self.protocol), why, &self.peer);
    }

    /// What the peer's certificate says who it is, for a client that presents nothing else than `user`, or no name.
    pub fn by_certificate(&self, user: Name) -> Option<Credentials> {
        let certificate = self.certificate.as_ref()?;
        let alternative = |name: &San| match name {
            San::Dns(name) => format!("DNS:{name}"),
            San::Email(name) => format!("email:{name}"),
            San::Uri(name) => format!("URI:{name}"),
            San::Ip(address) => format!("IP:{address}"),
        };
        let names = CertificateNames {
            subject: certificate.subject.clone(),
            common_names: certificate.common_name.iter().cloned().collect(),
            alternative_names: certificate.sans.iter().map(alternative).collect(),
        };
        Some(Credentials::Certificate { user, names })
    }
}
