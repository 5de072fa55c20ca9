//! The loop, on a session of a real broker and a pipe in memory.

use super::*;
use bytes::BytesMut;
use crossdock_core::memory::MemoryStore;
use crossdock_core::{
    Address, Broker, Drain, Fields, Formats, Identity, LoopbackGuest, Message, Meta, Origin,
    Publish, SessionSpec, Settings, Setup,
};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex, split};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

const SECOND: Duration = Duration::from_secs(1);
const DIALECT: Dialect = Dialect { protocol: "test", heartbeat: b"!", pings: None };

struct Scene {
    line: Line,
    session: Session,
    events: Events,
    peer: DuplexStream,
    stop: watch::Sender<bool>,
}

impl Scene {
    /// A line to a peer that has logged in, with a pipe of that many bytes.
    async fn new(pipe: usize, keep_alive: KeepAlive) -> Self {
        let setup = Setup {
            settings: Settings::default(),
            formats: Formats::new(Vec::new()),
            topology: Vec::new(),
            store: Arc::new(MemoryStore::default()),
            authenticator: Arc::new(LoopbackGuest),
            users: Vec::new(),
        };
        let broker = Broker::open(setup).await.expect("opens");
        let session = broker
            .session(SessionSpec::anonymous("/", Origin::default(), Identity::unlimited("guest")))
            .await;
        let (mut line, peer, stop) = line(pipe);
        line.agreed(keep_alive);
        let session = session.expect("a session");
        Self { line, session, events: Events::default(), peer, stop }
    }

    async fn next(&mut self) -> Result<Ready, Lost> {
        self.line.next(&mut self.session, &mut self.events, true).await
    }

    /// Makes an event: the confirm of a publish that nothing is bound for.
    fn publish(&mut self) {
        let meta = Meta::new(self.session.origin().clone(), self.session.broker().now());
        let body = bytes::Bytes::from_static(b"x");
        let message = Message::from_fields(Address::queue("none"), meta, &Fields::default(), body);
        let lane = self.session.lane();
        self.session.publish(lane, Publish::new(message, true));
        self.session.flush();
    }
}

/// A line to a peer that has ten seconds to log in.
fn line(pipe: usize) -> (Line, DuplexStream, watch::Sender<bool>) {
    line_since(pipe, Instant::now())
}

/// The same, of a peer that connected at that time.
fn line_since(pipe: usize, since: Instant) -> (Line, DuplexStream, watch::Sender<bool>) {
    let (peer, far) = duplex(pipe);
    let (reader, writer) = split(far);
    let (stop, drain) = Drain::channel();
    let accepted = Accepted {
        reader: Box::new(reader),
        writer: Box::new(writer),
        head: BytesMut::new(),
        peer: "test".into(),
        loopback: true,
        secure: false,
        certificate: None,
        since,
        listener: "test".into(),
        drain,
    };
    let (line, _) = Line::new(&DIALECT, accepted, SECOND * 10, SECOND * 15);
    (line, peer, stop)
}

fn alive(silence: Option<u32>, beat: Option<u32>) -> KeepAlive {
    let seconds = |n| SECOND * n;
    KeepAlive { silence: silence.map(seconds), beat: beat.map(seconds) }
}

#[tokio::test(start_paused = true)]
async fn the_side_that_was_taken_last_is_asked_last() {
    let mut scene = Scene::new(64, KeepAlive::default()).await;
    let mut taken = Vec::new();
    for _ in 0..6 {
        scene.peer.write_all(b"x").await.unwrap();
        scene.publish();
        taken.push(scene.next().await.unwrap());
    }
    assert_eq!(taken, [Ready::Events, Ready::Bytes].repeat(3));
}

#[tokio::test(start_paused = true)]
async fn the_time_to_log_in_counts_from_the_connect() {
    let since = Instant::now();
    sleep(SECOND * 7).await;
    let (mut line, _peer, _stop) = line_since(64, since);
    assert!(matches!(line.more().await, Err(Lost::LoginTooLong)));
    assert_eq!(since.elapsed().as_secs(), 10);
}

#[tokio::test(start_paused = true)]
async fn silence_ends_a_line_unless_something_lies_unread() {
    let mut scene = Scene::new(64, alive(Some(2), None)).await;
    scene.peer.write_all(b"x").await.unwrap();
    // Nobody reads for a long time, and then the deadline is looked at first.
    sleep(SECOND * 10).await;
    assert_eq!(scene.next().await.unwrap(), Ready::Bytes);
    let started = Instant::now();
    assert!(matches!(scene.next().await, Err(Lost::Silent)));
    assert_eq!(started.elapsed(), SECOND * 2);
}

