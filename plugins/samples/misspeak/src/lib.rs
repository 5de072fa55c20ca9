//! A fixture of the loader's tests: a protocol that does what the bytes of the client say: `panic`, `hang`, `refuse`,
//! and `flood` (wishes without end); anything else is sent back.

use crossdock_plugin::{Connection, Happened, Protocol, Start, Wishes};
use std::time::Duration;

pub struct Misspeak;

impl Start for Misspeak {
    fn start(_with: &str) -> Result<Self, String> {
        Ok(Misspeak)
    }
}

impl Protocol for Misspeak {
    const NAME: &'static str = "misspeak";
    type Connection = Misspeaking;

    fn open(&self, _peer: &str) -> Result<Misspeaking, String> {
        Ok(Misspeaking)
    }
}

pub struct Misspeaking;

impl Connection for Misspeaking {
    fn turn(&mut self, happened: Happened<'_>, wishes: &mut Wishes) -> Result<(), String> {
        let Happened::Bytes(bytes) = happened else { return Ok(()) };
        wishes.write(b"heard\n");
        match bytes.trim_ascii() {
            b"panic" => panic!("misspeaking"),
            b"hang" => loop {
                std::thread::sleep(Duration::from_secs(3_600));
            },
            b"refuse" => return Err("refused".to_owned()),
            b"flood" => (0..20_000).for_each(|_| wishes.write(b"x")),
            b"early" => wishes.publish(1, "topic:a", b"1", false),
            other => wishes.write(other),
        }
        Ok(())
    }
}

crossdock_plugin::export!(protocol: Misspeak);
