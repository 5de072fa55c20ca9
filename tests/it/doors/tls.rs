//! TLS listeners: certificates, their mistakes and their replacement, clients with certificates, the wrong port. The
//! client's TLS is Python's: `tunnel.py` carries the bytes of the plain clients.

use super::house::{House, owner, password};
use crate::broker::{Folder, LISTENERS, crossdock, root};
use crate::examples::{answers, missing, python_binary};
use crate::wire::amqp::{Amqp, Out};
use crate::wire::mqtt::{Connect, Mqtt};
use crate::wire::stomp::Stomp;
use crate::wire::{PATIENCE, Socket, eventually};
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const EXPIRED: &str = include_str!("expired.pem");
const EXPIRED_KEY: &str = include_str!("expired-key.pem");
/// The first bytes of a TLS client: a record with a ClientHello in it.
const CLIENT_HELLO: &[u8] = &[0x16, 3, 1, 0, 0xF0, 1, 0, 0, 0xEC, 3, 3];

/// Certificates as `crossdock tls self-signed` makes them; what it prints goes into a listener.
pub fn self_signed(folder: &Path) -> String {
    let output = crossdock(&["tls", "self-signed", &folder.to_string_lossy()]).output();
    let output = output.expect("the binary is there");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn listener(lines: &str) -> String {
    format!(
        "[listeners.secure]\nbind = \"127.0.0.1:0\"\nprotocols = [\"amqp\", \"mqtt\", \"stomp\"]\n\
         {lines}\n"
    )
}

/// The lines of a listener that asks clients for no certificate.
pub fn server_only(lines: &str) -> String {
    lines
        .lines()
        .filter(|line| !line.contains("client_ca"))
        .map(|line| format!("{line}\n"))
        .collect()
}

/// One TLS connection, behind a plain port.
struct Tunnel {
    child: Child,
    address: SocketAddr,
    /// Of the broker's certificate.
    serial: String,
    /// Version and ALPN, as Python calls them.
    agreed: String,
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Connects with TLS; or the reason why that failed. `options`: further ones of tunnel.py, as JSON.
fn tunnel(to: SocketAddr, authority: &Path, options: &str) -> Result<Tunnel, String> {
    let options = format!("{{\"ca\": \"{}\"{options}}}", authority.display());
    let script = root().join("tests/it/doors/tunnel.py");
    let mut command = Command::new(python_binary());
    command.arg(script).args([to.ip().to_string(), to.port().to_string(), options]);
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
    let mut child = child.expect("Python is there");
    let output = child.stdout.take().expect("it is piped");
    let mut line = String::new();
    BufReader::new(output).read_line(&mut line).expect("UTF-8");
    let words: Vec<&str> = line.trim_end().splitn(4, ' ').collect();
    match words.as_slice() {
        ["open", port, serial, agreed] => {
            let address = SocketAddr::from(([127, 0, 0, 1], port.parse().expect("a port")));
            Ok(Tunnel { child, address, serial: (*serial).into(), agreed: (*agreed).into() })
        }
        _ => {
            let _ = child.wait();
            Err(line)
        }
    }
}

/// Without Python there is no TLS client.
fn has_client() -> bool {
    let has = answers(&python_binary(), &["-c", "import ssl"]);
    if !has {
        missing("there is no Python with TLS");
    }
    has
}

#[test]
fn every_protocol_is_spoken_over_tls() {
    if !has_client() {
        return;
    }
    let folder = Folder::new();
    let lines = server_only(&self_signed(&folder.path().join("tls")));
    let authority = folder.path().join("tls/ca.pem");
    let house = House::open_in(folder, &[listener(&lines), owner("ann")].concat());
    let (address, password) = (house.address("secure"), password("ann"));
    let through = |options: &str| tunnel(address, &authority, options).expect("a handshake");
    let amqp = through("");
    assert!(amqp.agreed.starts_with("TLSv1.3 "), "{}", amqp.agreed);
    let mut reader = Amqp::connect_as(amqp.address, "ann", &password);
    reader.queue("ann-q", false);
    let old = through(", \"newest\": \"1.2\"");
    assert!(old.agreed.starts_with("TLSv1.2 "), "{}", old.agreed);
    let mut mqtt = Mqtt::connect_as(old.address, &Connect::v5("ann"), "ann", &password);
    mqtt.publish("$q/ann-q", b"MQTT", 1);
    let stomp = through("");
    let mut stomp = Stomp::connect_as(stomp.address, "ann", &password);
    // More than one TLS record.
    let large = vec![b'x'; 200_000];
    stomp.send("/amq/queue/ann-q", &[], &large);
    assert_eq!(reader.get("ann-q").expect("a message").body, b"MQTT");
    assert_eq!(reader.get("ann-q").expect("a message").body, large);
    // Guest is on this machine over TLS, too.
    let guest = through("");
    Mqtt::connect(guest.address, &Connect::v311("guest")).disconnect();
    // Whoever does not trust the authority goes away, and the log says why.
    let other = house.path().join("other");
    self_signed(&other);
    let why = tunnel(address, &other.join("ca.pem"), "").err().expect("it is not trusted");
    assert!(why.contains("certificate verify failed"), "{why}");
    eventually("a line in the log", || {
        house.broker.log().contains("the TLS handshake failed").then_some(())
    });
}

#[test]
fn old_versions_can_be_refused() {
    if !has_client() {
        return;
    }
    let folder = Folder::new();
    let lines = server_only(&self_signed(&folder.path().join("tls")));
    let authority = folder.path().join("tls/ca.pem");
    let lines = lines + "tls_min_version = \"1.3\"\n";
    let house = House::open_in(folder, &[listener(&lines), owner("ann")].concat());
    let address = house.address("secure");
    assert!(tunnel(address, &authority, ", \"newest\": \"1.2\"").is_err());
    assert!(tunnel(address, &authority, "").is_ok());
}

/// The user whose name stands in the certificate needs no password.
#[test]
fn a_certificate_is_a_login() {
    if !has_client() {
        return;
    }
    let folder = Folder::new();
    let tls = folder.path().join("tls");
    let lines = self_signed(&tls) + "tls_client_certificate = \"required\"\n";
    let rights = ["configure", "write", "read"].map(|a| format!("{a} = [\"queue:client-*\"]\n"));
    let user = format!("[[user]]\nname = \"client\"\n{}", rights.concat());
    let config = |users: &str| [&listener(&lines), users].concat();
    let house = House::open_in(folder, &config(&user));
    let (address, authority) = (house.address("secure"), tls.join("ca.pem"));
    let shown = format!(
        ", \"certificate\": \"{}\", \"key\": \"{}\"",
        tls.join("client.pem").display(),
        tls.join("client-key.pem").display()
    );
    let through = || tunnel(address, &authority, &shown).expect("a handshake");
    let amqp = through();
    let mut amqp = Amqp::external(Socket::connect(amqp.address), "").expect("it is a user's");
    amqp.queue("client-q", false);
    let mqtt = through();
    let mut mqtt = Mqtt::connect(mqtt.address, &Connect::v5("device"));
    mqtt.publish("$q/client-q", b"from MQTT", 1);
    let refused = mqtt.try_publish("$q/other", b"x", false);
    assert_eq!(refused, Err("0x87 write to queue:other is not allowed for user 'client'".into()));
    let stomp = through();
    let stomp = Stomp::log_in(Socket::connect(stomp.address), None);
    let mut stomp = stomp.unwrap_or_else(|why| panic!("{why}"));
    stomp.send("/amq/queue/client-q", &[], b"from STOMP");
    for body in [&b"from MQTT"[..], b"from STOMP"] {
        assert_eq!(amqp.get("client-q").expect("a message").body, body);
    }
    // Somebody else's name.
    let other = through();
    assert!(Amqp::external(Socket::connect(other.address), "ann").is_err());
    // Nobody comes without a certificate. (In TLS 1.3 the client learns it with its first read.)
    let without = tunnel(address, &authority, "");
    assert!(without.is_err() || without.is_ok_and(|tunnel| is_cut(tunnel.address)));
    // A user that is gone cannot come, whatever certificate it shows.
    house.reload(&config(&owner("ann")));
    let gone = through();
    assert!(Amqp::external(Socket::connect(gone.address), "").is_err());
}

/// The connection ends before anything is answered.
fn is_cut(address: SocketAddr) -> bool {
    let mut socket = Socket::connect(address);
    let _ = socket.try_send(b"AMQP\x00\x00\x09\x01");
    socket.is_closed_within(PATIENCE)
}

/// Starts with this TLS, which must fail before anything is bound: standard error.
fn refused(folder: &Folder, lines: &str) -> String {
    let free = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
    let free = free.expect("a free port");
    let text = format!("[listeners.free]\nbind = \"{free}\"\nprotocols = [\"mqtt\"]\n");
    let file = folder.write("hub.toml", &(text + &listener(lines)));
    let data = folder.path().join("data");
    let mut command = crossdock(&["serve", "--config", &file.to_string_lossy()]);
    command.args(["--data-dir", &data.to_string_lossy()]);
    for listener in LISTENERS {
        command.args(["--set", &format!("listeners.{listener}.bind=off")]);
    }
    let output = command.output().expect("the binary is there");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(TcpStream::connect(free).is_err(), "nothing is bound");
    said
}

#[test]
fn certificates_that_cannot_be_used_are_named() {
    let folder = Folder::new();
    let (one, two) = (folder.path().join("one"), folder.path().join("two"));
    self_signed(&one);
    self_signed(&two);
    folder.write("expired.pem", EXPIRED);
    folder.write("expired-key.pem", EXPIRED_KEY);
    folder.write("empty.pem", "");
    let pair = |certificate: &str, key: &str| {
        format!("tls_certificate = \"{certificate}\"\ntls_key = \"{key}\"\n")
    };
    let (good, key) = ("one/server.pem", "one/server-key.pem");
    let cases = [
        (
            pair(good, "two/server-key.pem"),
            "secure.tls_key: ",
            "two/server-key.pem: its key is not that of the first certificate of ",
        ),
        (
            pair("expired.pem", "expired-key.pem"),
            "secure.tls_certificate: ",
            "expired.pem: its certificate no. 1 expired on 2021-01-01 00:00 UTC: put a new one",
        ),
        (pair("nowhere.pem", key), "secure.tls_certificate: ", "nowhere.pem: cannot be read"),
        (pair(good, "nowhere.pem"), "secure.tls_key: ", "nowhere.pem: cannot be read"),
        (pair(good, "one"), "secure.tls_key: ", "one: cannot be read"),
        (pair("empty.pem", key), "secure.tls_certificate: ", "empty.pem: has no certificate"),
        (pair(good, "one/server.pem"), "secure.tls_key: ", "server.pem: has no private key"),
        (format!("tls_certificate = \"{good}\"\n"), "secure.tls_key: ", "is missing"),
        (format!("tls_key = \"{key}\"\n"), "secure.tls_certificate: ", "is missing"),
        (
            pair(good, key) + "tls_client_ca = \"nowhere.pem\"\n",
            "secure.tls_client_ca: ",
            "nowhere.pem: cannot be read",
        ),
        (
            pair(good, key) + "tls_client_certificate = \"required\"\n",
            "secure.tls_client_certificate: ",
            "needs tls_client_ca",
        ),
        (pair(good, key) + "tls_min_version = \"1.1\"\n", "secure.tls_min_version: ", "'1.1'"),
    ];
    for (lines, place, reason) in cases {
        let said = refused(&folder, &lines);
        let is_named = said.lines().any(|line| line.contains(place) && line.contains(reason));
        assert!(is_named, "{place} {reason} is missing in\n{said}");
    }
    // Everything that is wrong is told at once.
    let said = refused(&folder, &pair("nowhere.pem", "two/nowhere.pem"));
    assert_eq!(said.matches("cannot be read").count(), 2, "{said}");
}

/// A key that everybody can read is told, and used.
#[test]
fn an_exposed_key_is_warned_about() {
    let folder = Folder::new();
    let lines = server_only(&self_signed(&folder.path().join("tls")));
    let key = folder.path().join("tls/server-key.pem");
    let mode = fs::metadata(&key).expect("it was made").permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "as it was made");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).expect("ours");
    let house = House::open_in(folder, &[listener(&lines), owner("ann")].concat());
    let log = house.broker.log();
    assert!(log.contains("not as safe as it should be") && log.contains("server-key.pem"), "{log}");
}

