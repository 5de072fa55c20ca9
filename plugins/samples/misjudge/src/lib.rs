//! A fixture of the loader's tests: an authenticator that does what the name of the user says: `panic`, `hang`,
//! `refuse`, `tell` (refuses, and says all that it was told), `leak` (refuses, and says the password), `account`
//! (is the broker's user `bob`), `grant` (may read the queue `q`), `wrong` (has rights that are none) and `short` (the
//! same for a second). It knows nobody else.

use crossdock_plugin::{Answer, Authenticator, Credentials, Login, Rights, Start, User};
use std::time::{Duration, SystemTime};

pub struct Misjudge;

impl Start for Misjudge {
    fn start(_with: &str) -> Result<Self, String> {
        Ok(Misjudge)
    }
}

impl Authenticator for Misjudge {
    fn login(&self, login: &Login<'_>) -> Result<Answer, String> {
        let (user, secret): (_, &[u8]) = match &login.credentials {
            Credentials::Anonymous => ("", &[]),
            Credentials::Password { user, password } => (*user, password.bytes()),
            Credentials::Token { user, token } => (*user, token.bytes()),
            Credentials::Certificate { user, .. } => (*user, &[]),
            _ => return Ok(Answer::NotMine),
        };
        let secret = String::from_utf8_lossy(secret);
        match user {
            "panic" => panic!("misjudging {secret}"),
            "hang" => loop {
                std::thread::sleep(Duration::from_secs(3_600));
            },
            "refuse" => Err("refused\nin two lines".to_owned()),
            "tell" => Err(format!("{login:?}")),
            "leak" => Err(format!("'{secret}' is wrong")),
            "account" => Ok(Answer::Account { user: "bob".to_owned(), expires: None }),
            "grant" => Ok(granted("queue:q", None)),
            "wrong" => Ok(granted("nonsense", None)),
            "short" => Ok(granted("queue:q", Some(SystemTime::now() + Duration::from_secs(1)))),
            _ => Ok(Answer::NotMine),
        }
    }
}

fn granted(pattern: &str, expires: Option<SystemTime>) -> Answer {
    Answer::User(User {
        name: "granted".to_owned(),
        tags: vec!["monitoring".to_owned()],
        expires,
        rights: vec![Rights {
            virtual_host: "/".to_owned(),
            read: vec![pattern.to_owned()],
            ..Rights::default()
        }],
    })
}

crossdock_plugin::export!(authenticator: Misjudge);
