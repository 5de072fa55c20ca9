//! What one connection may do: every limit of `[limits]` and its tables at a value of its own, and beyond it the word
//! that the protocol has for it.

use super::house::{House, owner, password};
use super::tls::{self_signed, server_only};
use crate::broker::Folder;
use crate::wire::amqp::{self, Amqp, Out, frame as amqp_frame};
use crate::wire::mqtt::{self, Connect, Mqtt, packet};
use crate::wire::stomp::{Stomp, frame as stomp_frame};
use crate::wire::{PATIENCE, QUIET, Socket, eventually, frames};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

#[test]
fn what_an_amqp_connection_may_do() {
    let house = House::open(
        "[limits.amqp]\nframe_max = 16384\nframe_max_before_login = 4096\nchannel_max = 3\n\
         heartbeat = 7\nconsumers_per_channel = 2\n",
    );
    let address = house.broker.amqp;
    let connect = || Amqp::with_frame_max(address, 16_384);
    let mut client = connect();
    assert_eq!(client.proposed, (3, 16_384, 7));
    client.queue("q", false);
    client.socket.send(&frames::consume("q", "1"));
    client.socket.send(&frames::consume("q", "2"));
    client.socket.send(&frames::consume("q", "3"));
    let why = client.ends();
    assert!(why.starts_with("530 ") && why.contains("limits.amqp.consumers_per_channel"), "{why}");

    let why = Amqp::asking_for(address, 16_385).err().expect("more than proposed");
    assert!(why.starts_with("530 ") && why.ends_with("16385 is above the limit 16384"), "{why}");
    let mut client = connect();
    client.socket.send(&amqp_frame(1, 1, &vec![0; 16_384 - 8 + 1]));
    let why = client.ends();
    assert!(
        why.starts_with("501 ") && why.ends_with("16385 octets is over the limit 16384"),
        "{why}"
    );
    let mut client = connect();
    client.socket.send(&Out::method(20, 10).short("").frame(3));
    client.socket.send(&Out::method(20, 10).short("").frame(4));
    assert_eq!(client.any_method(), (20, 11));
    let why = client.ends();
    assert!(why.starts_with("530 ") && why.ends_with("maximum 3"), "{why}");
    let long = "x".repeat(4_096);
    let why = Amqp::log_in(Socket::connect(address), ("guest", &long)).err().expect("too long");
    assert!(why.starts_with("501 ") && why.ends_with("over the limit 4096"), "{why}");
}

/// The packets that a client gets until the connection is closed, or nothing comes any more.
fn answers(address: SocketAddr, packets: &[Vec<u8>]) -> Vec<u8> {
    let mut socket = Socket::connect(address);
    let _ = socket.try_send(&packets.concat());
    while socket.read_more(Instant::now() + QUIET) {}
    let all = socket.buffered().len();
    socket.take(all)
}

/// CONNECT of MQTT 5 with properties.
fn connect_5(client: &str, keep_alive: u16, properties: &[u8]) -> Vec<u8> {
    let mut body = b"\0\x04MQTT\x05\x02".to_vec();
    body.extend(keep_alive.to_be_bytes());
    body.push(properties.len() as u8);
    body.extend(properties);
    body.extend((client.len() as u16).to_be_bytes());
    body.extend(client.bytes());
    packet(0x10, &body)
}