#[tokio::test(start_paused = true)]
async fn heartbeats_and_output_go_out_while_a_verb_waits() {
    let mut scene = Scene::new(64, alive(Some(2), Some(1))).await;
    scene.line.output.tail().extend_from_slice(b"output");
    scene.line.while_waiting(sleep(Duration::from_millis(3500))).await;
    let mut got = [0; 9];
    scene.peer.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"output!!!");
    // The peer had no chance to be heard; from now on it has.
    let started = Instant::now();
    assert!(matches!(scene.next().await, Err(Lost::Silent)));
    assert_eq!(started.elapsed(), SECOND * 2);
}

#[tokio::test(start_paused = true)]
async fn what_ends_a_line_while_a_verb_waits_is_found_after_it() {
    let mut scene = Scene::new(4, KeepAlive::default()).await;
    scene.line.output.tail().extend_from_slice(b"more than the pipe holds");
    let done = scene.line.while_waiting(async {
        sleep(SECOND * 20).await;
        "done"
    });
    assert_eq!(done.await, "done");
    assert!(matches!(scene.next().await, Err(Lost::NotReading)));

    let mut scene = Scene::new(4, KeepAlive::default()).await;
    drop(scene.peer);
    scene.line.output.tail().extend_from_slice(b"into nothing");
    scene.line.while_waiting(sleep(SECOND)).await;
    let next = scene.line.next(&mut scene.session, &mut scene.events, true).await;
    assert!(matches!(next, Err(Lost::Broken(_))));
}

#[tokio::test(start_paused = true)]
async fn a_retry_that_is_due_while_a_verb_waits_comes_later() {
    let mut scene = Scene::new(64, KeepAlive::default()).await;
    scene.line.retry_later();
    scene.line.while_waiting(sleep(SECOND * 5)).await;
    let started = Instant::now();
    assert_eq!(scene.next().await.unwrap(), Ready::Retry);
    assert!(started.elapsed() <= SECOND);
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_stream_is_not_the_end_of_the_line() {
    let mut scene = Scene::new(64, alive(Some(2), None)).await;
    scene.peer.shutdown().await.unwrap();
    assert_eq!(scene.next().await.unwrap(), Ready::EndOfStream);
    assert!(scene.line.is_ended());
    scene.publish();
    scene.line.output.tail().extend_from_slice(b"answer");
    assert_eq!(scene.next().await.unwrap(), Ready::Events);
    let mut got = [0; 6];
    scene.peer.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"answer");
    // It is not silence, and it has a limit.
    let started = Instant::now();
    let lost = loop {
        match scene.next().await {
            // They may be without content.
            Ok(ready) => assert_eq!(ready, Ready::Events),
            Err(lost) => break lost,
        }
    };
    assert!(matches!(lost, Lost::NotAnswered));
    assert_eq!(started.elapsed(), ANSWER_TIME);
}

#[tokio::test(start_paused = true)]
async fn input_that_cannot_be_taken_hides_neither_heartbeats_nor_the_end() {
    let mut scene = Scene::new(64, alive(Some(2), None)).await;
    let started = Instant::now();
    for _ in 0..3 {
        scene.peer.write_all(b"beat").await.unwrap();
        let next = scene.line.next(&mut scene.session, &mut scene.events, false);
        assert!(timeout(SECOND, next).await.is_err(), "nothing is taken, and nobody is silent");
    }
    let next = scene.line.next(&mut scene.session, &mut scene.events, false).await;
    assert!(matches!(next, Err(Lost::Silent)));
    assert!(started.elapsed() >= SECOND * 4);

    let mut scene = Scene::new(64, KeepAlive::default()).await;
    scene.peer.write_all(b"frame").await.unwrap();
    scene.peer.shutdown().await.unwrap();
    let next = scene.line.next(&mut scene.session, &mut scene.events, false);
    assert!(timeout(SECOND, next).await.is_err());
    assert!(!scene.line.is_ended(), "the adapter has not seen all of it");
    assert_eq!(scene.next().await.unwrap(), Ready::Bytes);
    assert_eq!(&scene.line.input.buffer()[..], b"frame");
    assert_eq!(scene.next().await.unwrap(), Ready::EndOfStream);
    assert!(scene.line.is_ended());

    let mut scene = Scene::new(64, KeepAlive::default()).await;
    scene.peer.write_all(b"frame").await.unwrap();
    drop(scene.peer);
    let next = scene.line.next(&mut scene.session, &mut scene.events, false).await;
    assert!(matches!(next, Err(Lost::NotAnswered)), "not longer than the answers have");
}

