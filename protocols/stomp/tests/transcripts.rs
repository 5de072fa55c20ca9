//! Conversations with a real broker on a store in memory: each `tests/*.txt` is one.
//!
//! A line is `<who> C: text` for what a client sends and `<who> S: text` for what it has to receive next; `<who>` may
//! be left out, and connects to the listener behind its `@`, if it has one. `^@` at the end of a line ends a frame,
//! `^M` is a carriage return. In an expected header value, `<name>` takes any text and remembers it, `<>` takes any
//! text; in what is sent, `{name}` is what was remembered. An expected line `...` allows more headers than are listed;
//! their order is free. `(end)` expects the end of the connection, `(close)` closes it, `(nothing)` expects that no
//! frame comes.

use bytes::BytesMut;
use crossdock_core::memory::MemoryStore;
use crossdock_core::{Accepted, Broker, Drain, Formats, LoopbackGuest, Protocol, Settings, Setup};
use crossdock_net::Live;
use crossdock_stomp::{Door, NackDefault, Options, Speech, Stomp, TimeUnit};
use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex, split};
use tokio::sync::watch;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(5);
const QUIET: Duration = Duration::from_millis(100);

#[derive(Debug)]
struct Frame {
    command: String,
    headers: Vec<(String, String)>,
    body: String,
}

#[derive(Debug)]
enum Step {
    Send(String),
    Expect(Frame, bool),
    End,
    Close,
    Nothing,
}

/// Steps with their line and who takes them.
fn parse(text: &str) -> Vec<(usize, String, Step)> {
    let mut steps = Vec::new();
    let mut pending: Option<(usize, String, char, Vec<String>)> = None;
    for (index, line) in text.lines().enumerate() {
        if pending.is_none() && (line.trim().is_empty() || line.starts_with('#')) {
            continue;
        }
        let (who, side, rest) = speaker(line).unwrap_or_else(|| panic!("line {}", index + 1));
        let special = match (side, rest) {
            ('S', "(end)") => Some(Step::End),
            ('S', "(nothing)") => Some(Step::Nothing),
            ('C', "(close)") => Some(Step::Close),
            _ => None,
        };
        if let Some(step) = special {
            steps.push((index + 1, who.to_owned(), step));
            continue;
        }
        let (at, speaker, kind, lines) =
            pending.get_or_insert_with(|| (index + 1, who.to_owned(), side, Vec::new()));
        assert!(*speaker == who && *kind == side, "line {}: a frame is not finished", index + 1);
        match rest.strip_suffix("^@") {
            None => lines.push(rest.to_owned()),
            Some(last) => {
                lines.push(last.to_owned());
                let step = match side {
                    'C' => Step::Send(lines.join("\n").replace("^M", "\r")),
                    _ => expected(lines),
                };
                steps.push((*at, who.to_owned(), step));
                pending = None;
            }
        }
    }
    assert!(pending.is_none(), "the last frame is not finished");
    steps
}

fn speaker(line: &str) -> Option<(&str, char, &str)> {
    for (mark, side) in [("C:", 'C'), ("S:", 'S')] {
        if let Some((who, rest)) = line.split_once(mark)
            && (who.is_empty() || who.ends_with(' ') && !who.trim().contains([' ', ':']))
        {
            return Some((who.trim(), side, rest.strip_prefix(' ').unwrap_or(rest)));
        }
    }
    None
}

fn expected(lines: &[String]) -> Step {
    let blank = lines.iter().position(String::is_empty).expect("a blank line ends the headers");
    let (head, body) = (&lines[1..blank], &lines[blank + 1..]);
    let more = head.iter().any(|line| line == "...");
    let headers = head.iter().filter(|line| *line != "...").map(|line| pair(line)).collect();
    let frame = Frame { command: lines[0].clone(), headers, body: body.join("\n") };
    Step::Expect(frame, more)
}

fn pair(line: &str) -> (String, String) {
    let (name, value) = line.split_once(':').expect("a header has a colon");
    (name.to_owned(), value.to_owned())
}

struct Client {
    stream: DuplexStream,
    input: Vec<u8>,
}

