//! Clients that could block themselves: one that writes a lot before it reads, and one that publishes more than fits
//! into memory on the connection that it consumes with. Both must succeed. Publishing may wait; deliveries,
//! acknowledgements and keep-alive must not wait for it.

use crate::broker::{Broker, scaled};
use crate::wire::amqp::{self, Amqp};
use crate::wire::mqtt::{self, Connect, Mqtt};
use crate::wire::stomp::{self, Stomp};
use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Bytes of one message.
const BODY: usize = 64 << 10;
/// Messages: a hundred megabytes in total.
const MANY: usize = 1600;
/// Messages: 64 MiB in total.
const UNREAD: usize = 1024;
/// Publishes that the MQTT client of these tests has unacknowledged at most.
const WINDOW: usize = 20;
/// Time limit of a whole test, for slow machines.
const TIME: Duration = Duration::from_secs(120);

fn under_alarm() -> Broker {
    Broker::with(&["--set", "memory.high=32MiB"])
}

/// A body that contains its number.
fn body(number: usize) -> Vec<u8> {
    let mut body = vec![b'.'; BODY];
    let digits = format!("{number:08}");
    body[..8].copy_from_slice(digits.as_bytes());
    body
}

fn number_of(body: &[u8]) -> usize {
    assert_eq!(body.len(), BODY);
    std::str::from_utf8(&body[..8]).expect("digits").parse().expect("digits")
}

/// A writer shared by several threads, each of which writes whole frames.
type Pen = Arc<Mutex<TcpStream>>;

fn write(pen: &Pen, frames: &[u8]) {
    pen.lock().expect("no writer panicked").write_all(frames).expect("the broker reads in the end");
}

#[test]
fn amqp_publishes_more_than_fits_and_consumes_it() {
    let (broker, count) = (under_alarm(), scaled(MANY));
    let mut client = Amqp::connect(broker.amqp);
    client.queue("work", true);
    client.prefetch(1);
    client.confirm_select();
    client.consume("work", false);
    let pen: Pen = Arc::new(Mutex::new(client.socket.writer()));
    let publisher = {
        let pen = pen.clone();
        std::thread::spawn(move || {
            for number in 0..count {
                let properties = amqp::Properties::persistent();
                write(&pen, &amqp::publish("", "work", &properties, &body(number)));
            }
        })
    };
    for number in 0..count {
        let delivery = client.receive();
        assert_eq!(number_of(&delivery.body), number);
        write(&pen, &amqp::ack(delivery.tag));
    }
    publisher.join().expect("all was written");
    client.count_published(count as u64);
    client.wait_confirms();
}

#[test]
fn mqtt_publishes_more_than_fits_and_consumes_it() {
    let (broker, count) = (under_alarm(), scaled(MANY));
    let options = Connect { receive_maximum: Some(1), ..Connect::v5("worker") };
    let mut client = Mqtt::connect(broker.mqtt, &options);
    client.subscribe("work", 1);
    let pen: Pen = Arc::new(Mutex::new(client.socket.writer()));
    let acked = Arc::new(AtomicUsize::new(0));
    let publisher = {
        let (pen, acked) = (pen.clone(), acked.clone());
        std::thread::spawn(move || {
            let none = mqtt::Properties::default();
            let until = Instant::now() + TIME;
            for number in 0..count {
                while number >= acked.load(Ordering::Relaxed) + WINDOW {
                    assert!(
                        Instant::now() < until,
                        "publish {number} was not acknowledged in time"
                    );
                    std::thread::sleep(Duration::from_micros(200));
                }
                let id = (number % 60_000) as u16 + 1;
                write(&pen, &mqtt::publish(5, "work", &body(number), (1, id), &none));
            }
        })
    };
    let until = Instant::now() + TIME;
    let (mut received, mut confirmed) = (0, 0);
    while received < count || confirmed < count {
        let step = Instant::now() + Duration::from_millis(5);
        if let Some(message) = client.peek_message(step) {
            assert_eq!(number_of(&message.body), received);
            received += 1;
            write(&pen, &mqtt::packet(0x40, &message.id.to_be_bytes()));
        }
        while client.puback(Instant::now()).is_some() {
            confirmed += 1;
        }
        acked.store(confirmed, Ordering::Relaxed);
        assert!(Instant::now() < until, "{received} received, {confirmed} confirmed of {count}");
    }
    publisher.join().expect("all was written");
}

