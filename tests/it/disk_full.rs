//! A file system that fills up: publishers of all protocols are held back before it is full, consumers continue, and
//! publishers continue when disk space is free again.

use crate::crash::amqp::{ACK, Address, BLOCKED, Confirms, DELIVER, Link, Out, UNBLOCKED};
use crate::crash::mqtt::{Connect, Mqtt, PUBACK, Packet};
use crate::crash::node::{Node, Process, Ready};
use crate::crash::stomp::Stomp;
use crate::crash::wire::{Step, Stop, rest, wait, wrong};
use std::collections::BTreeSet;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const TX_SELECT: (u16, u16) = (90, 10);
const TX_SELECT_OK: (u16, u16) = (90, 11);
const TX_COMMIT: (u16, u16) = (90, 20);
const TX_COMMIT_OK: (u16, u16) = (90, 21);
const QUEUE: &str = "fill";
const BODY: usize = 16 << 10;
const CYCLES: usize = 5;
/// Publishes without a confirm that the filler has at most.
const WINDOW: usize = 8;
/// A publisher without a confirm for this long counts as held back.
const HELD: Duration = Duration::from_secs(1);
/// Longest time to fill the disk.
const FILL_TIME: Duration = Duration::from_secs(60);
/// After the queue was drained, publishing continues within this time.
const RESUME_TIME: Duration = Duration::from_secs(5);
/// Marks for a small disk: two segments fit between the alarm and a full disk.
const OPTIONS: [&str; 6] = [
    "--set",
    "store.segment_bytes=4MiB",
    "--set",
    "store.disk_free_alarm=16MiB",
    "--set",
    "store.disk_free_hard=8MiB",
];

/// A command that mounts a small file system in its own namespace and then becomes the broker. None: not permitted.
pub fn mounted(data: &str, size: &str) -> Option<Vec<String>> {
    let mount = format!("mount -t tmpfs -o size={size} none '{data}' && exec \"$@\"");
    [&["-m"][..], &["-r", "-m"]].into_iter().find_map(|namespace| {
        let mut command = vec!["unshare".to_owned()];
        command.extend(namespace.iter().map(|word| (*word).to_owned()));
        command.extend(["sh", "-c", &mount, "sh"].map(str::to_owned));
        let mut probe = Command::new(&command[0]);
        probe.args(&command[1..]).arg("true").stdout(Stdio::null()).stderr(Stdio::null());
        probe.status().is_ok_and(|status| status.success()).then_some(command)
    })
}

/// The publisher that fills the disk.
struct Filler {
    link: Link,
    confirms: Confirms<u32>,
    next: u32,
    confirmed: BTreeSet<u32>,
    blocked: bool,
    last: Instant,
}

impl Filler {
    fn turn(&mut self) -> Step<()> {
        while self.confirms.open() < WINDOW {
            let mut body = vec![b'.'; BODY];
            body[..4].copy_from_slice(&self.next.to_be_bytes());
            self.link.publish(1, &Address { key: QUEUE, ..Address::default() }, &body);
            self.confirms.published(self.next);
            self.next += 1;
        }
        self.link.wire.pump()?;
        while let Some(event) = self.link.next()? {
            match event.method {
                ACK => {
                    self.confirmed.extend(self.confirms.answered(event.answer())?);
                    self.last = Instant::now();
                }
                BLOCKED => self.blocked = true,
                UNBLOCKED => self.blocked = false,
                other => return wrong(format!("the filler got {other:?}")),
            }
        }
        Ok(())
    }

    /// Publishes until confirms stop coming.
    fn fill(&mut self) -> Step<()> {
        let until = Instant::now() + FILL_TIME;
        self.last = Instant::now();
        while self.last.elapsed() < HELD {
            if Instant::now() > until {
                return wrong("publishers were not held back although the disk must be full");
            }
            self.turn()?;
            rest();
        }
        Ok(())
    }