fn has(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[test]
fn what_an_mqtt_connection_may_do() {
    let house = House::open(
        "[limits.mqtt]\nconnect_bytes = 512\nclient_id_bytes = 20\nreceive_maximum = 5\n\
         topic_alias_maximum = 2\nin_flight_messages = 3\nsubscriptions_per_session = 2\n\
         session_expiry_max = \"1h\"\n",
    );
    let address = house.broker.mqtt;
    // CONNACK tells: Session Expiry Interval 3,600 s instead of 7,200, Receive Maximum 5, Topic Alias Maximum 2.
    let connack = answers(address, &[connect_5("a", 0, &[0x11, 0, 0, 0x1C, 0x20])]);
    for part in [&[0x11, 0, 0, 0x0E, 0x10][..], &[0x21, 0, 5], &[0x22, 0, 2]] {
        assert!(has(&connack, part), "{part:x?} in {connack:x?}");
    }
    let connack = answers(address, &[connect_5("a", 0, &[0x11, 0, 0, 0x0E, 0x10])]);
    assert!(!has(&connack, &[0x11, 0, 0, 0x0E, 0x10]), "what it asked for is not repeated");

    let long = "x".repeat(500);
    let too_long = Connect { login: Some(("guest", &long)), ..Connect::v311("a") }.packet();
    assert_eq!(answers(address, &[too_long]), b"", "closed without CONNACK");
    let id = "x".repeat(21);
    for (level, want) in [(5, "0x85"), (4, "0x02")] {
        let options = Connect { level, ..Connect::v5(&id) };
        let why = Mqtt::log_in(Socket::connect(address), &options).err().expect("too long");
        assert!(why.starts_with(want), "{why}");
        drop(Mqtt::connect(address, &Connect { level, ..Connect::v5(&id[..20]) }));
    }

    let mut client = Mqtt::connect(address, &Connect::v5("many"));
    for id in 1..=6 {
        let publish = mqtt::publish(5, "t", b"x", (2, id), &mqtt::Properties::default());
        client.socket.send(&publish);
    }
    assert!(client.ends().starts_with("0x93"), "more than the Receive Maximum");
    let mut client = Mqtt::connect(address, &Connect::v5("alias"));
    client.socket.send(&packet(0x30, b"\0\x01t\x03\x23\0\x02x"));
    client.socket.send(&packet(0x30, b"\0\x01t\x03\x23\0\x03x"));
    assert!(client.ends().starts_with("0x94"), "more than the Topic Alias Maximum");

    for (level, want) in [(5, 0x97), (4, 0x80)] {
        let mut client = Mqtt::connect(address, &Connect { level, ..Connect::v5("filters") });
        client.subscribe("a", 1);
        client.subscribe("b", 1);
        assert_eq!(client.try_subscribe("c", 1).last(), Some(&want));
        client.subscribe("b", 0);
        client.disconnect();
    }
    assert_eq!(unacknowledged(address), 3);
}

/// How many of five messages a client gets that acknowledges none. Each has 600 bytes.
fn unacknowledged(address: SocketAddr) -> usize {
    let mut reader = Mqtt::connect(address, &Connect::v5("reader"));
    reader.subscribe("r", 1);
    let mut writer = Mqtt::connect(address, &Connect::v5("writer"));
    (0..5).for_each(|_| writer.publish("r", &[b'x'; 600], 1));
    let got = (0..5).take_while(|_| reader.peek_message(Instant::now() + QUIET).is_some()).count();
    reader.disconnect();
    got
}

/// Each reload counts for new connections.
#[test]
fn what_an_mqtt_session_may_keep() {
    let house = House::open("");
    let address = house.broker.mqtt;
    let mut before = Mqtt::connect(address, &Connect::v311("before"));
    house.reload(
        "[limits.mqtt]\nin_flight_bytes = 1000\nsession_expiry_max = \"1s\"\nshare_expires = \"1s\"\n",
    );
    assert!((1..=2).contains(&unacknowledged(address)));
    let session = Connect::persistent("kept");
    Mqtt::connect(address, &session).disconnect();
    let mut amqp = Amqp::connect(house.broker.amqp);
    let mut member = Mqtt::connect(address, &Connect::v5("member"));
    member.subscribe("$share/g/s", 1);
    let mut look = || {
        let look = Out::method(50, 10).u16(0).short("share/g/s").u8(1).table(&[]);
        amqp.ask(look, (50, 11)).is_ok()
    };
    assert!(look());
    member.disconnect();
    // To ask for a queue is a use of it: it is asked for rarely.
    let is_gone = (0..4).any(|_| {
        std::thread::sleep(Duration::from_millis(2_500));
        !look()
    });
    assert!(is_gone, "the group is gone");
    eventually("the session is gone", || {
        let client = Mqtt::connect(address, &session);
        let is_gone = !client.session_present;
        // Not cleanly: the session is what it was.
        drop(client);
        std::thread::sleep(Duration::from_millis(1_500));
        is_gone.then_some(())
    });

    house.reload("[limits.mqtt]\nkeep_alive_max = 1\n");
    for keep_alive in [0, 2] {
        let mut client = Socket::connect(address);
        let since = Instant::now();
        client.send(&connect_5("told", keep_alive, &[]));
        assert!(client.fill(20, Instant::now() + PATIENCE));
        assert!(has(client.buffered(), &[0x13, 0, 1]), "{:x?}", client.buffered());
        assert!(client.is_closed_within(PATIENCE), "it was silent for 1.5 s");
        assert!(since.elapsed() > Duration::from_secs(1));
    }
    let why = Mqtt::log_in(Socket::connect(address), &Connect::v311("untold")).err();
    assert_eq!(why.as_deref(), Some("0x02"), "it cannot be told another keep-alive");
    let log = house.broker.log();
    assert!(log.contains("limits.mqtt.keep_alive_max"), "{log}");
    before.publish("t", b"who was there goes on", 1);
}

#[test]
fn what_a_stomp_connection_may_do() {
    let house = House::open(
        "[limits.stomp]\nconnect_bytes = \"1KiB\"\nheaders_per_frame = 10\nheader_bytes = \"2KiB\"\n\
         client_id_bytes = 20\nheart_beat_min = \"2s\"\nprefetch = 3\nsubscriptions_per_connection = 2\n",
    );
    let address = house.broker.stomp;
    let login = [("accept-version", "1.2"), ("login", "guest"), ("passcode", "guest")];
    let logged_in = |more: &[(&str, &str)]| {
        let headers = [&login[..], more].concat();
        let answer = answers(address, &[stomp_frame("CONNECT", &headers, b"")]);
        String::from_utf8(answer).expect("UTF-8")
    };
    let answer = logged_in(&[("heart-beat", "1,1")]);
    assert!(
        answer.starts_with("CONNECTED\n") && answer.contains("heart-beat:2000,2000\n"),
        "{answer}"
    );
    let (id, long) = ("x".repeat(21), "x".repeat(1_024));
    let answer = logged_in(&[("client-id", &id)]);
    assert!(answer.contains("limits.stomp.client_id_bytes"), "{answer}");
    assert!(logged_in(&[("client-id", &id[..20])]).starts_with("CONNECTED\n"));
    let answer = logged_in(&[("x", &long)]);
    assert!(answer.starts_with("ERROR\n"), "{answer}");
    assert!(answer.contains("\ncrossdock-code:content_too_large\n"), "{answer}");
    assert!(answer.contains("limits.stomp.connect_bytes"), "{answer}");

    let send = |headers: &[(&str, &str)]| {
        let headers = [&[("destination", "/topic/t")], headers].concat();
        Stomp::connect(address).try_request("SEND", &headers, b"x")
    };
    let names: Vec<String> = (0..8).map(|n| format!("h{n}")).collect();
    let many: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "v")).collect();
    // Ten with destination, receipt and content-length.
    assert_eq!(send(&many[..7]), Ok(()));
    let why = "content_too_large more than 10 headers (limits.stomp.headers_per_frame)".to_owned();
    assert_eq!(send(&many), Err(why));
    let long = "x".repeat(2_048);
    let why =
        "content_too_large the headers are longer than 2048 bytes (limits.stomp.header_bytes)";
    assert_eq!(send(&[("h", &long)]), Err(why.to_owned()));

    let mut client = Stomp::connect(address);
    client.subscribe("1", "/queue/q", "client-individual", &[]);
    (0..5).for_each(|_| client.send("/queue/q", &[], b"x"));
    let got = (0..5).take_while(|_| client.receive_within(QUIET).is_some()).count();
    assert_eq!(got, 3);
    client.subscribe("2", "/topic/b", "auto", &[]);
    let headers = [("id", "3"), ("destination", "/topic/c")];
    let why = client.try_request("SUBSCRIBE", &headers, b"").expect_err("one too many");
    assert!(why.starts_with("resource_limit_exceeded "), "{why}");
}

