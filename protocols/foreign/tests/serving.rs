//! Connections whose protocol is spoken elsewhere, over real sockets, with a broker in memory. What is spoken here:
//! each line is a wish.

use async_trait::async_trait;
use bytes::Bytes;
use crossdock_core::dialog::{Dialog, Happened, Settled, Speaker, Wish};
use crossdock_core::memory::MemoryStore;
use crossdock_core::{
    Accepted, Broker, Drain, Error, ErrorKind, Formats, LoopbackGuest, Protocol, QueueSpec,
    Settings, Setup,
};
use crossdock_foreign::{Foreign, Options};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;

struct Wisher;

#[async_trait]
impl Speaker for Wisher {
    fn name(&self) -> &'static str {
        "wisher"
    }

    async fn open(&self, _: &str) -> Result<Box<dyn Dialog>, Error> {
        Ok(Box::new(Wishing::default()))
    }
}

#[derive(Default)]
struct Wishing {
    input: Vec<u8>,
}

fn write(text: String) -> Wish {
    Wish::Write(Bytes::from(text))
}

fn said(what: &str, token: u64, result: &Result<(), Error>) -> Wish {
    match result {
        Ok(()) => write(format!("{what} {token} ok\n")),
        Err(why) => write(format!("{what} {token} {}\n", why.detail())),
    }
}

fn wish(line: &str) -> Result<Wish, Error> {
    let words: Vec<&str> = line.splitn(4, ' ').collect();
    let number = |text: &str| text.parse().unwrap_or(0);
    Ok(match words.as_slice() {
        ["login", user, password] => Wish::LogIn {
            user: (*user).into(),
            password: Bytes::copy_from_slice(password.as_bytes()),
        },
        ["pub", token, address, body] => Wish::Publish {
            token: number(token),
            address: (*address).to_owned(),
            body: Bytes::copy_from_slice(body.as_bytes()),
            durable: true,
        },
        ["sub", token, address, settles] => Wish::Subscribe {
            token: number(token),
            address: (*address).to_owned(),
            settles: *settles == "settles",
        },
        ["end", token] => Wish::Unsubscribe { token: number(token) },
        ["ack", delivery] => Wish::Settle { delivery: number(delivery), how: Settled::Accepted },
        ["nack", delivery] => Wish::Settle { delivery: number(delivery), how: Settled::Returned },
        ["close"] => Wish::Close,
        _ => return Err(Error::new(ErrorKind::Invalid, format!("no wish: {line}"))),
    })
}

#[async_trait]
impl Dialog for Wishing {
    async fn turn(&mut self, happened: Vec<Happened>) -> (Vec<Wish>, Result<(), Error>) {
        let mut wishes = Vec::new();
        for one in happened {
            match one {
                Happened::Bytes(bytes) => self.input.extend_from_slice(&bytes),
                Happened::LoggedIn(result) => wishes.push(said("login", 0, &result)),
                Happened::Published(token, result) => wishes.push(said("pub", token, &result)),
                Happened::Subscribed(token, result) => wishes.push(said("sub", token, &result)),
                Happened::Unsubscribed(token, why) => {
                    wishes.push(write(format!("ended {token} {}\n", why.detail())));
                }
                Happened::Delivered(it) => {
                    let body = String::from_utf8_lossy(&it.body).into_owned();
                    let (token, number) = (it.subscription, it.delivery);
                    let again = if it.redelivered { " again" } else { "" };
                    wishes.push(write(format!(
                        "msg {token} {number} {} {body}{again}\n",
                        it.address
                    )));
                }
                Happened::Ending(why) => wishes.push(write(format!("bye {}\n", why.detail()))),
            }
        }
        while let Some(end) = self.input.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.input.drain(..=end).collect();
            match wish(String::from_utf8_lossy(&line).trim_end()) {
                Ok(wish) => wishes.push(wish),
                Err(error) => return (wishes, Err(error)),
            }
        }
        (wishes, Ok(()))
    }
}

struct Stage {
    broker: Broker,
    listener: TcpListener,
    foreign: Foreign,
    switch: watch::Sender<bool>,
    drain: Drain,
}

struct Client {
    lines: BufReader<TcpStream>,
}

impl Stage {
    async fn new() -> Self {
        let options =
            Options { login_time: Duration::from_secs(2), write_time: Duration::from_secs(20) };
        let foreign = Foreign::new(Arc::new(Wisher), options);
        let setup = Setup {
            settings: Settings::default(),
            formats: Formats::new(Vec::new()),
            topology: foreign.topology(),
            store: Arc::new(MemoryStore::default()),
            authenticator: Arc::new(LoopbackGuest),
            users: Vec::new(),
        };
        let broker = Broker::open(setup).await.expect("opens");
        broker.start_routes(Vec::new()).await.expect("no routes");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let (switch, drain) = Drain::channel();
        Self { broker, listener, foreign, switch, drain }
    }

    async fn client(&self) -> Client {
        let address = self.listener.local_addr().expect("bound");
        let (client, accepted) = tokio::join!(TcpStream::connect(address), self.listener.accept());
        let (socket, peer) = accepted.expect("accepted");
        let (reader, writer) = socket.into_split();
        let accepted = Accepted {
            reader: Box::new(reader),
            writer: Box::new(writer),
            head: Default::default(),
            peer: peer.to_string(),
            loopback: true,
            secure: false,
            certificate: None,
            since: tokio::time::Instant::now(),
            listener: "wisher".into(),
            drain: self.drain.clone(),
        };
        let (foreign, broker) = (self.foreign.clone(), self.broker.clone());
        tokio::spawn(async move { foreign.serve(accepted, broker).await });
        Client { lines: BufReader::new(client.expect("connected")) }
    }

