//! Who may log in: `guest` and nobody in particular from this machine, the broker's users by password or by
//! certificate, and whoever has a token that a key of ours has signed.

use crate::REFUSED;
use crate::password::PasswordHash;
use crate::scopes;
use crate::scram::Mechanism;
use crate::scram::login::ScramLogin;
use crate::token::{Refusal, TokenKeys, TokenLogin, TokenRules, is_token};
use crate::verify::{Attempt, Outcome, Verifier};
use async_trait::async_trait;
use crossdock_core::{
    Access, Account, Authenticator, CertificateNames, Credentials, DelayedLogin, Directory, Error,
    ErrorKind, GUEST, Identity, Login, LoginExchange, LoopbackGuest, Name, Secret, Timestamp,
};
use parking_lot::RwLock;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

/// Which name in a client's certificate is the user's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CertificateUser {
    /// The common name of the subject, if it has one and no more.
    #[default]
    CommonName,
    /// All of the subject, as RFC 4514 writes it.
    Subject,
    /// The first subject alternative name that is the name of a user, without its kind.
    AlternativeName,
}

/// Where the rights of a token's user are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TokenRights {
    /// In the token: its scopes.
    #[default]
    Scopes,
    /// In the account of that name, which has to be there.
    Account,
}

/// How tokens are taken.
#[derive(Debug, Clone)]
pub struct Tokens {
    pub keys: TokenKeys,
    pub rules: TokenRules,
    pub rights: TokenRights,
}

/// How tokens are taken now. All clones are one.
#[derive(Clone, Default)]
pub struct TokenHandle(Arc<RwLock<Option<Arc<Tokens>>>>);

impl TokenHandle {
    /// None: no tokens are taken.
    pub fn new(tokens: Option<Tokens>) -> Self {
        let handle = Self::default();
        handle.replace(tokens);
        handle
    }

    /// Logins from now on are by these; those that were before stay.
    pub fn replace(&self, tokens: Option<Tokens>) {
        *self.0.write() = tokens.map(Arc::new);
    }

    /// Logins from now on are by what the other handle has.
    pub fn follow(&self, other: &TokenHandle) {
        let tokens = other.get();
        *self.0.write() = tokens;
    }

    /// Whether tokens are taken at all.
    pub fn takes_tokens(&self) -> bool {
        self.0.read().is_some()
    }

    fn get(&self) -> Option<Arc<Tokens>> {
        self.0.read().clone()
    }
}

/// The authenticator of a broker with users.
pub struct Logins {
    verifier: Verifier,
    certificate_user: CertificateUser,
    tokens: TokenHandle,
}

impl Logins {
    pub fn new(verifier: Verifier, certificate_user: CertificateUser, tokens: TokenHandle) -> Self {
        Self { verifier, certificate_user, tokens }
    }

    pub(crate) fn verifier(&self) -> &Verifier {
        &self.verifier
    }

    /// Whether the login is one of the broker's own: of a user with a password here, of a certificate that names a
    /// user, of a token that a key of ours has signed, or of guest. Others may decide about any other one.
    pub(crate) fn knows(&self, login: &Login, accounts: &dyn Directory) -> bool {
        let has_password = |user: &Name| {
            accounts.account(user).is_some_and(|account| !account.verifiers.is_empty())
        };
        match (&login.credentials, self.tokens.get()) {
            (Credentials::Anonymous, _) => login.loopback,
            (Credentials::Token { token, .. }, tokens) => tokens.is_some_and(|it| it.signed(token)),
            (Credentials::Password { password, .. }, Some(tokens)) if is_token(password) => {
                tokens.signed(password)
            }
            (Credentials::Password { user, .. }, _) => **user == *GUEST || has_password(user),
            (Credentials::Certificate { user, names }, _) => {
                self.certified((user, names), accounts).is_some()
            }
        }
    }

