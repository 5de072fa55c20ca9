//! Who is asked, in which order, and what becomes of what they say.

use super::*;
use crate::keyed::ProcessKey;
use crate::logins::{CertificateUser, TokenHandle};
use crate::verify::{Verifier, VerifierSettings};
use crossdock_core::{Account, Rights, RightsText, Secret};
use std::sync::atomic::{AtomicUsize, Ordering};

struct Users(BTreeMap<Name, Arc<Account>>);

impl Directory for Users {
    fn account(&self, user: &str) -> Option<Arc<Account>> {
        self.0.get(user).cloned()
    }

    fn generation(&self) -> u64 {
        0
    }

    fn vhosts(&self) -> Vec<Name> {
        vec!["/".into()]
    }
}

/// `ann` with the password `own`, `bob` without one.
fn users() -> Users {
    let hash = crate::password::hash(&Secret("own".into())).expect("a hash");
    let verifiers = vec![Secret(hash.text().to_owned().into())];
    let tags = vec!["monitoring".into()];
    let ann = Account { name: "ann".into(), verifiers, ..Account::default() };
    let bob = Account { name: "bob".into(), tags, ..Account::default() };
    Users([ann, bob].into_iter().map(|one| (one.name.clone(), Arc::new(one))).collect())
}

type Answer = Box<dyn Fn(&Login) -> Result<Judgement, Error> + Send + Sync>;

/// Says what it is told to, and counts how often it is asked.
struct Told {
    name: &'static str,
    answer: Answer,
    asked: AtomicUsize,
    /// How long the answer to the password `right` takes.
    takes: Duration,
}

#[async_trait]
impl ForeignAuthenticator for Told {
    fn name(&self) -> &str {
        self.name
    }

    async fn judge(&self, login: &Login) -> Result<Judgement, Error> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let is_right = matches!(
            &login.credentials,
            Credentials::Password { password, .. } if &*password.0 == b"right"
        );
        if is_right {
            tokio::time::sleep(self.takes).await;
        }
        (self.answer)(login)
    }
}

fn told(
    name: &'static str,
    answer: impl Fn(&Login) -> Result<Judgement, Error> + Send + Sync + 'static,
) -> Arc<Told> {
    let answer: Answer = Box::new(answer);
    Arc::new(Told { name, answer, asked: AtomicUsize::new(0), takes: Duration::ZERO })
}

/// Somebody who may read everything.
fn somebody(user: &str) -> Judgement {
    let read = vec!["*".to_owned()];
    let rights = Rights::parse(RightsText { read, ..RightsText::default() }).expect("a pattern");
    let access = Access::Of(Arc::new([("/".into(), Arc::new(rights))].into_iter().collect()));
    Judgement::Accepted(Identity { access, ..Identity::of_account(user) })
}

fn user_of(login: &Login) -> &str {
    match &login.credentials {
        Credentials::Password { user, .. } | Credentials::Certificate { user, .. } => user,
        _ => "",
    }
}

/// Lets `eve` in with the password `right`, refuses others of that name, and knows nobody else.
fn eve() -> Arc<Told> {
    told("plugin", |login| {
        let Credentials::Password { user, password } = &login.credentials else {
            return Ok(Judgement::NotMine);
        };
        Ok(match (&**user, &*password.0) {
            ("eve", b"right") => somebody("eve"),
            ("eve", _) => Judgement::Refused("another password".into()),
            _ => Judgement::NotMine,
        })
    })
}

fn ordered(turns: Vec<Turn>) -> OrderedLogins {
    let key = ProcessKey::random().expect("random bytes");
    let verifier = Verifier::new(VerifierSettings::default(), key);
    let tokens = TokenHandle::default();
    OrderedLogins::new(Logins::new(verifier, CertificateUser::CommonName, tokens), turns)
}

fn password(user: &str, password: &str) -> Login {
    let password = Secret(password.to_owned().into());
    let credentials = Credentials::Password { user: user.into(), password };
    Login::new(credentials, false, "192.0.2.1:4711".into())
}

fn anonymous(loopback: bool) -> Login {
    Login::new(Credentials::Anonymous, loopback, "192.0.2.1:4711".into())
}