    async fn guest(&self) -> Client {
        let mut client = self.client().await;
        client.say("login guest guest").await;
        assert_eq!(client.line().await, "login 0 ok");
        client
    }
}

impl Client {
    async fn say(&mut self, text: &str) {
        let text = format!("{text}\n");
        self.lines.get_mut().write_all(text.as_bytes()).await.expect("it reads");
    }

    async fn line(&mut self) -> String {
        let mut line = String::new();
        let read = timeout(Duration::from_secs(10), self.lines.read_line(&mut line)).await;
        read.expect("in time").expect("a line");
        line.trim_end().to_owned()
    }

    async fn asks(&mut self, text: &str) -> String {
        self.say(text).await;
        self.line().await
    }
}

#[tokio::test]
async fn messages_of_topics_and_queues_come_and_go() {
    let stage = Stage::new().await;
    let (mut one, mut other) = (stage.guest().await, stage.guest().await);
    assert_eq!(one.asks("sub 1 topic:plant/# plain").await, "sub 1 ok");
    assert_eq!(other.asks("pub 1 topic:plant/a hello world").await, "pub 1 ok");
    assert_eq!(one.line().await, "msg 1 0 topic:plant/a hello world");
    assert_eq!(other.asks("pub 2 topic:nobody x").await, "pub 2 ok", "nobody is no mistake");
    let unroutable = other.asks("pub 3 queue:none x").await;
    assert_eq!(unroutable, "pub 3 nobody takes messages to queue:none");
    assert!(one.asks("sub 2 queue:none plain").await.starts_with("sub 2 no queue 'none'"));
    assert!(one.asks("sub 1 topic:x plain").await.contains("there is a subscription 1 already"));
    for (text, why) in [
        ("pub 4 here x", "is not topic:KEY, queue:NAME"),
        ("pub 4 topic:a/# x", "cannot be published to a pattern"),
        ("pub 4 exchange: x", "is not topic:KEY"),
        ("sub 4 exchange:x plain", "is not topic:PATTERN or queue:NAME"),
    ] {
        let answer = one.asks(text).await;
        assert!(answer.contains(why), "{text}: {answer}");
    }
    one.say("end 1").await;
    assert_eq!(other.asks("pub 5 topic:plant/b x").await, "pub 5 ok");
    assert_eq!(one.asks("pub 6 topic:plant/c x").await, "pub 6 ok", "and no message before it");
}

#[tokio::test]
async fn what_is_not_settled_goes_back() {
    let stage = Stage::new().await;
    let identity = crossdock_core::Identity::unlimited("guest");
    let spec = crossdock_core::SessionSpec::anonymous("/", Default::default(), identity);
    let mut owner = stage.broker.session(spec).await.expect("a session");
    owner.declare_queue(QueueSpec::durable("q")).await.expect("declared");
    let mut one = stage.guest().await;
    assert_eq!(one.asks("sub 1 queue:q settles").await, "sub 1 ok");
    for (number, body) in [(1, "a"), (2, "b"), (3, "c")] {
        let answers = [one.asks(&format!("pub {number} queue:q {body}")).await, one.line().await];
        let message = format!("msg 1 {number} queue:q {body}");
        assert!(answers.contains(&message) && answers.contains(&format!("pub {number} ok")));
    }
    one.say("ack 1").await;
    assert_eq!(one.asks("nack 2").await, "msg 1 4 queue:q b again");
    one.say("ack 99").await;
    one.say("close").await;
    assert_eq!(one.line().await, "", "it ends");
    let mut two = stage.guest().await;
    assert_eq!(two.asks("sub 9 queue:q settles").await, "sub 9 ok");
    assert_eq!(
        [two.line().await, two.line().await].concat(),
        "msg 9 1 queue:q b againmsg 9 2 queue:q c again"
    );
    owner.delete_queue("q", false, false).await.expect("deleted");
    assert!(two.line().await.starts_with("ended 9 "));
}

#[tokio::test]
async fn nothing_is_done_before_the_login() {
    let stage = Stage::new().await;
    let mut one = stage.client().await;
    assert!(one.asks("login guest wrong").await.starts_with("login 0 login was refused"));
    assert_eq!(one.asks("login guest guest").await, "login 0 ok", "another try");
    assert!(one.asks("login guest guest").await.contains("is logged in already"));
    for early in ["pub 1 topic:a x", "sub 1 topic:a plain", "login guest guest\npub 1 topic:a x"] {
        let mut client = stage.client().await;
        assert_eq!(client.asks(early).await, "", "{early}");
    }
    let mut silent = stage.client().await;
    assert_eq!(silent.line().await, "", "the time to log in is over");
}

#[tokio::test]
async fn a_connection_ends_with_its_dialog_and_with_the_broker() {
    let stage = Stage::new().await;
    let mut one = stage.guest().await;
    assert_eq!(one.asks("nonsense").await, "", "the dialog broke");
    // A peer that closes its side gets the answers that it waits for.
    let mut two = stage.guest().await;
    two.say("pub 1 topic:a x").await;
    two.lines.get_mut().shutdown().await.expect("closed");
    assert_eq!([two.line().await, two.line().await], ["pub 1 ok", ""]);
    let mut three = stage.guest().await;
    stage.switch.send_replace(true);
    assert_eq!([three.line().await, three.line().await], ["bye broker is shutting down", ""]);
}