    async fn by_password(
        &self,
        (user, password): (&Name, &Secret),
        login: &Login,
        accounts: &dyn Directory,
    ) -> Result<Identity, Error> {
        let (account, address) = (accounts.account(user), address(&login.peer));
        let hashes = account.as_deref().map(hashes);
        let has_to_wait = self.verifier.is_refused(user, address);
        let attempt = Attempt { user, password, address, hashes };
        let verified = self.verifier.verify(&attempt).await;
        let right = verified.inspect_err(|error| {
            login.refused_because(match (error.kind(), &account) {
                (ErrorKind::Refused, _) if has_to_wait => {
                    "too many tries of this user from this address failed: it has to wait"
                }
                (ErrorKind::Refused, None) => "there is no such user",
                (ErrorKind::Refused, Some(_)) => "the user has another password",
                _ => error.detail(),
            });
        })?;
        // It took a while: the user may be gone, or have other passwords by now.
        let now = accounts.account(user);
        let is_same = match (&account, &now) {
            (Some(before), Some(now)) => before.verifiers == now.verifiers,
            _ => false,
        };
        match now.filter(|_| is_same) {
            Some(account) => {
                // By this hash alone: of two passwords, who came by one of them goes with that one.
                let matched = account.verifiers.iter().filter(|one| hash(one).is_some());
                let verified_by = matched.skip(right.nth).take(1).cloned().collect();
                Ok(Identity { verified_by, ..identity(&account) })
            }
            None => {
                login.refused_because("the user was changed or removed meanwhile");
                Err(refused())
            }
        }
    }

    /// `claimed`: what the client calls itself. As with RabbitMQ the token says who it is, whatever stands there.
    fn by_token(
        &self,
        tokens: &Tokens,
        (claimed, token): (&Name, &Secret),
        login: &Login,
        accounts: &dyn Directory,
    ) -> Result<Identity, Error> {
        let address = address(&login.peer);
        // Nobody guesses a signature, and to look at one is cheap: a device with an old token keeps nobody else out.
        // Under a name that no user has: a right token does not forgive wrong passwords, nor the other way round.
        let nobody = Name::from(format!("\0{claimed}"));
        let identity = tokens.identity(token, accounts);
        let outcome = if identity.is_ok() { Outcome::Accepted } else { Outcome::Wrong };
        self.verifier.note(&nobody, address, outcome);
        identity.map_err(|why| {
            login.refused_because(format!("its token does not do: {why}"));
            refused()
        })
    }

    /// The account of the user whom a certificate names.
    fn certified(
        &self,
        (claimed, names): (&Name, &CertificateNames),
        accounts: &dyn Directory,
    ) -> Option<Arc<Account>> {
        let account = match self.certificate_user {
            CertificateUser::CommonName => match names.common_names.as_slice() {
                [only] => accounts.account(only),
                _ => None,
            },
            CertificateUser::Subject => accounts.account(&names.subject),
            CertificateUser::AlternativeName => names.alternative_names.iter().find_map(|name| {
                let (_, name) = name.split_once(':')?;
                accounts.account(name)
            }),
        };
        account.filter(|account| claimed.is_empty() || *claimed == account.name)
    }

    /// The listener has verified the certificate. `claimed`: what the client calls itself, or empty.
    fn by_certificate(
        &self,
        (claimed, names): (&Name, &CertificateNames),
        login: &Login,
        accounts: &dyn Directory,
    ) -> Result<Identity, Error> {
        let address = address(&login.peer);
        let account = self.certified((claimed, names), accounts);
        let named = account.as_ref().map_or(claimed, |account| &account.name);
        self.verifier.admit(named, address).inspect_err(|_| {
            login.refused_because(
                "too many certificates from this address were refused: it has to wait",
            );
        })?;
        let outcome = if account.is_some() { Outcome::Accepted } else { Outcome::Unknown };
        self.verifier.note(named, address, outcome);
        account.map(|account| identity(&account)).ok_or_else(|| {
            let CertificateNames { subject, alternative_names, .. } = names;
            login.refused_because(match claimed.is_empty() {
                true => format!("no user has a name of its certificate: {subject} {alternative_names:?}"),
                false => format!(
                    "its certificate is not that of the user it names, or there is no such user: {subject} \
                     {alternative_names:?}"
                ),
            });
            refused()
        })
    }
}

impl Tokens {
    /// Whether a key of ours has signed it, good for a login or not.
    fn signed(&self, token: &Secret) -> bool {
        let said = self.keys.login(token, &self.rules);
        !matches!(said, Err(Refusal::NotSigned | Refusal::Malformed(_)))
    }

