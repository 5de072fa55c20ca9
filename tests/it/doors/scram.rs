//! MQTT 5 clients who prove by SCRAM that they know their password (RFC 5802, RFC 7677), and prove it again.

use super::house::{Door, House, far_door, far_listener, password};
use crate::broker::crossdock;
use crate::wire::Socket;
use crate::wire::mqtt::packet;
use sha2::{Digest, Sha256};
use std::io::Write;
use std::process::Stdio;
use std::time::{Duration, Instant};

const METHOD: &str = "SCRAM-SHA-256";
const TIME: Duration = Duration::from_secs(10);
const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn hmac(key: &[u8], text: &[u8]) -> [u8; 32] {
    let mut block = [0; 64];
    block[..key.len()].copy_from_slice(key);
    let inner = Sha256::new_with_prefix(block.map(|b| b ^ 0x36)).chain_update(text).finalize();
    let outer = Sha256::new_with_prefix(block.map(|b| b ^ 0x5C)).chain_update(inner);
    outer.finalize().into()
}

fn stretched(password: &str, salt: &[u8], iterations: u32) -> [u8; 32] {
    let mut last = hmac(password.as_bytes(), &[salt, &[0, 0, 0, 1]].concat());
    let mut all = last;
    for _ in 1..iterations {
        last = hmac(password.as_bytes(), &last);
        all.iter_mut().zip(last).for_each(|(sum, b)| *sum ^= b);
    }
    all
}

fn base64(bytes: &[u8]) -> String {
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let word = three.iter().fold(0u32, |word, b| word << 8 | u32::from(*b));
        let word = word << (8 * (3 - three.len()));
        for at in 0..4 {
            match at <= three.len() {
                true => text.push(char::from(DIGITS[(word >> (18 - 6 * at) & 63) as usize])),
                false => text.push('='),
            }
        }
    }
    text
}

fn from_base64(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for four in text.trim_end_matches('=').as_bytes().chunks(4) {
        let digit = |b: &u8| DIGITS.iter().position(|digit| digit == b).expect("a digit") as u32;
        let word = four.iter().fold(0u32, |word, b| word << 6 | digit(b)) << (6 * (4 - four.len()));
        bytes.extend(&word.to_be_bytes()[1..four.len()]);
    }
    bytes
}

/// Method and data as properties, behind their length.
fn properties(method: &str, data: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (id, text) in [(0x15, method), (0x16, data)] {
        bytes.push(id);
        bytes.extend((text.len() as u16).to_be_bytes());
        bytes.extend(text.as_bytes());
    }
    let length = u8::try_from(bytes.len()).expect("short");
    let mut block = if length < 0x80 { vec![length] } else { vec![length, 1] };
    block.extend(bytes);
    block
}

fn connect(client: &str, method: &str, data: &str) -> Vec<u8> {
    let head = [b"\x00\x04MQTT\x05\x02\x00\x00".to_vec(), properties(method, data)].concat();
    let id = [&(client.len() as u16).to_be_bytes(), client.as_bytes()].concat();
    packet(0x10, &[head, id].concat())
}

fn auth(reason: u8, method: &str, data: &str) -> Vec<u8> {
    packet(0xF0, &[vec![reason], properties(method, data)].concat())
}

/// The next packet: its first byte, its code, and its authentication data if it has some.
fn next(socket: &mut Socket) -> Option<(u8, u8, String)> {
    let until = Instant::now() + TIME;
    let mut head = 2;
    socket.fill(head, until).then_some(())?;
    let mut length = usize::from(socket.buffered()[1] & 0x7F);
    if socket.buffered()[1] & 0x80 != 0 {
        head += 1;
        socket.fill(head, until).then_some(())?;
        length |= usize::from(socket.buffered()[2]) << 7;
    }
    socket.fill(head + length, until).then_some(())?;
    let packet = socket.take(head + length);
    let body = &packet[head..];
    let code = if packet[0] == 0x20 { body[1] } else { body[0] };
    let at = body.windows(METHOD.len()).position(|part| part == METHOD.as_bytes());
    let data = at.map_or(&[][..], |at| &body[at + METHOD.len()..]);
    let data = match data {
        [0x16, high, low, rest @ ..] => &rest[..usize::from(u16::from_be_bytes([*high, *low]))],
        _ => &[],
    };
    Some((packet[0], code, String::from_utf8(data.to_vec()).expect("text")))
}