/// Whoever does not get through its login in time is disconnected, however far it came; others are not.
#[test]
fn the_time_to_log_in() {
    let folder = Folder::new();
    let tls = server_only(&self_signed(&folder.path().join("tls")));
    let tls =
        format!("[listeners.secure]\nbind = \"127.0.0.1:0\"\nprotocols = [\"amqp\"]\n{tls}\n");
    let web =
        "[listeners.web]\nbind = \"127.0.0.1:0\"\nprotocols = [\"mqtt\"]\ntransport = \"ws\"\n";
    let text = format!("[limits]\nlogin_time = \"1s\"\n{tls}{web}");
    let house = House::open_in(folder, &text);
    let (amqp, mqtt, stomp) = (house.broker.amqp, house.broker.mqtt, house.broker.stomp);
    let (secure, web) = (house.address("secure"), house.address("web"));
    let request = "GET /mqtt HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Protocol: mqtt\r\n\r\n";
    let hello: &[u8] = &[0x16, 3, 1, 0, 0xF0, 1, 0, 0, 0xEC, 3, 3];
    let cases: [(&str, SocketAddr, &[u8]); 11] = [
        ("silent, AMQP", amqp, b""),
        ("silent, MQTT", mqtt, b""),
        ("silent, STOMP", stomp, b""),
        ("silent, TLS", secure, b""),
        ("silent, WebSocket", web, b""),
        ("a protocol header and nothing else", amqp, b"AMQP\0\0\x09\x01"),
        ("half a CONNECT, MQTT", mqtt, b"\x10\x20\0\x04MQTT"),
        ("half a CONNECT, STOMP", stomp, b"CONNECT\nlogin:guest\n"),
        ("half a ClientHello", secure, hello),
        ("half a request for a WebSocket", web, &request.as_bytes()[..40]),
        ("a WebSocket and nothing in it", web, request.as_bytes()),
    ];
    let mut good = Mqtt::connect(mqtt, &Connect::v311("good"));
    let since = Instant::now();
    let open = cases.map(|(what, address, bytes)| {
        let mut socket = Socket::connect(address);
        socket.send(bytes);
        (what, socket)
    });
    for (what, mut socket) in open {
        assert!(socket.is_closed_within(PATIENCE), "{what}");
        let time = since.elapsed().as_secs_f64();
        assert!((0.4..5.0).contains(&time), "{what}: {time} s");
    }
    good.publish("t", b"x", 1);
}