    /// Publishes until a confirm comes again. Returns how long that took.
    fn resume(&mut self) -> Step<Duration> {
        let (start, before) = (Instant::now(), self.confirmed.len());
        while self.confirmed.len() == before {
            if start.elapsed() > RESUME_TIME {
                return wrong("publishing does not continue although the queue is empty");
            }
            self.turn()?;
            rest();
        }
        Ok(start.elapsed())
    }
}

/// Whether `look` returns true within the time.
fn comes(time: Duration, mut look: impl FnMut() -> Step<bool>) -> Step<bool> {
    let start = Instant::now();
    while start.elapsed() < time {
        if look()? {
            return Ok(true);
        }
        rest();
    }
    Ok(false)
}

/// Consumes all messages of the queue. Returns their numbers.
fn drain(ready: &Ready) -> Step<Vec<u32>> {
    let mut link = Link::open(ready.amqp, 1)?;
    link.prefetch(1, 100)?;
    link.consume(1, QUEUE)?;
    let mut numbers = Vec::new();
    let mut last = Instant::now();
    while last.elapsed() < Duration::from_millis(300) {
        while let Some(event) = link.next()? {
            if event.method != DELIVER {
                return wrong(format!("the consumer got {:?}", event.method));
            }
            let delivery = event.delivery();
            numbers.extend(delivery.body.first_chunk().map(|bytes| u32::from_be_bytes(*bytes)));
            link.ack(1, delivery.tag, false);
            last = Instant::now();
        }
        link.wire.pump()?;
        rest();
    }
    Ok(numbers)
}

/// Publishers of the other protocols, and two that publish in transactions: they are held back, then continue.
struct Others {
    mqtt: Mqtt,
    stomp: Stomp,
    stomp_tx: Stomp,
    amqp_tx: Link,
}

impl Others {
    fn connect(ready: &Ready) -> Step<Self> {
        let connect = |client, lasting| {
            let options = Connect { client, level: 4, lasting, receive_maximum: None, will: None };
            Mqtt::connect(ready.mqtt, &options)
        };
        // A session without a connection, for which the message has to be stored.
        let mut sleeper = connect("sleeper", true)?;
        sleeper.subscribe("fill/#", 1)?;
        sleeper.disconnect()?;
        let mut amqp_tx = Link::open(ready.amqp, 1)?;
        amqp_tx.call(1, Out::method(TX_SELECT), TX_SELECT_OK)?;
        Ok(Self {
            mqtt: connect("publisher", false)?,
            stomp: Stomp::connect(ready.stomp)?,
            stomp_tx: Stomp::connect(ready.stomp)?,
            amqp_tx,
        })
    }

    fn publish(&mut self) {
        self.mqtt.publish(2, "fill/x", 1, b"x");
        let headers =
            [("destination", "/queue/fill.stomp"), ("persistent", "true"), ("receipt", "r")];
        self.stomp.send("SEND", &headers, b"x");
        let name = ("transaction", "t");
        self.stomp_tx.send("BEGIN", &[name], b"");
        self.stomp_tx.send("SEND", &[headers[0], headers[1], name], b"x");
        self.stomp_tx.send("COMMIT", &[name, headers[2]], b"");
        self.amqp_tx.publish(1, &Address { key: "fill.tx", ..Address::default() }, b"x");
        self.amqp_tx.wire.put(&Out::method(TX_COMMIT).frame(1));
    }

    fn any(&mut self) -> Step<bool> {
        Ok(self.puback()?
            || receipt(&mut self.stomp)?
            || receipt(&mut self.stomp_tx)?
            || self.commit_ok()?)
    }

    fn commit_ok(&mut self) -> Step<bool> {
        while let Some(event) = self.amqp_tx.next()? {
            match event.method {
                TX_COMMIT_OK => return Ok(true),
                BLOCKED | UNBLOCKED => {}
                other => return wrong(format!("{other:?}")),
            }
        }
        self.amqp_tx.wire.pump()?;
        Ok(false)
    }

    fn puback(&mut self) -> Step<bool> {
        match self.mqtt.next()? {
            Some(Packet::Answer(PUBACK, 1, _)) => Ok(true),
            Some(packet) => wrong(format!("{packet:?}")),
            None => Ok(false),
        }
    }
}