/// The client's last message, and what the server has to say to it.
fn last(first: &str, challenge: &str, password: &str) -> (String, String) {
    let field = |at: usize| challenge.split(',').nth(at).expect("a field");
    let (salt, iterations) = (from_base64(&field(1)[2..]), field(2)[2..].parse().expect("count"));
    let without_proof = format!("c=biws,{}", field(0));
    let about = format!("{},{challenge},{without_proof}", &first[3..]);
    let salted = stretched(password, &salt, iterations);
    let client = hmac(&salted, b"Client Key");
    let signature = hmac(&Sha256::digest(client), about.as_bytes());
    let proof: Vec<u8> = client.iter().zip(signature).map(|(a, b)| a ^ b).collect();
    let server = hmac(&hmac(&salted, b"Server Key"), about.as_bytes());
    (format!("{without_proof},p={}", base64(&proof)), format!("v={}", base64(&server)))
}

/// The exchange behind CONNECT; the code of CONNACK.
fn log_in(door: &Door, client: &str, (user, password): (&str, &str)) -> (Socket, u8) {
    let mut socket = door.knock();
    let first = format!("n,,n={user},r=nonce-of-{client}");
    socket.send(&connect(client, METHOD, &first));
    let (kind, code, challenge) = next(&mut socket).expect("an answer");
    if kind == 0x20 {
        return (socket, code);
    }
    assert_eq!((kind, code), (0xF0, 0x18), "{challenge}");
    let (last, proof) = last(&first, &challenge, password);
    socket.send(&auth(0x18, METHOD, &last));
    let (kind, code, said) = next(&mut socket).expect("an answer");
    assert_eq!(kind, 0x20);
    if code == 0 {
        assert_eq!(said, proof, "the server knows the keys");
    }
    (socket, code)
}

/// A `[[user]]` with the keys that `crossdock hash-password` prints.
fn with_keys(name: &str, lines: &str) -> String {
    let mut command = crossdock(&["hash-password"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("the binary is there");
    let mut input = child.stdin.take().expect("it is piped");
    writeln!(input, "{}", password(name)).expect("it reads");
    drop(input);
    let said = child.wait_with_output().expect("it ends").stdout;
    let said = String::from_utf8(said).expect("UTF-8");
    let keys = said.lines().filter(|line| line.contains(" = "));
    let keys: Vec<&str> = keys.map(|line| line.trim_start_matches("# ")).collect();
    assert!(keys.iter().any(|line| line.starts_with("scram_256 = ")), "{said}");
    format!("[[user]]\nname = \"{name}\"\n{}\n{lines}\n", keys.join("\n"))
}

#[test]
fn clients_prove_that_they_know_their_password() {
    let rights = "write = [\"topic:#\"]\n";
    let users = ["ann", "bob"].map(|name| with_keys(name, rights)).concat();
    let house = House::open(&[far_listener(), users].concat());
    let far = far_door(&house);
    let (right, other) = (password("ann"), password("bob"));
    let (mut socket, code) = log_in(&far, "a", ("ann", &right));
    assert_eq!(code, 0);
    // Who proved it may publish, and nobody who did not.
    socket.send(b"\x32\x06\x00\x01t\x00\x01\x00");
    assert_eq!(next(&mut socket).map(|(kind, ..)| kind), Some(0x40));
    for (client, user, pass) in
        [("b", "ann", &other), ("c", "nobody", &right), ("d", "guest", &right)]
    {
        let (mut socket, code) = log_in(&far, client, (user, pass));
        assert_eq!(code, 0x86, "{user}");
        assert!(socket.is_closed_within(TIME));
    }
    // Again, as the same user and as another one; a wrong proof ends the connection.
    for (user, pass, answer) in [("ann", &right, (0xF0, 0x00)), ("bob", &other, (0xE0, 0x87))] {
        let first = format!("n,,n={user},r=again");
        socket.send(&auth(0x19, METHOD, &first));
        let (kind, code, challenge) = next(&mut socket).expect("an answer");
        assert_eq!((kind, code), (0xF0, 0x18));
        socket.send(&auth(0x18, METHOD, &last(&first, &challenge, pass).0));
        let (kind, code, _) = next(&mut socket).expect("an answer");
        assert_eq!((kind, code), answer, "{user}");
    }
    assert!(socket.is_closed_within(TIME));
    let (mut socket, code) = log_in(&far, "e", ("ann", &right));
    assert_eq!(code, 0);
    let first = "n,,n=ann,r=again";
    socket.send(&auth(0x19, METHOD, first));
    let (_, _, challenge) = next(&mut socket).expect("an answer");
    socket.send(&auth(0x18, METHOD, &last(first, &challenge, &other).0));
    assert_eq!(next(&mut socket).map(|(kind, code, _)| (kind, code)), Some((0xE0, 0x87)));
    // Methods that are not there.
    for method in ["SCRAM-SHA-1", "PLAIN", "SCRAM-SHA-256-PLUS", ""] {
        let mut socket = far.knock();
        socket.send(&connect("f", method, "n,,n=ann,r=x"));
        assert_eq!(next(&mut socket).map(|(_, code, _)| code), Some(0x8C), "{method}");
    }
}