    /// Who the token says it is, and what that user may do, or why it is refused, for the log.
    fn identity(&self, token: &Secret, accounts: &dyn Directory) -> Result<Identity, String> {
        let said = self.keys.login(token, &self.rules).map_err(|why| why.to_string())?;
        let TokenLogin { user, tags, scopes, expires_at } = said;
        if *user == *GUEST {
            return Err("guest is the broker's own, and no token's user".to_owned());
        }
        let ends = expires_at.checked_add(self.rules.leeway);
        let ends = ends.and_then(|ends| ends.duration_since(UNIX_EPOCH).ok());
        let ends = ends.and_then(|ends| u64::try_from(ends.as_millis()).ok());
        // A time that no clock reaches is none.
        let expires = ends.map(Timestamp);
        match self.rights {
            TokenRights::Scopes => {
                let rights = scopes::rights(&scopes, &accounts.vhosts())?;
                let access = Access::Of(Arc::new(rights));
                Ok(Identity { tags, expires, access, ..Identity::of_account(user) })
            }
            TokenRights::Account => match accounts.account(&user) {
                Some(account) => {
                    let tags = account.tags.clone();
                    Ok(Identity { tags, expires, ..Identity::of_account(user) })
                }
                None => Err(format!("its user '{user}' is none of the broker's")),
            },
        }
    }
}

/// The hashes of an account. Its other verifiers are of SCRAM.
fn hashes(account: &Account) -> Arc<[PasswordHash]> {
    account.verifiers.iter().filter_map(hash).collect()
}

/// That of a verifier; none: it is for SCRAM.
fn hash(verifier: &Secret) -> Option<PasswordHash> {
    PasswordHash::parse(std::str::from_utf8(&verifier.0).ok()?).ok()
}

pub(crate) fn identity(account: &Account) -> Identity {
    Identity { tags: account.tags.clone(), ..Identity::of_account(account.name.clone()) }
}

fn refused() -> Error {
    Error::new(ErrorKind::Refused, REFUSED)
}

/// The address of a peer that is told as `address:port`. What is none counts as one address.
pub(crate) fn address(peer: &str) -> IpAddr {
    let address = peer.parse::<SocketAddr>().map(|peer| peer.ip().to_canonical());
    address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED))
}

#[async_trait]
impl Authenticator for Logins {
    async fn login(&self, login: &Login, accounts: &dyn Directory) -> Result<Identity, Error> {
        match (&login.credentials, self.tokens.get()) {
            (Credentials::Token { user, token }, Some(tokens)) => {
                return self.by_token(&tokens, (user, token), login, accounts);
            }
            (Credentials::Password { user, password }, Some(tokens)) if is_token(password) => {
                return self.by_token(&tokens, (user, password), login, accounts);
            }
            _ => {}
        }
        match &login.credentials {
            Credentials::Password { user, password } if **user != *GUEST => {
                self.by_password((user, password), login, accounts).await
            }
            Credentials::Certificate { user, names } => {
                self.by_certificate((user, names), login, accounts)
            }
            Credentials::Anonymous | Credentials::Password { .. } | Credentials::Token { .. } => {
                LoopbackGuest.login(login, accounts).await
            }
        }
    }

    fn exchange(&self, mechanism: &str) -> Option<Box<dyn LoginExchange>> {
        let mechanism = Mechanism::named(mechanism)?;
        let key = self.verifier.key();
        Some(Box::new(ScramLogin::new(mechanism, self.verifier.clone(), key)))
    }

    fn access_of(&self, user: &str) -> Access {
        LoopbackGuest.access_of(user)
    }

    fn delayed(&self, max: usize) -> (usize, Vec<DelayedLogin>) {
        self.verifier.delayed(max)
    }

    fn end_delay(&self, user: &str) -> usize {
        self.verifier.end_delay(user)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyed::ProcessKey;
    use crate::verify::VerifierSettings;
    use parking_lot::Mutex;
    use std::collections::BTreeMap;

    /// Users that a test may change.
    #[derive(Default)]
    struct Users(Mutex<BTreeMap<Name, Arc<Account>>>);

    impl Users {
        fn set(&self, name: &str, password: Option<&'static str>) {
            let hash = |text: &'static str| {
                let hash = crate::password::hash(&Secret(text.into())).expect("a hash");
                Secret(hash.text().to_owned().into())
            };
            let verifiers = password.map(hash).into_iter().collect();
            let account = Account { name: name.into(), verifiers, ..Account::default() };
            self.0.lock().insert(name.into(), Arc::new(account));
        }
    }