/// A new certificate counts from SIGHUP on, for new connections; one that cannot be used changes nothing.
#[test]
fn a_certificate_is_replaced() {
    if !has_client() {
        return;
    }
    let folder = Folder::new();
    let (tls, new) = (folder.path().join("tls"), folder.path().join("new"));
    let lines = server_only(&self_signed(&tls));
    self_signed(&new);
    let text = [listener(&lines), owner("ann")].concat();
    let house = House::open_in(folder, &text);
    let (address, password) = (house.address("secure"), password("ann"));
    let old_authority = tls.join("ca.pem");
    let first = tunnel(address, &old_authority, "").expect("a handshake");
    let mut client = Amqp::connect_as(first.address, "ann", &password);
    client.queue("ann-q", false);

    // The certificate without its key: half of a replacement.
    let install = |name: &str| fs::copy(new.join(name), tls.join(name)).expect("ours");
    install("server.pem");
    let log = house.read_again();
    assert!(log.contains("its key is not that of the first certificate"), "{log}");
    let still = tunnel(address, &old_authority, "").expect("a handshake");
    assert_eq!(still.serial, first.serial, "the old one is used on");

    install("server-key.pem");
    let log = house.read_again();
    assert!(log.contains("the certificate is read again, for new connections listener="), "{log}");
    let second = tunnel(address, &new.join("ca.pem"), "").expect("a handshake");
    assert_ne!(second.serial, first.serial);
    assert!(tunnel(address, &old_authority, "").is_err(), "the old one is not shown any more");
    // The first connection goes on.
    client.publish("", "ann-q", &Default::default(), b"still there");
    assert_eq!(client.get("ann-q").expect("a message").body, b"still there");
    let mut client = Amqp::connect_as(second.address, "ann", &password);
    let look = Out::method(50, 10).u16(0).short("ann-q").u8(1).table(&[]);
    assert!(client.ask(look, (50, 11)).is_ok());
}

