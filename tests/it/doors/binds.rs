//! Listeners: several addresses, IPv6, several protocols on one port, behind a load balancer; and what is refused
//! before anything is bound.

use super::house::{Door, House, far_door, far_listener, owner, password};
use super::visitor::{SPEECHES, Speech, Visitor};
use crate::broker::{Folder, LISTENERS, crossdock};
use crate::wire::amqp::Amqp;
use crate::wire::stomp::Stomp;
use crate::wire::{PATIENCE, Socket, eventually};
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream};

/// A user's login in a protocol.
fn enters(speech: Speech, door: &Door, user: &str) -> Result<(), String> {
    let password = password(user);
    let login = (user, if user == "guest" { "guest" } else { &*password });
    Visitor { speech, door, login: Some(login) }.enter()
}

fn has_ipv6() -> bool {
    TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok()
}

#[test]
fn a_listener_has_several_addresses_and_protocols() {
    let six = if has_ipv6() { ", \"[::1]:0\"" } else { "" };
    let house = House::open(&format!(
        "[listeners.all]\nbind = [\"127.0.0.1:0\", \"127.0.0.2:0\"{six}]\n\
         protocols = [\"amqp\", \"mqtt\", \"stomp\"]\n{}",
        owner("ann")
    ));
    let addresses = house.addresses("all");
    assert_eq!(addresses.len(), if has_ipv6() { 3 } else { 2 });
    assert_eq!(addresses.iter().any(SocketAddr::is_ipv6), has_ipv6());
    for address in addresses {
        // Each of them is this machine: guest is let in, over IPv6 as well.
        for speech in SPEECHES {
            for user in ["ann", "guest"] {
                let entered = enters(speech, &Door::at(address), user);
                assert_eq!(entered, Ok(()), "{address} {speech:?} {user}");
            }
        }
    }
}

/// An IPv4 client of a socket for both: its address is one of this machine.
#[test]
fn an_ipv4_client_of_an_ipv6_socket_is_on_this_machine() {
    if !has_ipv6() {
        eprintln!("this machine has no IPv6: nothing was tested");
        return;
    }
    let listener = "[listeners.both]\nbind = \"[::]:0\"\nprotocols = [\"mqtt\"]\n";
    let house = House::open(&[listener, &owner("ann")].concat());
    let port = house.address("both").port();
    let six = SocketAddr::from((Ipv6Addr::LOCALHOST, port));
    assert_eq!(enters(Speech::Mqtt5, &Door::at(six), "guest"), Ok(()));
    let four = SocketAddr::from(([127, 0, 0, 1], port));
    // Whether the socket takes IPv4 as well is the system's setting.
    if TcpStream::connect(four).is_ok() {
        assert_eq!(enters(Speech::Mqtt5, &Door::at(four), "guest"), Ok(()));
    }
}

#[test]
fn a_load_balancer_says_who_the_client_is() {
    let listener = "[listeners.lb]\nbind = \"127.0.0.1:0\"\nprotocols = [\"mqtt\", \"amqp\"]\n\
                    proxy = true\n";
    let house = House::open(&[listener, &owner("ann")].concat());
    let address = house.address("lb");
    let behind = |header: &str| Door::behind(address, header);
    let elsewhere = behind("PROXY TCP4 198.51.100.7 198.51.100.1 4711 1883\r\n");
    let here = behind("PROXY TCP4 127.0.0.1 127.0.0.1 4711 1883\r\n");
    let unknown = behind("PROXY UNKNOWN\r\n");
    for speech in [Speech::Mqtt5, Speech::Amqp] {
        for door in [&elsewhere, &here, &unknown] {
            assert_eq!(enters(speech, door, "ann"), Ok(()), "{door:?}");
        }
        assert_eq!(enters(speech, &here, "guest"), Ok(()));
        assert!(enters(speech, &elsewhere, "guest").is_err());
        assert!(enters(speech, &unknown, "guest").is_err());
    }
    // Without a header it is closed, whoever it is.
    let mut socket = Socket::connect(address);
    socket.send(b"AMQP\x00\x00\x09\x01");
    assert!(socket.is_closed_within(PATIENCE));
    eventually("a line in the log", || {
        house.broker.log().contains("it has no PROXY header that can be used").then_some(())
    });
}