    impl Directory for Users {
        fn account(&self, user: &str) -> Option<Arc<Account>> {
            self.0.lock().get(user).cloned()
        }

        fn generation(&self) -> u64 {
            0
        }

        fn vhosts(&self) -> Vec<Name> {
            vec!["/".into()]
        }
    }

    fn logins(certificate_user: CertificateUser) -> Logins {
        let key = ProcessKey::random().expect("random bytes");
        Logins::new(
            Verifier::new(VerifierSettings::default(), key),
            certificate_user,
            TokenHandle::default(),
        )
    }

    fn login(credentials: Credentials, loopback: bool) -> Login {
        Login::new(credentials, loopback, "192.0.2.1:4711".into())
    }

    fn password(user: &str, password: &'static str) -> Credentials {
        Credentials::Password { user: user.into(), password: Secret(password.into()) }
    }

    #[tokio::test]
    async fn users_come_with_their_password_and_guest_from_this_machine() {
        let (logins, users) = (logins(CertificateUser::CommonName), Users::default());
        users.set("ann", Some("secret"));
        users.set("guest", Some("other"));
        let mut found = Vec::new();
        for (credentials, loopback) in [
            (password("ann", "secret"), false),
            (password("ann", "wrong"), false),
            (password("bob", "secret"), false),
            (password("guest", "guest"), true),
            (password("guest", "guest"), false),
            (password("guest", "other"), false),
            (Credentials::Anonymous, true),
            (Credentials::Anonymous, false),
        ] {
            let identity = logins.login(&login(credentials, loopback), &users).await;
            found.push(identity.map(|identity| identity.user.to_string()).ok());
        }
        let names = [Some("ann"), None, None, Some("guest"), None, None, Some("guest"), None];
        assert_eq!(found, names.map(|name| name.map(str::to_owned)));
        // A user without a password cannot log in by one.
        users.set("carl", None);
        assert!(logins.login(&login(password("carl", ""), false), &users).await.is_err());
        // Who has another password by now needs that one, although the old one was verified a moment ago.
        users.set("ann", Some("changed"));
        assert!(logins.login(&login(password("ann", "secret"), false), &users).await.is_err());
        assert!(logins.login(&login(password("ann", "changed"), false), &users).await.is_ok());
        users.0.lock().clear();
        assert!(logins.login(&login(password("ann", "changed"), false), &users).await.is_err());
    }

    #[tokio::test]
    async fn a_certificate_names_its_user() {
        let names = CertificateNames {
            subject: "CN=device,O=Plant".into(),
            common_names: vec!["device".into()],
            alternative_names: vec!["DNS:unknown.example".into(), "URI:urn:device:7".into()],
        };
        let certificate = |claimed: &str, names: &CertificateNames| Credentials::Certificate {
            user: claimed.into(),
            names: names.clone(),
        };
        let users = Users::default();
        for name in ["device", "CN=device,O=Plant", "urn:device:7"] {
            users.set(name, None);
        }
        for (which, user) in [
            (CertificateUser::CommonName, "device"),
            (CertificateUser::Subject, "CN=device,O=Plant"),
            (CertificateUser::AlternativeName, "urn:device:7"),
        ] {
            let logins = logins(which);
            for claimed in ["", user] {
                let login = login(certificate(claimed, &names), false);
                let identity = logins.login(&login, &users).await.expect("it is a user's");
                assert_eq!(&*identity.user, user);
            }
            let other = login(certificate("other", &names), false);
            assert!(logins.login(&other, &users).await.is_err());
        }
        // Two common names are none.
        let two = ["device".to_owned(), "admin".to_owned()].to_vec();
        let names = CertificateNames { common_names: two, ..names };
        let login = login(certificate("", &names), false);
        assert!(logins(CertificateUser::CommonName).login(&login, &users).await.is_err());
    }
}