#[tokio::test(start_paused = true)]
async fn a_login_has_its_time_and_the_drain_ends_it() {
    let (mut new, mut peer, _stop) = line(64);
    peer.write_all(b"x").await.unwrap();
    assert!(new.more().await.is_ok());
    assert!(matches!(new.more().await, Err(Lost::LoginTooLong)));
    let (mut new, _peer, stop) = line(64);
    stop.send(true).unwrap();
    assert!(matches!(new.more().await, Err(Lost::StoppedInLogin)));
    let (mut new, peer, _stop) = line(64);
    drop(peer);
    assert!(matches!(new.more().await, Err(Lost::ClosedInLogin)));
}

/// The verification of a password takes none of the peer's time, and ends with a peer that goes away.
#[tokio::test(start_paused = true)]
async fn a_login_that_is_verified() {
    let (mut new, mut peer, _stop) = line(64);
    let verified = async {
        sleep(SECOND * 60).await;
        "right"
    };
    peer.write_all(b"what comes behind the login").await.unwrap();
    assert!(matches!(new.while_verified(verified).await, Ok("right")));
    assert!(new.more().await.is_err(), "the peer's own time goes on");
    assert_eq!(&new.input.buffer()[..4], b"what");

    let (mut new, peer, _stop) = line(64);
    drop(peer);
    let started = Instant::now();
    let verified = sleep(SECOND * 60);
    assert!(matches!(new.while_verified(verified).await, Err(Lost::ClosedInLogin)));
    assert_eq!(started.elapsed(), Duration::ZERO);

    // Somebody who sends everything at once and closes the sending side is served.
    let (mut new, mut peer, _stop) = line(64);
    peer.write_all(b"publish").await.unwrap();
    drop(peer);
    assert!(new.while_verified(sleep(SECOND * 60)).await.is_ok());
    assert_eq!(&new.input.buffer()[..], b"publish");
}

#[tokio::test(start_paused = true)]
async fn the_drain_is_said_once() {
    let mut scene = Scene::new(64, KeepAlive::default()).await;
    scene.stop.send(true).unwrap();
    assert_eq!(scene.next().await.unwrap(), Ready::Stopping);
    scene.publish();
    assert_eq!(scene.next().await.unwrap(), Ready::Events);
}

#[tokio::test(start_paused = true)]
async fn a_farewell_discards_what_still_comes() {
    let mut scene = Scene::new(64, KeepAlive::default()).await;
    scene.line.output.tail().extend_from_slice(b"bye");
    let farewell = tokio::spawn(scene.line.farewell(SECOND * 5));
    // More than the pipe holds: it is read although nobody wants it.
    scene.peer.write_all(&[0; 1000]).await.unwrap();
    let mut got = Vec::new();
    scene.peer.read_to_end(&mut got).await.unwrap();
    assert_eq!(got, b"bye");
    drop(scene.peer);
    farewell.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_turn_has_so_many_frames_and_so_much_output() {
    let mut scene = Scene::new(64, KeepAlive::default()).await;
    scene.peer.write_all(b"xyz").await.unwrap();
    assert_eq!(scene.next().await.unwrap(), Ready::Bytes);
    let frames = (0..1_000_000).take_while(|_| scene.line.goes_on()).count();
    assert_eq!(frames, 4096);
    // What was left is told of again.
    assert_eq!(scene.next().await.unwrap(), Ready::Bytes);
    assert!(scene.line.goes_on());
    scene.line.output.tail().extend_from_slice(&vec![b'o'; OUT_MAX + 1000]);
    assert!(!scene.line.goes_on());
    assert!(timeout(SECOND, scene.next()).await.is_err(), "the peer has to read first");
    let mut got = vec![0; 1000];
    let reads = tokio::spawn(async move {
        let mut peer = scene.peer;
        peer.read_exact(&mut got).await.unwrap();
        peer
    });
    let next = scene.line.next(&mut scene.session, &mut scene.events, true).await;
    assert_eq!(next.unwrap(), Ready::Bytes);
    reads.await.unwrap();
}

#[tokio::test]
async fn verbs_that_wait_for_nothing_let_others_have_their_turn() {
    let mut scene = Scene::new(64, KeepAlive::default()).await;
    let other = tokio::spawn(async {});
    for _ in 0..10 {
        scene.line.while_waiting(async { std::thread::sleep(Duration::from_millis(1)) }).await;
    }
    assert!(other.is_finished());
}