/// The refusals of a client elsewhere stand in the log with its address, as the load balancer or the socket says it.
#[test]
fn refusals_name_the_client() {
    let house = House::open(&[far_listener(), owner("ann"), owner("bob")].concat());
    let far = far_door(&house);
    let password = password("bob");
    let mut bob = Amqp::log_in(far.knock(), ("bob", &password)).expect("he may");
    bob.confirm_select();
    bob.publish("", "ann-q", &Default::default(), b"x");
    assert!(bob.confirmed().is_err());
    let log = house.broker.log();
    let warned = log.lines().find(|line| line.contains("a user tried what it has no right to"));
    let warned = warned.unwrap_or_else(|| panic!("no warning in {log}"));
    for part in ["user=bob", "action=write", "object=queue:ann-q", "from="] {
        assert!(warned.contains(part), "{part} is missing in {warned}");
    }
    assert!(!warned.contains("from=127."), "{warned}");
}

/// A STOMP client looks whether a queue is there before it sends to it: that is no refusal of its own.
#[test]
fn a_denied_send_is_one_refusal() {
    let house = House::open(&[owner("ann"), owner("bob")].concat());
    let mut ann = Amqp::connect_as(house.broker.amqp, "ann", &password("ann"));
    ann.queue("ann-q", true);
    for queue in ["/queue/ann-q", "/queue/ann-none"] {
        let mut bob = Stomp::connect_as(house.broker.stomp, "bob", &password("bob"));
        bob.socket.send(format!("SEND\ndestination:{queue}\nreceipt:1\n\nx\0").as_bytes());
        assert!(bob.ends().contains("access_refused"));
    }
    let log = house.broker.log();
    let refused: Vec<&str> = log.lines().filter(|line| line.contains("action=")).collect();
    assert!(refused.iter().all(|line| !line.contains("action=read")), "{refused:#?}");
}

/// Starts with that file, which must fail before anything is bound: standard error.
fn refused(text: &str) -> String {
    let folder = Folder::new();
    let free = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
    let free = free.expect("a free port");
    let text = format!("[listeners.free]\nbind = \"{free}\"\nprotocols = [\"mqtt\"]\n{text}");
    let file = folder.write("hub.toml", &text);
    let data = folder.path().join("data");
    let mut command = crossdock(&["serve", "--config", &file.to_string_lossy()]);
    command.args(["--data-dir", &data.to_string_lossy()]);
    for listener in LISTENERS {
        command.args(["--set", &format!("listeners.{listener}.bind=off")]);
    }
    let output = command.output().expect("the binary is there");
    let said = String::from_utf8_lossy(&output.stderr).replace(&*file.to_string_lossy(), "FILE");
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(TcpStream::connect(free).is_err(), "nothing is bound");
    said
}

#[test]
fn what_cannot_be_bound_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let taken_address = taken.local_addr().expect("bound");
    let web = |bind: &str| format!("[listeners.web]\nbind = {bind}\nprotocols = [\"mqtt\"]\n");
    let cases = [
        // There is no user: only guest could come, and not from there.
        (web("\"0.0.0.0:0\""), "listeners.web.bind: '0.0.0.0:0' can be reached from elsewhere"),
        (web("\"[::]:0\""), "listeners.web.bind: '[::]:0' can be reached from elsewhere"),
        (
            web("[\"127.0.0.1:0\", \"0.0.0.0:0\"]"),
            "listeners.web.bind[1]: '0.0.0.0:0' can be reached",
        ),
        (web("\"127.0.0.1\""), "listeners.web.bind: '127.0.0.1'"),
        (
            web("[\"127.0.0.1:18\", \"127.0.0.1:18\"]"),
            "listeners.web.bind[1]: '127.0.0.1:18' is another",
        ),
        (web(&format!("\"{taken_address}\"")), "listeners.web.bind: cannot bind"),
    ];
    for (text, expected) in cases {
        let said = refused(&text);
        assert!(said.contains(expected), "{expected} is missing in\n{said}");
    }
}
