//! Authenticators of plugins: which fields of a login they get, which answers the loader accepts, and that a broken one
//! refuses every login.

use super::*;
use crossdock_core::rights::{Object, Who};
use crossdock_core::{
    Access, Action, CertificateNames, Credentials, ErrorKind, ForeignAuthenticator, Judgement,
    Login, Name, Secret, Timestamp,
};
use crossdock_loader::{Loaded, load};
use std::sync::Arc;

fn authenticator(path: PathBuf) -> (Loaded, Arc<dyn ForeignAuthenticator>) {
    let loaded = load(&hasty(path)).expect("loads");
    let authenticator = loaded.authenticator().expect("it judges").clone();
    (loaded, authenticator)
}

fn misjudge() -> (Loaded, Arc<dyn ForeignAuthenticator>) {
    authenticator(sample("misjudge"))
}

fn login(credentials: Credentials) -> Login {
    let peer = Name::from("192.0.2.1:4711");
    Login {
        client: "device-7".into(),
        vhost: Some("v".into()),
        ..Login::new(credentials, true, peer)
    }
}

fn password(user: &str) -> Login {
    let password = Secret("s3cret-word".into());
    login(Credentials::Password { user: user.into(), password })
}

async fn refused(judge: &dyn ForeignAuthenticator, login: &Login) -> String {
    match judge.judge(login).await {
        Ok(Judgement::Refused(why)) => why,
        other => panic!("not refused: {other:?}"),
    }
}

/// Whether somebody may read that queue in that virtual host.
fn may_read(access: &Access, vhost: &str, queue: &str) -> bool {
    let Access::Of(rights) = access else { panic!("no rights came along: {access:?}") };
    let who = Who { user: "u", client: "", vhost };
    let may =
        |rights: &crossdock_core::Rights| rights.may(Action::Read, &Object::Queue(queue), &who);
    rights.get(vhost).is_some_and(|rights| may(rights))
}

#[tokio::test]
async fn an_authenticator_says_who_somebody_is() {
    let (loaded, judge) = misjudge();
    assert_eq!((judge.name(), loaded.look().brings), ("tested", vec!["authenticator".to_owned()]));
    for other in [password("nobody"), login(Credentials::Anonymous)] {
        assert!(matches!(judge.judge(&other).await, Ok(Judgement::NotMine)));
    }
    assert_eq!(refused(&*judge, &password("refuse")).await, "refused in two lines");
    let Ok(Judgement::Accepted(bob)) = judge.judge(&password("account")).await else {
        panic!("let in");
    };
    assert!(&*bob.user == "bob" && matches!(bob.access, Access::Account), "{bob:?}");
    let Ok(Judgement::Accepted(granted)) = judge.judge(&password("grant")).await else {
        panic!("let in");
    };
    assert_eq!((&*granted.user, granted.expires), ("granted", None));
    assert_eq!(granted.tags, [Name::from("monitoring")]);
    assert!(may_read(&granted.access, "/", "q"));
    assert!(!may_read(&granted.access, "/", "other") && !may_read(&granted.access, "v", "q"));
    let why = refused(&*judge, &password("wrong")).await;
    assert!(
        why.starts_with(
            "what it says of the user: its rights in virtual host '/': read 'nonsense'"
        ),
        "{why}"
    );
    let look = loaded.look();
    assert!(look.calls >= 6 && look.refused == 1 && look.out_of_use.is_none(), "{look:?}");
}

#[tokio::test]
async fn it_is_told_what_the_client_presents_and_its_errors_do_not_have_the_secret() {
    let (_loaded, judge) = misjudge();
    let told = refused(&*judge, &password("tell")).await;
    for part in [
        "user: \"tell\", password: ***",
        "loopback: true",
        "peer: \"192.0.2.1:4711\"",
        "client: \"device-7\"",
        "virtual_host: Some(\"v\")",
    ] {
        assert!(told.contains(part), "{part} in {told}");
    }
    let names = CertificateNames {
        subject: "CN=a,O=b".into(),
        common_names: vec!["a".into()],
        alternative_names: vec!["DNS:a.example".into(), "IP:192.0.2.9".into()],
    };
    let certificate = Credentials::Certificate { user: "tell".into(), names };
    let told = refused(&*judge, &login(certificate)).await;
    let names = "subject: \"CN=a,O=b\", common_names: [\"a\"], alternative_names: \
                 [\"DNS:a.example\", \"IP:192.0.2.9\"]";
    assert!(told.contains(names), "{told}");
    let token = Credentials::Token { user: "leak".into(), token: Secret("eyJ.tok.en".into()) };
    assert_eq!(refused(&*judge, &login(token)).await, "'***' is wrong");
    assert_eq!(refused(&*judge, &password("leak")).await, "'***' is wrong");
    let empty = Credentials::Password { user: "tell".into(), password: Secret("".into()) };
    let login = Login { vhost: None, ..Login::new(empty, false, Name::default()) };
    let told = refused(&*judge, &login).await;
    assert!(told.contains("loopback: false") && told.contains("virtual_host: None"), "{told}");
}