impl Client {
    fn connect(broker: &Broker, drain: &Drain, listener: &str) -> Client {
        let (near, far) = duplex(64 << 10);
        let (reader, writer) = split(far);
        let accepted = Accepted {
            reader: Box::new(reader),
            writer: Box::new(writer),
            head: BytesMut::new(),
            peer: "test".into(),
            loopback: true,
            secure: false,
            certificate: None,
            since: tokio::time::Instant::now(),
            listener: listener.into(),
            drain: drain.clone(),
        };
        let broker = broker.clone();
        tokio::spawn(async move {
            // How it ends is what the transcript looks at.
            let _ = stomp().serve(accepted, broker).await;
        });
        Client { stream: near, input: Vec::new() }
    }

    /// The next frame; none at the end.
    async fn frame(&mut self) -> Option<Frame> {
        loop {
            while self.input.first() == Some(&b'\n') {
                self.input.remove(0);
            }
            if let Some(frame) = self.take() {
                return Some(frame);
            }
            if self.stream.read_buf(&mut self.input).await.unwrap_or(0) == 0 {
                return None;
            }
        }
    }

    fn take(&mut self) -> Option<Frame> {
        let blank = self.input.windows(2).position(|pair| pair == b"\n\n")?;
        let head = String::from_utf8(self.input[..blank].to_vec()).unwrap();
        let mut lines = head.lines();
        let command = lines.next()?.to_owned();
        let headers: Vec<_> = lines.map(pair).collect();
        let body = blank + 2;
        let length = headers.iter().find(|(name, _)| name == "content-length");
        let length = match length {
            Some((_, text)) => text.parse().unwrap(),
            None => self.input[body..].iter().position(|byte| *byte == 0)?,
        };
        if self.input.len() <= body + length {
            return None;
        }
        assert_eq!(self.input[body + length], 0, "a NUL ends {command}");
        let text = String::from_utf8(self.input[body..body + length].to_vec()).unwrap();
        self.input.drain(..=body + length);
        Some(Frame { command, headers, body: text })
    }
}

/// Listeners that are set otherwise than by default.
fn stomp() -> Stomp {
    let doors = [
        (
            "activemq",
            Door {
                speech: Speech::ActiveMq,
                nack_default: NackDefault::DeadLetter,
                ..Door::default()
            },
        ),
        ("seconds", Door { timestamps: TimeUnit::Seconds, ..Door::default() }),
        ("strict", Door { strict_host: true, ..Door::default() }),
        (
            "prefixes",
            Door {
                anycast_prefixes: vec!["jms.queue.".into()],
                multicast_prefixes: vec!["jms.topic.".into()],
                ..Door::default()
            },
        ),
    ];
    let doors = doors.into_iter().map(|(name, door)| (name.into(), Arc::new(door))).collect();
    Stomp { options: Live::new(Options { doors, ..Options::default() }) }
}

type Remembered = HashMap<String, String>;

fn filled(text: &str, remembered: &Remembered) -> String {
    let mut text = text.to_owned();
    for (name, value) in remembered {
        text = text.replace(&format!("{{{name}}}"), value);
    }
    text
}

/// Compares; what is wrong, if anything.
fn check(got: &Frame, want: &Frame, more: bool, remembered: &mut Remembered) -> Option<String> {
    if got.command != want.command || got.body != filled(&want.body, remembered) {
        return Some("another frame".into());
    }
    let mut rest: Vec<&(String, String)> = got.headers.iter().collect();
    for (name, value) in &want.headers {
        let Some(at) = rest.iter().position(|(known, _)| known == name) else {
            return Some(format!("no header {name}"));
        };
        let (_, got) = rest.remove(at);
        match capture(value, got) {
            Some(Some((name, text))) => {
                remembered.insert(name, text);
            }
            Some(None) => {}
            None if *got == filled(value, remembered) => {}
            None => return Some(format!("header {name} is {got}")),
        }
    }
    (!more && !rest.is_empty()).then(|| format!("more headers: {rest:?}"))
}

/// None: the value is to be compared. Otherwise what to remember.
fn capture(pattern: &str, got: &str) -> Option<Option<(String, String)>> {
    let (before, rest) = pattern.split_once('<')?;
    let (name, after) = rest.split_once('>')?;
    let text = got.strip_prefix(before)?.strip_suffix(after)?;
    Some((!name.is_empty()).then(|| (name.to_owned(), text.to_owned())))
}