#[test]
fn the_wrong_port_is_told() {
    let folder = Folder::new();
    let lines = server_only(&self_signed(&folder.path().join("tls")));
    let house = House::open_in(folder, &[listener(&lines), owner("ann")].concat());
    let broker = &house.broker;
    for address in [broker.amqp, broker.mqtt, broker.stomp] {
        let mut socket = Socket::connect(address);
        socket.send(CLIENT_HELLO);
        assert!(is_closed_silently(&mut socket), "TLS on a plain port");
    }
    let connect = Connect::v311("plain").packet();
    for bytes in [&b"AMQP\x00\x00\x09\x01"[..], &connect, b"CONNECT\nhost:/\n\n\0"] {
        let mut socket = Socket::connect(house.address("secure"));
        socket.send(bytes);
        assert!(is_closed_silently(&mut socket), "no TLS on a TLS port: {bytes:?}");
    }
    // A browser can read an answer.
    let mut socket = Socket::connect(house.address("secure"));
    socket.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    let until = std::time::Instant::now() + PATIENCE;
    while socket.read_more(until) {}
    let answer = String::from_utf8_lossy(socket.buffered()).into_owned();
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("requires TLS"), "{answer}");
    eventually("lines in the log", || {
        let log = broker.log();
        let on_plain = ["amqp", "mqtt", "stomp"].iter().all(|listener| {
            let mut lines = log.lines().filter(|line| line.contains("to the plain port"));
            lines.any(|line| line.contains(&format!("listener={listener}")))
        });
        let on_tls = log.contains("a client without TLS connected to the TLS port");
        (on_plain && on_tls).then_some(())
    });
}

/// Closed, and nothing was said before.
fn is_closed_silently(socket: &mut Socket) -> bool {
    let until = std::time::Instant::now() + PATIENCE;
    while socket.read_more(until) {}
    socket.buffered().is_empty() && socket.is_closed_within(PATIENCE)
}

/// What was made is not overwritten.
#[test]
fn nothing_that_exists_is_overwritten() {
    let folder = Folder::new();
    let tls: PathBuf = folder.path().join("tls");
    self_signed(&tls);
    let before = fs::read(tls.join("server.pem")).expect("it was made");
    let again = crossdock(&["tls", "self-signed", &tls.to_string_lossy()]).output();
    let again = again.expect("the binary is there");
    assert!(!again.status.success());
    assert!(String::from_utf8_lossy(&again.stderr).contains("cannot write"), "{again:?}");
    assert_eq!(fs::read(tls.join("server.pem")).expect("there"), before);
}