/// A client that takes nothing of what waits for it is disconnected; what it did not take is there for others.
#[test]
fn the_time_to_take_what_waits() {
    let house = House::open("[limits]\nwrite_time = \"1s\"\n");
    let mut writer = Amqp::connect(house.broker.amqp);
    let mut amqp = Amqp::connect(house.broker.amqp);
    amqp.queue("q", false);
    amqp.consume("q", false);
    let mut mqtt = Mqtt::connect(house.broker.mqtt, &Connect::v5("stuck"));
    mqtt.subscribe("t", 0);
    let mut stomp = Stomp::connect(house.broker.stomp);
    stomp.subscribe("1", "/topic/t", "auto", &[]);
    writer.confirm_select();
    let body = vec![b'x'; 1 << 20];
    for _ in 0..32 {
        writer.publish("", "q", &amqp::Properties::default(), &body);
        writer.publish("amq.topic", "t", &amqp::Properties::default(), &body);
    }
    writer.wait_confirms();
    eventually("all three are disconnected", || {
        let log = house.broker.log();
        (log.matches("the peer does not read").count() >= 3).then_some(())
    });
    eventually("what AMQP did not take is back", || (writer.ready("q") == 32).then_some(()));
}

/// The failed logins after which a user has to wait are set, and so is the wait.
#[test]
fn the_delay_after_failed_logins() {
    let auth = "[auth]\nfailures_before_delay = 2\nfailure_delay_max = \"2s\"\n";
    let house = House::open(&[auth, &owner("ann")].concat());
    let (address, password) = (house.broker.amqp, password("ann"));
    let try_with =
        |password: &str| Amqp::log_in(Socket::connect(address), ("ann", password)).is_ok();
    assert!(!try_with("wrong"));
    assert!(try_with(&password), "one failure costs nothing, and a success clears it");
    let house = House::open(&[auth, &owner("bob")].concat());
    let (address, password) = (house.broker.amqp, super::house::password("bob"));
    let try_with =
        |password: &str| Amqp::log_in(Socket::connect(address), ("bob", password)).is_ok();
    assert!(!try_with("wrong") && !try_with("wrong"));
    assert!(!try_with(&password), "it has to wait, whatever it says");
    let log = house.broker.log();
    assert!(log.contains("a login was refused"), "{log}");
    eventually("after a second it may", || try_with(&password).then_some(()));
}

