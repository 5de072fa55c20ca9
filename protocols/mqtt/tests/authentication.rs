//! Enhanced authentication (MQTT 5 §4.12), with a method of this test: the client says a name, then a word.

mod stage;
mod wire;

use async_trait::async_trait;
use bytes::Bytes;
use crossdock_core::memory::MemoryStore;
use crossdock_core::{
    Authenticator, Broker, Directory, Drain, Error, ErrorKind, Formats, Identity, Login,
    LoginExchange, LoginStep, LoopbackGuest, Protocol, Settings, Setup,
};
use crossdock_mqtt::{Mqtt, Options};
use stage::{Client, connect};
use std::sync::Arc;
use std::time::Duration;

const END: Duration = Duration::from_secs(10);

struct Words;

#[async_trait]
impl Authenticator for Words {
    async fn login(&self, login: &Login, accounts: &dyn Directory) -> Result<Identity, Error> {
        LoopbackGuest.login(login, accounts).await
    }

    fn exchange(&self, mechanism: &str) -> Option<Box<dyn LoginExchange>> {
        (mechanism == "WORD").then(|| Box::new(Word(None)) as Box<dyn LoginExchange>)
    }
}

/// Who says it is somebody.
struct Word(Option<String>);

impl LoginExchange for Word {
    fn step(&mut self, message: &[u8], _: &Login, _: &dyn Directory) -> Result<LoginStep, Error> {
        let said = String::from_utf8_lossy(message).into_owned();
        match self.0.take() {
            None => {
                self.0 = Some(said);
                Ok(LoginStep::Challenge(Bytes::from_static(b"word?")))
            }
            Some(user) if said == "right" => {
                let (identity, last) = (Identity::unlimited(user), Bytes::from_static(b"welcome"));
                Ok(LoginStep::Done { identity, last })
            }
            Some(_) => Err(Error::new(ErrorKind::Refused, "login was refused")),
        }
    }
}

async fn broker() -> Broker {
    let mqtt = Mqtt::default();
    let setup = Setup {
        settings: Settings::default(),
        formats: Formats::new(mqtt.formats()),
        topology: mqtt.topology(),
        store: Arc::new(MemoryStore::default()),
        authenticator: Arc::new(Words),
        users: Vec::new(),
    };
    Broker::open(setup).await.expect("opens")
}

const CONNECT: &str = "CONNECT id=a clean auth-method=WORD auth-data=ann";
const CHALLENGE: &str = "AUTH 18 auth-method=WORD auth-data=word?";

/// Plays lines: what the client says, and what is answered; an empty answer: nothing is waited for.
async fn play(client: &mut Client, lines: &[(&str, &str)]) {
    for (line, answer) in lines {
        client.say(line).await;
        if !answer.is_empty() {
            let said = client.hear().await;
            assert!(said.starts_with(answer), "{line}: {said} instead of {answer}");
        }
    }
}

#[tokio::test]
async fn a_client_proves_who_it_is_and_proves_it_again() {
    let broker = broker().await;
    let (_switch, drain) = Drain::channel();
    let mut a = connect(&broker, Options::default(), &drain, true);
    let lines = [
        (CONNECT, CHALLENGE),
        ("AUTH 18 auth-method=WORD auth-data=right", "CONNACK 00 present=0"),
        ("SUBSCRIBE 1 t qos=0", "SUBACK 1 00"),
        ("AUTH 19 auth-method=WORD auth-data=ann", CHALLENGE),
        // Other packets go on meanwhile.
        ("PUBLISH t \"between\"", "PUBLISH t \"between\""),
        ("AUTH 18 auth-method=WORD auth-data=right", "AUTH 00 auth-method=WORD auth-data=welcome"),
        // The method asks for the first word where the client does not say it.
        ("AUTH 19 auth-method=WORD", "AUTH 18 auth-method=WORD auth-data="),
        ("AUTH 18 auth-method=WORD auth-data=ann", CHALLENGE),
        ("AUTH 18 auth-method=WORD auth-data=right", "AUTH 00"),
        ("PINGREQ", "PINGRESP"),
        // Somebody else cannot go on with the session.
        ("AUTH 19 auth-method=WORD auth-data=bob", CHALLENGE),
        ("AUTH 18 auth-method=WORD auth-data=right", "DISCONNECT 87"),
    ];
    play(&mut a, &lines).await;
    assert_eq!(a.packet(END).await, None);
    let mut b = connect(&broker, Options::default(), &drain, true);
    let lines = [
        ("CONNECT id=b clean auth-method=WORD", "AUTH 18 auth-method=WORD auth-data="),
        ("AUTH 18 auth-method=WORD auth-data=ann", CHALLENGE),
        ("AUTH 18 auth-method=WORD auth-data=right", "CONNACK 00"),
    ];
    play(&mut b, &lines).await;
}

