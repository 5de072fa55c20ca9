//! Golden conversations: every `tests/*.txt` is played against the adapter on a real broker with a store in memory.
//!
//! ```text
//! # a comment
//! ! message-bytes-max 1000                     a setting of the broker, before the first line
//! C: connect                                   the whole login as guest; fields override those of its methods
//! C 1: channel                                 channel.open and its answer
//! C 1: queue.declare queue=q                   a method; what is not named is empty
//! S 1: queue.declare-ok queue=q                the next frame; what is not named is not compared
//! C 1: basic.publish routing-key=q
//! C 1: content body="hello" priority=3         a content header and its body
//! S: raw "AMQP\0\0\x09\x01"   S: eof   S: quiet 50      octets, the end of the stream, nothing for 50 ms
//! [b] C: connect                               another connection
//! wait 50                                      milliseconds
//! drain                                        the process begins to stop
//! stall   release                              the store does not answer, and answers again
//! ```

mod peer;

use crossdock_core::Settings;
use crossdock_core::memory::Faults;
use peer::stage::{Stage, connect, expect};
use peer::{Arguments, Peer, arguments, octets};
use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

/// A stage and the connections by their names.
struct Scene {
    stage: Stage,
    peers: HashMap<String, Peer>,
}

impl Scene {
    fn peer(&mut self, name: &str) -> &mut Peer {
        let stage = &self.stage;
        self.peers.entry(name.to_owned()).or_insert_with(|| stage.peer().0)
    }

    async fn flush(&mut self) -> Result<(), String> {
        for peer in self.peers.values_mut() {
            peer.flush().await?;
        }
        Ok(())
    }

    async fn line(&mut self, line: &str) -> Result<(), String> {
        match line.split_once(' ').unwrap_or((line, "")) {
            ("wait", ms) => {
                self.flush().await?;
                let ms = ms.parse().map_err(|_| "not a number")?;
                tokio::time::sleep(Duration::from_millis(ms)).await;
                return Ok(());
            }
            ("drain", _) => return self.stage.switch.send(true).map_err(|e| e.to_string()),
            ("stall", _) => {
                self.stage.store.set_faults(Faults { stalled: true, ..Faults::default() });
                return Ok(());
            }
            ("release", _) => {
                self.stage.store.release();
                return Ok(());
            }
            _ => {}
        }
        let (name, line) = match line.strip_prefix('[').and_then(|rest| rest.split_once("] ")) {
            Some((name, line)) => (name, line),
            None => ("", line),
        };
        let (head, rest) = line.split_once(": ").ok_or("no ': '")?;
        let (who, channel) = head.split_once(' ').unwrap_or((head, "0"));
        let channel: u16 = channel.parse().map_err(|_| "not a channel")?;
        let (word, rest) = rest.split_once(' ').unwrap_or((rest, ""));
        match who {
            "C" => self.client(name, channel, word, rest).await,
            "S" => {
                self.flush().await?;
                self.server(name, channel, word, rest).await
            }
            _ => Err(format!("who is {who}?")),
        }
    }

    async fn client(
        &mut self,
        name: &str,
        channel: u16,
        word: &str,
        rest: &str,
    ) -> Result<(), String> {
        match word {
            "raw" => {
                let bytes = quoted(rest)?;
                self.peer(name).put_raw(&bytes);
                Ok(())
            }
            "connect" => {
                self.flush().await?;
                connect(self.peer(name), &arguments(rest)?).await
            }
            "channel" => {
                let peer = self.peer(name);
                peer.put(channel, "channel.open", &Arguments::default())?;
                peer.flush().await?;
                expect(peer, channel, "channel.open-ok", &Arguments::default()).await
            }
            "bye" => {
                let peer = self.peer(name);
                peer.put(0, "connection.close", &arguments("reply-code=200")?)?;
                peer.flush().await?;
                expect(peer, 0, "connection.close-ok", &Arguments::default()).await?;
                peer.get_eof().await
            }
            "hangup" => {
                self.flush().await?;
                self.peers.remove(name);
                Ok(())
            }
            method => self.peer(name).put(channel, method, &arguments(rest)?),
        }
    }

    async fn server(
        &mut self,
        name: &str,
        channel: u16,
        word: &str,
        rest: &str,
    ) -> Result<(), String> {
        let peer = self.peer(name);
        match word {
            "eof" => peer.get_eof().await,
            "raw" => {
                let want = quoted(rest)?;
                let got = peer.get_raw(want.len()).await?;
                if got == want { Ok(()) } else { Err(format!("got {got:?}")) }
            }
            "quiet" => {
                let ms = rest.parse().map_err(|_| "not a number")?;
                peer.get_nothing(Duration::from_millis(ms)).await
            }
            method => expect(peer, channel, method, &arguments(rest)?).await,
        }
    }
}

fn quoted(text: &str) -> Result<Vec<u8>, String> {
    let arguments = arguments(&format!("raw={text}"))?;
    Ok(arguments.get("raw").map(octets).unwrap_or_default())
}

fn settings(lines: &[&str]) -> Settings {
    let mut settings = Settings::default();
    for line in lines.iter().filter_map(|line| line.strip_prefix("! ")) {
        let (name, value) = line.split_once(' ').expect("name value");
        let number = || value.parse().expect("a number");
        match name {
            "message-bytes-max" => settings.message_bytes_max = number(),
            "memory-high" => settings.memory_high = number(),
            other => panic!("no setting '{other}'"),
        }
    }
    settings
}

async fn play(path: &Path) -> Result<(), String> {
    let text = std::fs::read_to_string(path).map_err(|e| e.to_string())?;
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let stage = Stage::open(settings(&lines)).await;
    let mut scene = Scene { stage, peers: HashMap::new() };
    for (number, line) in lines.iter().enumerate() {
        if line.is_empty() || line.starts_with('#') || line.starts_with('!') {
            continue;
        }
        if let Err(error) = scene.line(line).await {
            return Err(format!("{}:{}: {line}\n    {error}", path.display(), number + 1));
        }
    }
    scene.flush().await
}

#[tokio::test]
async fn conversations() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let only = std::env::var("TRANSCRIPT").ok();
    let mut paths: Vec<_> = std::fs::read_dir(dir)
        .expect("readable")
        .map(|entry| entry.expect("readable").path())
        .filter(|path| path.extension().is_some_and(|e| e == "txt"))
        .filter(|path| only.as_ref().is_none_or(|only| path.ends_with(format!("{only}.txt"))))
        .collect();
    paths.sort();
    assert!(!paths.is_empty());
    let mut failures = Vec::new();
    for path in &paths {
        failures.extend(play(path).await.err());
    }
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}