/// What cannot work is refused with its key and the reason, all at once, and nothing is bound.
#[test]
fn values_that_cannot_work() {
    let folder = Folder::new();
    let file = folder.write(
        "bad.toml",
        "[limits]\nlogin_time = \"1ms\"\nwrite_time = 15\n[limits.amqp]\nframe_max = 4095\n\
         channel_max = 0\nheartbeat = -1\n[limits.mqtt]\nconnect_bytes = \"1KiB\"\nclient_id_bytes = 1024\n\
         receive_maximum = 65536\nin_flight_messages = 16385\nsession_expiry_max = \"1 week\"\n\
         [limits.stomp]\nheaders_per_frame = 7\nheart_beat_min = \"0s\"\nprefetchh = 3\n\
         [auth]\nfailures_before_delay = 0\n",
    );
    let checked = crate::broker::crossdock(&["check-config", &file.to_string_lossy()]).output();
    let checked = checked.expect("the binary is there");
    assert_eq!(checked.status.code(), Some(2));
    let said = [checked.stdout, checked.stderr].concat();
    let said = String::from_utf8(said).expect("UTF-8");
    let name = file.to_string_lossy();
    for (line, column, what) in [
        (2, 14, "limits.login_time: '1ms' is not from 100ms to 1h"),
        (3, 14, "limits.write_time: expected a duration as \"10s\", found a whole number"),
        (5, 13, "limits.amqp.frame_max: 4095 is not from 4096 to 16777216"),
        (6, 15, "limits.amqp.channel_max: 0 is not from 1 to 65535"),
        (7, 13, "limits.amqp.heartbeat: -1 is not from 0 to 65535"),
        (
            10,
            1,
            "limits.mqtt.client_id_bytes: a client identifier of 1024 bytes has no room in limits.mqtt.connect_bytes, 1024",
        ),
        (11, 19, "limits.mqtt.receive_maximum: 65536 is not from 1 to 65535"),
        (12, 22, "limits.mqtt.in_flight_messages: 16385 is not from 1 to 16384"),
        (
            13,
            22,
            "limits.mqtt.session_expiry_max: '1 week' is not a duration: a whole number with ms, s, m, h or d",
        ),
        (15, 21, "limits.stomp.headers_per_frame: 7 is not from 8 to 10000"),
        (16, 18, "limits.stomp.heart_beat_min: '0s' is not from 1ms to 60s"),
        (17, 1, "limits.stomp.prefetchh: unknown key; did you mean 'prefetch'?"),
        (19, 25, "auth.failures_before_delay: 0 is not from 1 to 1000000000"),
    ] {
        let want = format!("{name}:{line}:{column} {what}\n");
        assert!(said.contains(&want), "{want}is missing in\n{said}");
    }
    assert_eq!(said.lines().count(), 13, "{said}");
}