#[tokio::test]
async fn what_breaks_the_exchange_ends_the_connection() {
    let broker = broker().await;
    let (_switch, drain) = Drain::channel();
    let right = "AUTH 18 auth-method=WORD auth-data=right";
    let again = "AUTH 19 auth-method=WORD auth-data=ann";
    let cases: &[&[(&str, &str)]] = &[
        &[("CONNECT id=a clean auth-method=OTHER auth-data=x", "CONNACK 8c")],
        &[("CONNECT id=a clean auth-data=x", "CONNACK 82")],
        &[(CONNECT, CHALLENGE), ("AUTH 18 auth-method=WORD auth-data=wrong", "CONNACK 86")],
        &[(CONNECT, CHALLENGE), ("AUTH 18 auth-method=OTHER auth-data=right", "CONNACK 82")],
        &[(CONNECT, CHALLENGE), (again, "CONNACK 82")],
        &[(CONNECT, CHALLENGE), ("AUTH 00 auth-method=WORD auth-data=right", "CONNACK 82")],
        &[(CONNECT, CHALLENGE), ("AUTH 18", "CONNACK 82")],
        // [MQTT-3.1.2-30]
        &[(CONNECT, CHALLENGE), ("PUBLISH t \"early\"", "CONNACK 82")],
        &[(CONNECT, CHALLENGE), ("PINGREQ", "CONNACK 82")],
        &[(CONNECT, CHALLENGE), ("DISCONNECT", "")],
        &[(CONNECT, CHALLENGE), ("HEX f1021800", "CONNACK 81")],
        // [MQTT-4.12.0-6]
        &[("CONNECT id=a clean", "CONNACK 00"), (again, "DISCONNECT 82")],
        &[("CONNECT id=a clean", "CONNACK 00"), (right, "DISCONNECT 82")],
        &[(CONNECT, CHALLENGE), (right, "CONNACK 00"), (right, "DISCONNECT 82")],
        &[
            (CONNECT, CHALLENGE),
            (right, "CONNACK 00"),
            ("AUTH 19 auth-method=OTHER auth-data=ann", "DISCONNECT 82"),
        ],
        &[
            (CONNECT, CHALLENGE),
            (right, "CONNACK 00"),
            (again, CHALLENGE),
            (again, "DISCONNECT 82"),
        ],
        &[
            (CONNECT, CHALLENGE),
            (right, "CONNACK 00"),
            (again, CHALLENGE),
            ("AUTH 18 auth-method=WORD auth-data=wrong", "DISCONNECT 87"),
        ],
    ];
    for lines in cases {
        let mut client = connect(&broker, Options::default(), &drain, true);
        play(&mut client, lines).await;
        assert_eq!(client.packet(END).await, None, "{lines:?}");
    }
}

#[tokio::test]
async fn an_exchange_that_does_not_go_on_ends_with_the_login_time() {
    let broker = broker().await;
    let (_switch, drain) = Drain::channel();
    let options = Options { login_time: Duration::from_millis(300), ..Options::default() };
    let mut client = connect(&broker, options, &drain, true);
    play(&mut client, &[(CONNECT, CHALLENGE)]).await;
    assert_eq!(client.packet(END).await, None);
}