#[tokio::test]
async fn one_that_breaks_is_out_of_use_and_lets_nobody_in() {
    for (user, why) in [
        ("panic", "its call 'login' panicked: misjudging *** (misjudge/src/lib.rs:"),
        ("hang", "its call 'login' did not return within 300 ms"),
    ] {
        let (loaded, judge) = misjudge();
        assert!(matches!(judge.judge(&password("grant")).await, Ok(Judgement::Accepted(_))));
        let error = judge.judge(&password(user)).await.expect_err("broken");
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.detail().contains(why), "{error}");
        let look = loaded.look();
        assert!(look.out_of_use.is_some_and(|said| said.contains(why)));
        let error = judge.judge(&password("grant")).await.expect_err("never asked again");
        assert!(error.kind() == ErrorKind::Unavailable && error.detail().contains("out of use"));
        assert_eq!(loaded.look().calls, look.calls);
    }
}

fn in_c_of(name: &str, definitions: &[&str]) -> PathBuf {
    compiled("authenticator.c", &format!("authenticator-{name}"), definitions)
}

#[tokio::test]
async fn an_authenticator_in_c_is_believed_as_far_as_it_keeps_the_contract() {
    let (_loaded, judge) = authenticator(in_c_of("good", &["VHOST=\"v\""]));
    let Ok(Judgement::Accepted(cara)) = judge.judge(&password("x")).await else { panic!("let in") };
    assert_eq!((&*cara.user, cara.expires), ("cara", Some(Timestamp(4_000_000_000_000))));
    assert_eq!(cara.tags, [Name::from("monitoring")]);
    assert!(may_read(&cara.access, "/", "q") && may_read(&cara.access, "v", "q"));
    // What is wrong with one user is that user's, and no harm for others.
    for (name, definitions, why) in [
        ("twice-there", vec![], "its rights in virtual host '/' stand twice"),
        ("not-utf-8", vec!["USER=\"\\xff\""], "a text is not UTF-8"),
        ("control", vec!["USER=\"a\\nb\""], "or has control characters"),
        ("many-vhosts", vec!["RIGHTS=1001"], "rights in more than 1000 virtual hosts"),
        ("many-patterns", vec!["PATTERNS=30000"], "more than 20000 texts"),
    ] {
        let (loaded, judge) = authenticator(in_c_of(name, &definitions));
        let said = refused(&*judge, &password("x")).await;
        assert!(said.starts_with("what it says of the user: ") && said.contains(why), "{said}");
        assert_eq!(loaded.look().out_of_use, None, "{name}");
    }
    for (name, definition, why) in [
        ("silent", "ANSWERS=0", "its call 'login' gave no answer"),
        ("twice", "ANSWERS=2", "its call 'login' answered twice"),
        ("null", "NULL_ANSWER", "its call 'login' answered with a null pointer"),
        ("unknown", "KIND=9", "its call 'login' answered what there is not: 9"),
        ("zero", "KIND=0", "its call 'login' answered what there is not: 0"),
        ("status", "STATUS=77", "its call 'login' failed with status 77: said so"),
    ] {
        let (loaded, judge) = authenticator(in_c_of(name, &["VHOST=\"v\"", definition]));
        let error = judge.judge(&password("x")).await.expect_err(name);
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{name}");
        assert!(error.detail().ends_with(why), "{name}: {error}");
        assert!(loaded.look().out_of_use.is_some(), "{name}");
    }
    // A refusal counts, whatever was answered before it.
    let (_loaded, judge) = authenticator(in_c_of("both", &["VHOST=\"v\"", "STATUS=1"]));
    assert_eq!(refused(&*judge, &password("x")).await, "said so");
}

#[test]
fn a_broken_table_of_an_authenticator_is_refused() {
    for (name, definition, why) in [
        ("no-login", "NO_LOGIN", "its authenticator has no function 'login'"),
        ("old-table", "TABLE_SIZE=16", "CrossdockAuthenticator has 16 bytes"),
        ("none", "NO_AUTHENTICATOR", "says that it brings an authenticator, and has none"),
    ] {
        let error = load(&spec(in_c_of(name, &[definition]))).map(|_| ()).expect_err(name);
        assert!(error.key == "path" && error.reason.contains(why), "{name}: {error}");
    }
}
