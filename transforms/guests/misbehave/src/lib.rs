//! A transform that does what the body's first word says: the fixture of the sandbox's tests.

use crossdock_transform_sdk::{Decision, Message, Output, Patch, Transform, Value, transform};
use std::hint::black_box;

struct Misbehave {
    calls: u64,
    config: String,
}

impl Transform for Misbehave {
    fn new(config: &str) -> Result<Self, String> {
        match config.contains("refuse") {
            true => Err("the configuration says refuse".into()),
            false => Ok(Self { calls: 0, config: config.into() }),
        }
    }

    fn handle(&mut self, message: &Message) -> Result<Decision, String> {
        self.calls += 1;
        let text = message.text()?;
        let (word, rest) = text.split_once(' ').unwrap_or((&text, ""));
        match word {
            "loop" => loop {
                black_box(self.calls);
            },
            "sleep" => {
                std::thread::sleep(std::time::Duration::from_secs(3_600));
                Ok(Decision::Keep)
            }
            "exit" => std::process::exit(3),
            "panic" => panic!("asked to panic"),
            "deep" => Ok(Decision::Drop(recurse(black_box(1)).to_string())),
            "eat" => {
                let mut eaten: Vec<Vec<u8>> = Vec::new();
                loop {
                    eaten.push(black_box(vec![1; 1 << 20]));
                }
            }
            "error" => Err(rest.repeat(2_000)),
            "keep" => Ok(Decision::Keep),
            "drop" => Ok(Decision::Drop(rest.into())),
            "reject" => Ok(Decision::Reject(rest.into())),
            "retry" => Ok(Decision::RetryAfterMs(rest.parse().unwrap_or(0))),
            "print" => {
                println!("{rest}");
                eprintln!("{rest}");
                Ok(Decision::Keep)
            }
            "config" => Ok(Decision::Replace(Patch::body(self.config.clone()))),
            "calls" => Ok(Decision::Replace(Patch::body(self.calls.to_string()))),
            "files" => Ok(Decision::Replace(Patch::body(surroundings(rest)))),
            "show" => Ok(Decision::Replace(Patch::body(show(message, rest)))),
            "split" => Ok(Decision::Emit(rest.split(' ').map(part).collect())),
            "late" => Ok(Decision::Emit(vec![Output { delay_ms: Some(5), ..part(rest) }])),
            "flood" => Ok(flood(rest.parse().unwrap_or(0))),
            "attempt" => Ok(Decision::Replace(Patch::body(message.attempt().to_string()))),
            "typed" => Ok(Decision::Replace(typed())),
            _ => Ok(Decision::Replace(Patch::none())),
        }
    }
}

/// `address=body` or a body alone.
fn part(text: &str) -> Output {
    match text.split_once('=') {
        Some((address, body)) => Output::new(Patch::body(body)).to(address),
        None => Output::new(Patch::body(text)),
    }
}

/// Outputs of a megabyte each.
fn flood(outputs: usize) -> Decision {
    Decision::Emit((0..outputs).map(|_| Output::new(Patch::body(vec![b'x'; 1 << 20]))).collect())
}

fn typed() -> Patch {
    Patch::none()
        .set("bool", Value::Boolean(true))
        .set("u64", Value::Unsigned(u64::MAX))
        .set("f64", Value::Float(1.5))
        .set("bytes", Value::Bytes(vec![0, 255]))
        .set("time", Value::TimestampMs(7))
        .set("gone", Value::Null)
        .set("priority", Value::Integer(9))
        .set("subject", Value::Text("stock".into()))
        .remove("old")
        .remove("content_encoding")
}

fn show(message: &Message, name: &str) -> String {
    let origin = message.origin();
    format!(
        "{} {} {:?} {:?} {:?} {}",
        message.address(),
        origin.client,
        message.header(name),
        message.headers(),
        message.content_type(),
        message.len(),
    )
}

fn surroundings(address: &str) -> String {
    format!(
        "{} {} {} {}",
        std::fs::read_dir("/").is_ok(),
        std::env::vars().count(),
        std::env::args().count(),
        std::net::TcpStream::connect(address).is_ok(),
    )
}

fn recurse(n: u64) -> u64 {
    match black_box(n) {
        0 => 0,
        n => recurse(black_box(n + 1)) + 1,
    }
}

transform!(Misbehave);
