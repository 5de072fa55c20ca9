//! Plays a conversation.

use super::stage::{Client, Got, Stage};
use super::text::{Line, Step};
use std::collections::BTreeMap;
use std::time::Duration;

/// Between two pieces of what is sent, so that they are two.
const PAUSE: Duration = Duration::from_millis(1);

/// How what clients send reaches the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// Each line in one write.
    Lines,
    /// Each byte in a write of its own.
    Bytes,
    /// Each line in one write, but for the one with that byte, counted over all that is sent: it is cut in front of it.
    At(usize),
    /// All that a client sends in one write.
    Whole,
}

type Clients = BTreeMap<String, Client>;

/// Plays it; what is wrong otherwise.
pub async fn play(stage: &Stage, lines: &[Line], cut: Cut) -> Result<(), String> {
    if cut == Cut::Whole {
        return play_whole(stage, lines).await;
    }
    let mut clients = Clients::new();
    let mut sent = 0;
    for line in lines {
        let in_line = |why: String| format!("line {}: {why}", line.number);
        if let Step::Send(bytes) = &line.step {
            let client = client(&mut clients, stage, &line.who).await;
            send(client, bytes, (cut, sent)).await;
            sent += bytes.len();
        } else if line.who.is_empty() {
            order(stage, &line.step).await.map_err(in_line)?;
        } else if line.step == Step::Gone {
            clients.remove(&line.who);
        } else {
            let client = client(&mut clients, stage, &line.who).await;
            judge(client, &line.step).await.map_err(in_line)?;
        }
    }
    Ok(())
}

async fn client<'c>(clients: &'c mut Clients, stage: &Stage, who: &str) -> &'c mut Client {
    if !clients.contains_key(who) {
        clients.insert(who.to_owned(), stage.connect().await);
    }
    clients.get_mut(who).expect("it is there")
}

async fn send(client: &mut Client, bytes: &[u8], (cut, sent): (Cut, usize)) {
    match cut {
        Cut::Bytes => {
            for byte in bytes {
                client.send(&[*byte]).await;
                tokio::time::sleep(PAUSE).await;
            }
        }
        Cut::At(at) if at > sent && at < sent + bytes.len() => {
            let (first, second) = bytes.split_at(at - sent);
            client.send(first).await;
            tokio::time::sleep(PAUSE).await;
            client.send(second).await;
        }
        _ => client.send(bytes).await,
    }
}

async fn order(stage: &Stage, step: &Step) -> Result<(), String> {
    match step {
        Step::Declare(queue) => stage.declare(queue).await,
        Step::Delete(queue) => stage.delete(queue).await,
        Step::Drain => stage.stop(),
        Step::Count(queue, count) => {
            let ready = stage.has_ready(queue, *count).await;
            return ready.map_err(|ready| format!("{ready} messages are ready, and not {count}"));
        }
        _ => {}
    }
    Ok(())
}

async fn judge(client: &mut Client, step: &Step) -> Result<(), String> {
    match step {
        Step::Expect(wanted) => match client.line().await {
            Got::Line(line) if fits(&line, wanted) => Ok(()),
            got => Err(instead(&got, &format!("'{}'", shown(wanted)))),
        },
        Step::End => match client.line().await {
            Got::End => Ok(()),
            Got::Nothing => Err("the connection stays".to_owned()),
            got => Err(instead(&got, "the end")),
        },
        Step::Quiet => match client.soon().await {
            Got::Nothing => Ok(()),
            got => Err(instead(&got, "nothing")),
        },
        Step::Over => {
            client.over().await;
            Ok(())
        }
        _ => Ok(()),
    }
}

fn instead(got: &Got, wanted: &str) -> String {
    match got {
        Got::Line(line) => format!("got '{}' instead of {wanted}", shown(line)),
        Got::End => "the connection ended".to_owned(),
        Got::Nothing => "nothing came".to_owned(),
    }
}

fn fits(line: &[u8], wanted: &[u8]) -> bool {
    match wanted.strip_suffix("…".as_bytes()) {
        Some(beginning) => line.starts_with(beginning),
        None => line == wanted,
    }
}

fn shown(line: &[u8]) -> String {
    line.escape_ascii().to_string()
}

/// All of a client's bytes at once. Messages come in between the answers then; each of the two keeps its order.
async fn play_whole(stage: &Stage, lines: &[Line]) -> Result<(), String> {
    for line in lines.iter().filter(|line| line.who.is_empty()) {
        order(stage, &line.step).await?;
    }
    let mut names: Vec<&str> = lines.iter().map(|line| line.who.as_str()).collect();
    names.retain(|name| !name.is_empty());
    names.sort_unstable();
    names.dedup();
    for name in names {
        let own: Vec<&Step> =
            lines.iter().filter(|line| line.who == name).map(|line| &line.step).collect();
        let sent: Vec<u8> = own.iter().flat_map(|step| step.sent()).copied().collect();
        let mut client = stage.connect().await;
        client.send(&sent).await;
        let wanted = own.iter().filter_map(|step| match step {
            Step::Expect(line) => Some(line.clone()),
            _ => None,
        });
        let (wanted_messages, wanted_answers): (Vec<_>, Vec<_>) =
            wanted.partition(|line| is_message(line));
        let (mut messages, mut answers) = (Vec::new(), Vec::new());
        while messages.len() + answers.len() < wanted_messages.len() + wanted_answers.len() {
            match client.line().await {
                Got::Line(line) if is_message(&line) => messages.push(line),
                Got::Line(line) => answers.push(line),
                got => return Err(format!("{}, behind {answers:?}", instead(&got, "a line"))),
            }
        }
        compare(&answers, &wanted_answers)?;
        compare(&messages, &wanted_messages)?;
        for step in own.into_iter().filter(|step| !matches!(step, Step::Expect(_))) {
            judge(&mut client, step).await?;
        }
    }
    Ok(())
}

fn is_message(line: &[u8]) -> bool {
    [&b"MSG "[..], b"AGAIN ", b"ENDED "].iter().any(|word| line.starts_with(word))
}

fn compare(got: &[Vec<u8>], wanted: &[Vec<u8>]) -> Result<(), String> {
    let same = got.len() == wanted.len() && got.iter().zip(wanted).all(|(got, it)| fits(got, it));
    let all = |lines: &[Vec<u8>]| lines.iter().map(|it| shown(it)).collect::<Vec<_>>().join(" | ");
    match same {
        true => Ok(()),
        false => Err(format!("got {} instead of {}", all(got), all(wanted))),
    }
}