/// The user, or why not.
async fn ask(logins: &OrderedLogins, login: &Login) -> Result<String, String> {
    let found = logins.login(login, &users()).await;
    found.map(|identity| identity.user.to_string()).map_err(|error| match error.kind() {
        ErrorKind::Refused => login.why.get().cloned().unwrap_or_default(),
        kind => format!("{kind:?}: {}", error.detail()),
    })
}

#[tokio::test]
async fn who_is_asked_first_decides_what_it_knows() {
    let plugin = eve();
    let logins = ordered(vec![Turn::Own, Turn::Foreign(plugin.clone())]);
    assert_eq!(ask(&logins, &password("ann", "own")).await, Ok("ann".into()));
    let why = ask(&logins, &password("ann", "wrong")).await;
    assert_eq!(why, Err("the user has another password".into()));
    assert_eq!(plugin.asked.load(Ordering::Relaxed), 0, "a user with a password here is ours");
    assert_eq!(ask(&logins, &password("eve", "right")).await, Ok("eve".into()));
    let why = ask(&logins, &password("eve", "wrong")).await;
    assert_eq!(why, Err("the plugin 'plugin' refuses it: another password".into()));
    let why = ask(&logins, &password("zoe", "right")).await;
    assert_eq!(why, Err("none of those in auth.order knows of it".into()));
    assert_eq!(ask(&logins, &anonymous(true)).await, Ok("guest".into()));
    assert!(ask(&logins, &anonymous(false)).await.is_err());

    let ann = told("plugin", |login| match user_of(login) {
        "ann" => Ok(somebody("ann of the plugin")),
        _ => Ok(Judgement::NotMine),
    });
    let logins = ordered(vec![Turn::Foreign(ann), Turn::Own]);
    assert_eq!(ask(&logins, &password("ann", "any")).await, Ok("ann of the plugin".into()));
    let why = ask(&logins, &password("zoe", "any")).await;
    assert_eq!(why, Err("there is no such user".into()), "who comes last decides");
    assert_eq!(ask(&logins, &anonymous(true)).await, Ok("guest".into()));
}

#[tokio::test]
async fn without_the_own_users_they_are_not_let_in() {
    let logins = ordered(vec![Turn::Foreign(eve())]);
    assert_eq!(ask(&logins, &password("eve", "right")).await, Ok("eve".into()));
    assert!(ask(&logins, &password("ann", "own")).await.is_err());
    assert!(ask(&logins, &anonymous(true)).await.is_err());
    assert!(ask(&logins, &password("guest", "guest")).await.is_err());
    assert!(matches!(logins.access_of("guest"), Access::Of(none) if none.is_empty()));
    assert!(matches!(logins.access_of("eve"), Access::Account));
    let logins = ordered(vec![Turn::Foreign(eve()), Turn::Own]);
    assert!(matches!(logins.access_of("guest"), Access::All));
}

#[tokio::test]
async fn one_that_cannot_say_lets_nobody_in_whoever_comes_behind() {
    let broken = told("plugin", |_| Err(Error::new(ErrorKind::Unavailable, "out of use")));
    let logins = ordered(vec![Turn::Foreign(broken.clone()), Turn::Own]);
    for login in [password("ann", "own"), anonymous(true), password("zoe", "")] {
        assert_eq!(ask(&logins, &login).await, Err(format!("Unavailable: {NOT_NOW}")));
        assert_eq!(login.why.get().map(String::as_str), Some("out of use"), "for the log only");
    }
    let logins = ordered(vec![Turn::Own, Turn::Foreign(broken)]);
    assert_eq!(ask(&logins, &password("ann", "own")).await, Ok("ann".into()));
    assert_eq!(ask(&logins, &password("zoe", "")).await, Err(format!("Unavailable: {NOT_NOW}")));
    assert_eq!(logins.delayed(9).0, 0, "that it cannot say is no failure of the user");
}