/// A message that is alone larger than what may wait for a subscriber is dropped alone: to drop what waits would make
/// no room for it.
#[test]
fn a_message_that_is_too_large_for_a_subscriber_costs_no_others() {
    let house = House::open("[limits]\nsubscription_bytes = \"100KiB\"\n");
    let session = Connect::persistent("asleep");
    let mut reader = Mqtt::connect(house.broker.mqtt, &session);
    reader.subscribe("t", 1);
    reader.disconnect();
    let mut writer = Mqtt::connect(house.broker.mqtt, &Connect::v5("writer"));
    for n in 0..8u8 {
        let bytes = if n == 4 { 200 << 10 } else { 10 << 10 };
        writer.publish("t", &vec![n; bytes], 1);
    }
    let mut reader = Mqtt::connect(house.broker.mqtt, &session);
    let got: Vec<u8> = (0..7).map(|_| reader.receive().body[0]).collect();
    assert_eq!(got, [0, 1, 2, 3, 5, 6, 7]);
    let log = eventually("it is warned about", || {
        let log = house.broker.log();
        log.contains("messages that waited for a subscriber were dropped").then_some(log)
    });
    assert!(log.contains("dropped=1 total=1"), "{log}");
    // A subscriber that is there gets it.
    writer.publish("t", &vec![9; 200 << 10], 1);
    assert_eq!(reader.receive().body.len(), 200 << 10);
    // What waits is beyond the limit together: the oldest goes, as ever.
    reader.disconnect();
    (0..12u8).for_each(|n| writer.publish("t", &vec![n; 10 << 10], 1));
    let mut reader = Mqtt::connect(house.broker.mqtt, &session);
    // Of each some bytes count beside the body.
    assert!((2..=4).contains(&reader.receive().body[0]));
}

/// Who comes too often or too fast is closed at once; what the load balancer says is who it is.
#[test]
fn how_many_and_how_fast_may_connect() {
    let listener = |name: &str, limit: &str| {
        format!(
            "[listeners.{name}]\nbind = \"127.0.0.1:0\"\nprotocols = [\"mqtt\"]\nproxy = true\n\
             {limit}\n"
        )
    };
    let all = [
        listener("many", "connections_per_address = 2"),
        listener("fast", "connects_per_second = 1"),
        listener("all", "connects_per_second_total = 1"),
        owner("ann"),
    ];
    let house = House::open(&all.concat());
    // How many of connections from these hosts, all at once, are not closed at once.
    let admitted = |listener: &str, hosts: &[u8]| {
        let open = hosts.iter().map(|host| {
            let mut socket = Socket::connect(house.address(listener));
            let header = format!("PROXY TCP4 198.51.100.{host} 198.51.100.1 4711 1883\r\n");
            let _ = socket.try_send(header.as_bytes());
            socket
        });
        let mut open: Vec<Socket> = open.collect();
        open.iter_mut().map(|socket| usize::from(!socket.is_closed_within(QUIET))).sum::<usize>()
    };
    assert_eq!(admitted("many", &[1, 1, 1, 2]), 3, "two of one address");
    assert_eq!(admitted("fast", &[1, 1, 1, 1, 1, 1, 2]), 6, "five of one address at once");
    assert_eq!(admitted("all", &[1, 2, 3, 4, 5, 6]), 5, "five of all at once");
    let log = house.broker.log();
    for line in [
        "its address has as many as one address may have",
        "its address connects faster than one address may",
        "more connect in a second than the listener takes",
    ] {
        assert!(log.contains(line), "{line}\n{log}");
    }
    // From this machine any number may come.
    (0..10).for_each(|n| drop(Mqtt::connect(house.broker.mqtt, &Connect::v311(&n.to_string()))));
}

/// What AMQP clients see the broker as: the one whose dialect it speaks, or itself, by the listener's word.
#[test]
fn a_listener_announces_what_it_is_told_to() {
    let house = House::open(
        "[listeners.amqp]\nannounce = \"crossdock\"\n[listeners.other]\nbind = \"127.0.0.1:0\"\n\
         protocols = [\"amqp\"]\n",
    );
    let said = |address| {
        let mut client = TcpStream::connect(address).expect("open");
        client.write_all(b"AMQP\0\0\x09\x01").expect("taken");
        let mut start = [0; 2_048];
        let length = client.read(&mut start).expect("connection.start");
        String::from_utf8_lossy(&start[..length]).into_owned()
    };
    let ours = said(house.broker.amqp);
    assert!(ours.contains("Crossdock") && !ours.contains("RabbitMQ"), "{ours}");
    let usual = said(house.address("other"));
    assert!(usual.contains("RabbitMQ") && usual.contains("4.1.0"), "{usual}");
}