async fn broker() -> Broker {
    let stomp = Stomp::default();
    let setup = Setup {
        settings: Settings::default(),
        formats: Formats::new(stomp.formats()),
        topology: stomp.topology(),
        store: Arc::new(MemoryStore::default()),
        authenticator: Arc::new(LoopbackGuest),
        users: Vec::new(),
    };
    Broker::open(setup).await.expect("an empty store opens")
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests")
}

async fn run(name: &str) {
    let text = fs::read_to_string(folder().join(format!("{name}.txt"))).expect("a transcript");
    let broker = broker().await;
    let (_switch, drain): (watch::Sender<bool>, Drain) = Drain::channel();
    let mut clients: HashMap<String, Client> = HashMap::new();
    let mut remembered = Remembered::new();
    for (line, who, step) in parse(&text) {
        let client = clients.entry(who.clone()).or_insert_with(|| {
            let listener = who.split_once('@').map_or("stomp", |(_, listener)| listener);
            Client::connect(&broker, &drain, listener)
        });
        let place = format!("{name}.txt, line {line}");
        match step {
            Step::Send(text) => {
                let mut bytes = filled(&text, &remembered).into_bytes();
                bytes.push(0);
                client.stream.write_all(&bytes).await.unwrap_or_else(|e| panic!("{place}: {e}"));
            }
            Step::Expect(want, more) => {
                let got = timeout(PATIENCE, client.frame()).await;
                let got = got.unwrap_or_else(|_| panic!("{place}: nothing came"));
                let got = got.unwrap_or_else(|| panic!("{place}: the connection ended"));
                if let Some(why) = check(&got, &want, more, &mut remembered) {
                    panic!("{place}: {why}\nexpected {want:#?}\ngot {got:#?}");
                }
            }
            Step::End => {
                let got = timeout(PATIENCE, client.frame()).await;
                let got = got.unwrap_or_else(|_| panic!("{place}: the connection stays"));
                assert!(got.is_none(), "{place}: {got:?} instead of the end");
                clients.remove(&who);
            }
            Step::Close => {
                clients.remove(&who);
            }
            Step::Nothing => {
                if let Ok(got) = timeout(QUIET, client.frame()).await {
                    panic!("{place}: {got:?} instead of nothing");
                }
            }
        }
    }
}

/// docs/protocols/stomp.md names each transcript, and no other one.
#[test]
fn the_page_names_the_transcripts() {
    let page = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/protocols/stomp.md");
    let page = fs::read_to_string(page).expect("the page is there");
    let ends = |c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '.';
    let mut named: Vec<&str> = page.split(ends).filter(|word| word.ends_with(".txt")).collect();
    named.retain(|word| word.len() > ".txt".len());
    named.sort_unstable();
    named.dedup();
    let files = fs::read_dir(folder()).expect("the folder of the tests");
    let names = files.map(|entry| entry.expect("an entry").file_name().into_string());
    let mut there: Vec<String> = names.filter_map(Result::ok).collect();
    there.retain(|name| name.ends_with(".txt"));
    there.sort_unstable();
    assert_eq!(named, there);
}

macro_rules! transcripts {
    ($($name:ident)*) => {
        $(
            #[tokio::test]
            async fn $name() {
                run(stringify!($name)).await;
            }
        )*

        #[test]
        fn every_transcript_is_run() {
            let listed = [$(stringify!($name)),*];
            for entry in fs::read_dir(folder()).expect("the folder of the tests") {
                let path = entry.expect("an entry").path();
                if path.extension().is_some_and(|extension| extension == "txt") {
                    let name = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
                    assert!(listed.contains(&name), "{name}.txt is not in the list");
                }
            }
        }
    };
}

transcripts! {
    acknowledge
    addresses
    composite
    connect
    delays
    dialects
    durable
    durable_names
    errors
    expired
    groups
    habits
    headers
    listeners
    message_ids
    negative
    no_local
    outcomes
    prefetch
    reply
    retained
    topics
    transactions
    version_1_0
    version_1_1
}