#[test]
fn stomp_publishes_more_than_fits_and_consumes_it() {
    let (broker, count) = (under_alarm(), scaled(MANY));
    let mut client = Stomp::connect(broker.stomp);
    let prefetch = [("prefetch-count", "1")];
    client.subscribe("1", "/queue/work", "client-individual", &prefetch);
    let pen: Pen = Arc::new(Mutex::new(client.socket.writer()));
    let publisher = {
        let pen = pen.clone();
        std::thread::spawn(move || {
            let headers = [("destination", "/queue/work"), ("persistent", "true")];
            for number in 0..count {
                write(&pen, &stomp::frame("SEND", &headers, &body(number)));
            }
        })
    };
    for number in 0..count {
        let message = client.receive();
        assert_eq!(number_of(&message.body), number);
        let id = message.header("ack").expect("a header to acknowledge by");
        write(&pen, &stomp::frame("ACK", &[("id", id)], b""));
    }
    publisher.join().expect("all was written");
}

#[test]
fn amqp_writes_long_before_it_reads() {
    let (broker, count) = (Broker::start(), scaled(UNREAD));
    let mut client = Amqp::connect(broker.amqp);
    client.queue("unread", true);
    client.confirm_select();
    client.consume("unread", true);
    for number in 0..count {
        client.publish("", "unread", &amqp::Properties::default(), &body(number));
    }
    for number in 0..count {
        assert_eq!(number_of(&client.receive().body), number);
    }
    client.wait_confirms();
}

#[test]
fn mqtt_writes_long_before_it_reads() {
    let (broker, count) = (Broker::start(), scaled(UNREAD));
    let mut client = Mqtt::connect(broker.mqtt, &Connect::v311("unread"));
    client.subscribe("unread", 1);
    for number in 0..count {
        let id = client.id();
        let none = mqtt::Properties::default();
        client.socket.send(&mqtt::publish(4, "unread", &body(number), (1, id), &none));
    }
    for number in 0..count {
        assert_eq!(number_of(&client.receive().body), number);
    }
    let until = Instant::now() + TIME;
    for _ in 0..count {
        assert!(client.puback(until).is_some());
    }
}

#[test]
fn stomp_writes_long_before_it_reads() {
    let (broker, count) = (Broker::start(), scaled(UNREAD));
    let mut client = Stomp::connect(broker.stomp);
    client.subscribe("1", "/queue/unread", "auto", &[]);
    for number in 0..count {
        let send = stomp::frame("SEND", &[("destination", "/queue/unread")], &body(number));
        client.socket.send(&send);
    }
    for number in 0..count {
        assert_eq!(number_of(&client.receive().body), number);
    }
}

#[test]
fn consumers_go_on_while_publishers_are_held_back() {
    let (broker, count) = (under_alarm(), scaled(MANY / 2));
    let mut filler = Amqp::connect(broker.amqp);
    filler.queue("full", true);
    filler.confirm_select();
    let publisher = std::thread::spawn(move || {
        for number in 0..count {
            filler.publish("", "full", &amqp::Properties::persistent(), &body(number));
        }
        filler.wait_confirms();
    });
    let mut consumer = Amqp::connect(broker.amqp);
    consumer.prefetch(10);
    consumer.consume("full", false);
    for number in 0..count {
        let delivery = consumer.receive();
        assert_eq!(number_of(&delivery.body), number);
        consumer.ack(&delivery);
    }
    publisher.join().expect("all is confirmed");
}