fn receipt(stomp: &mut Stomp) -> Step<bool> {
    match stomp.next()? {
        Some(frame) if frame.command == "RECEIPT" => Ok(true),
        Some(frame) => wrong(format!("{frame:?}")),
        None => Ok(false),
    }
}

/// Fills the disk, checks that everyone is held back, drains the queue, checks that everyone continues.
fn cycle(ready: &Ready, filler: &mut Filler, lost: &mut BTreeSet<u32>) -> Step<Duration> {
    filler.fill()?;
    if !comes(HELD, || filler.turn().map(|()| filler.blocked))? {
        return wrong("publishers are held back, and connection.blocked was not sent");
    }
    // Connected while the disk is full: login and subscriptions work.
    let mut others = Others::connect(ready)?;
    others.publish();
    if comes(HELD, || others.any())? {
        return wrong("MQTT, STOMP or a transaction is acknowledged while the disk is full");
    }
    let before = filler.confirmed.clone();
    let got = drain(ready)?;
    if !got.is_sorted() {
        return wrong("out of order");
    }
    lost.extend(&before);
    lost.retain(|number| got.binary_search(number).is_err());
    // Publishers that were held back continue while the queue is drained, or after that.
    let took = filler.resume()?;
    wait("connection.unblocked", || filler.turn().map(|()| (!filler.blocked).then_some(())))?;
    wait("PUBACK", || Ok(others.puback()?.then_some(())))?;
    wait("RECEIPT", || Ok(receipt(&mut others.stomp)?.then_some(())))?;
    wait("RECEIPT of COMMIT", || Ok(receipt(&mut others.stomp_tx)?.then_some(())))?;
    wait("tx.commit-ok", || Ok(others.commit_ok()?.then_some(())))?;
    // Confirmed messages that were not delivered yet are checked in the next cycle.
    filler.confirmed.retain(|number| !got.contains(number) && !before.contains(number));
    Ok(took)
}

/// Fails the test if the step failed.
fn must<T>(what: &str, node: &Node, step: Step<T>) -> T {
    step.unwrap_or_else(|stop| match stop {
        Stop::Gone => panic!("{what}: the broker has ended\n{}", node.log()),
        Stop::Wrong(why) => panic!("{what}: {why}\n{}", node.log()),
    })
}

fn run(node: &Node, ready: &Ready, process: &mut Process) {
    let open = || -> Step<Link> {
        let mut link = Link::open(ready.amqp, 1)?;
        link.declare(QUEUE, 2, &[])?;
        link.confirm_select(1)?;
        Ok(link)
    };
    let link = must("a publisher", node, open());
    let (confirms, confirmed) = (Confirms::new(), BTreeSet::new());
    let mut filler =
        Filler { link, confirms, next: 0, confirmed, blocked: false, last: Instant::now() };
    for number in 0..CYCLES {
        let mut lost = BTreeSet::new();
        let took = must(&format!("cycle {number}"), node, cycle(ready, &mut filler, &mut lost));
        println!(
            "cycle {number}: {} published in all, resumed after {} ms",
            filler.next,
            took.as_millis()
        );
        assert!(lost.is_empty(), "cycle {number}: confirmed and not delivered: {lost:?}");
        assert_eq!(process.ended(), None, "{}", node.log());
        let log = node.log();
        assert!(!log.contains("os error 28") && !log.contains("No space left"), "{log}");
    }
}

#[test]
fn a_disk_that_fills_up_holds_back_publishers_and_nobody_else() {
    let node = Node::new(&OPTIONS);
    let data = node.data_dir();
    std::fs::create_dir_all(&data).expect("writable");
    let Some(command) = mounted(&data.to_string_lossy(), "64m") else {
        println!(
            "skipped: a file system cannot be mounted here, not even in a namespace of its own"
        );
        return;
    };
    let words: Vec<&str> = command.iter().map(String::as_str).collect();
    let mut process = node.spawn_under(&words);
    let ready = process.ready().unwrap_or_else(|| panic!("it did not start: {}", node.log()));
    run(&node, &ready, &mut process);
}