#[tokio::test]
async fn what_a_plugin_may_not_give_is_refused() {
    let past = Some(Timestamp(1));
    let cases: Vec<(Judgement, &str)> = vec![
        (somebody("guest"), "names guest, who is the broker's own"),
        (somebody(""), "names no user"),
        (Judgement::Accepted(Identity::unlimited("root")), "gives it all rights"),
        (Judgement::Accepted(Identity::of_account("zoe")), "the broker has no user 'zoe'"),
        (
            Judgement::Accepted(Identity { expires: past, ..Identity::of_account("bob") }),
            "its login has ended already",
        ),
    ];
    for (judgement, why) in cases {
        let plugin = told("plugin", move |_| Ok(judgement.clone()));
        let logins = ordered(vec![Turn::Foreign(plugin), Turn::Own]);
        let found = ask(&logins, &password("x", "x")).await;
        let expected = format!("the plugin 'plugin' lets it in, and {why}");
        assert!(found.as_ref().is_err_and(|found| found.starts_with(&expected)), "{found:?}");
    }
}

#[tokio::test]
async fn the_rights_may_be_those_of_a_user_of_the_broker() {
    let plugin = told("directory", |login| match user_of(login) {
        "bob" => Ok(Judgement::Accepted(Identity::of_account("bob"))),
        _ => Ok(Judgement::NotMine),
    });
    // A user without a password here is the plugin's to decide, wherever that stands.
    let logins = ordered(vec![Turn::Own, Turn::Foreign(plugin)]);
    let identity = logins.login(&password("bob", "x"), &users()).await.expect("let in");
    assert!(matches!(identity.access, Access::Account));
    assert_eq!(identity.tags, [Name::from("monitoring")]);
    assert!(identity.verified_by.is_empty(), "it ends with the account only");
}

#[tokio::test(start_paused = true)]
async fn wrong_tries_are_counted_and_delayed_as_passwords_are() {
    let plugin = eve();
    let logins = ordered(vec![Turn::Foreign(plugin.clone()), Turn::Own]);
    for _ in 0..5 {
        assert!(ask(&logins, &password("eve", "wrong")).await.is_err());
    }
    let why = ask(&logins, &password("eve", "right")).await.expect_err("it has to wait");
    assert!(why.contains("it has to wait"), "{why}");
    assert_eq!(plugin.asked.load(Ordering::Relaxed), 5, "whoever has to wait is not asked about");
    let (count, delayed) = logins.delayed(9);
    assert_eq!((count, &*delayed[0].user, delayed[0].failures), (1, "eve", 5));
    assert_eq!(logins.end_delay("eve"), 1);
    assert_eq!(ask(&logins, &password("eve", "right")).await, Ok("eve".into()));
    // Names that nobody knows are counted as well, where no user of ours comes last.
    let logins = ordered(vec![Turn::Own, Turn::Foreign(eve())]);
    for _ in 0..5 {
        assert!(ask(&logins, &password("zoe", "wrong")).await.is_err());
    }
    assert_eq!(logins.delayed(9).0, 1);
    // Tokens are not delayed, and clients without a name have nothing to guess.
    let logins = ordered(vec![Turn::Foreign(told("p", |_| Ok(Judgement::Refused("no".into()))))]);
    for _ in 0..9 {
        let why = ask(&logins, &password("t", "eyJh.b.c")).await;
        assert_eq!(why, Err("the plugin 'p' refuses it: no".into()));
        assert!(ask(&logins, &anonymous(false)).await.is_err_and(|why| why.ends_with(": no")));
    }
}

/// The right one is no use to whoever guessed wrong five times before its answer came.
#[tokio::test(start_paused = true)]
async fn guesses_on_many_connections_at_once_find_nothing() {
    let Told { name, answer, asked, .. } = Arc::into_inner(eve()).expect("the only one");
    let slow = Told { name, answer, asked, takes: Duration::from_millis(100) };
    let logins = Arc::new(ordered(vec![Turn::Foreign(Arc::new(slow))]));
    let guess = |text: &'static str| {
        let logins = logins.clone();
        tokio::spawn(async move { ask(&logins, &password("eve", text)).await })
    };
    let right = guess("right");
    for _ in 0..5 {
        assert!(guess("wrong").await.expect("ends").is_err());
    }
    let why = right.await.expect("ends").expect_err("five were wrong meanwhile");
    assert!(why.contains("it has to wait"), "{why}");
    assert_eq!(logins.end_delay("eve"), 1);
    assert_eq!(guess("right").await.expect("ends"), Ok("eve".into()));
}
