//! Golden conversations of a protocol that a plugin speaks: a real library, loaded by the loader, behind the adapter of
//! such protocols, over TCP, with a broker in memory. Each `lines/*.txt` is one, and is played in four ways: line by
//! line, a byte at a time, cut at every byte, and with all that the client sends in one write.
//!
//! ```text
//! # a comment
//! a> text        client a, which connects with its first line, sends that; {00 ff} are bytes
//! a+ text        the same without the end of the line
//! a< text        the next line that it gets; one that ends with … is not compared further
//! a! end         the broker ends the connection
//! a! over        the client sends nothing more, and reads on
//! a! gone        the client is gone
//! a! quiet       nothing comes
//! ! declare q    a durable queue
//! ! delete q     it goes
//! ! count q 3    ready messages of it
//! ! drain        the broker is about to stop
//! ! in turns     what is sent depends on what came: not played in one write
//! ```

mod play;
mod stage;
mod text;

use crate::built;
use play::{Cut, play};
use stage::{Got, Stage};
use std::path::PathBuf;
use std::time::Duration;
use text::{Line, Step, parse};
use tokio::task::JoinSet;

/// Conversations that are played at the same time.
const AT_ONCE: usize = 16;

fn folder() -> PathBuf {
    built::here().join("tests/loading/conversations/lines")
}

/// All conversations, by name.
fn all() -> Vec<(String, Vec<Line>)> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder()).expect("the folder") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().and_then(|name| name.to_str()).expect("a name").to_owned();
        let text = std::fs::read_to_string(&path).expect("readable");
        all.push((name.clone(), parse(&text).unwrap_or_else(|why| panic!("{name}: {why}"))));
    }
    all.sort_by(|(one, _), (other, _)| one.cmp(other));
    assert!(all.len() >= 7, "{} conversations", all.len());
    all
}

/// Plays conversations, several at a time, and fails with all that is wrong.
async fn play_all(plays: Vec<(String, Vec<Line>, Cut)>) {
    let speaker = stage::speaker();
    let (mut waiting, mut running) = (plays.into_iter(), JoinSet::new());
    let (mut wrong, mut count) = (Vec::new(), 0);
    loop {
        while running.len() < AT_ONCE
            && let Some((name, lines, cut)) = waiting.next()
        {
            let speaker = speaker.clone();
            count += 1;
            running.spawn(async move {
                let stage = Stage::open(speaker).await;
                let played = play(&stage, &lines, cut).await;
                played.map_err(|why| format!("{name}, {cut:?}: {why}"))
            });
        }
        match running.join_next().await {
            None => break,
            Some(played) => wrong.extend(played.expect("no panic").err()),
        }
    }
    assert!(count > 0, "nothing was played");
    println!("{count} conversations were played");
    let total = wrong.len();
    wrong.truncate(5);
    assert!(wrong.is_empty(), "{total} of {count} went wrong:\n{}", wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn line_by_line() {
    let plays = all().into_iter().map(|(name, lines)| (name, lines, Cut::Lines));
    play_all(plays.collect()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_byte_at_a_time() {
    let plays = all().into_iter().map(|(name, lines)| (name, lines, Cut::Bytes));
    play_all(plays.collect()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cut_at_every_byte() {
    let mut plays = Vec::new();
    for (name, lines) in all() {
        let sent: usize = lines.iter().map(|line| line.step.sent().len()).sum();
        // Behind the last byte there is nothing to cut off.
        let cuts = (1..sent).map(|at| (name.clone(), lines.clone(), Cut::At(at)));
        plays.extend(cuts);
    }
    play_all(plays).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_in_one_write() {
    let whole = |lines: &[Line]| !lines.iter().any(|line| line.step == Step::InTurns);
    let plays = all().into_iter().filter(|(_, lines)| whole(lines));
    let plays: Vec<_> = plays.map(|(name, lines)| (name, lines, Cut::Whole)).collect();
    assert!(plays.len() >= 4, "{} conversations can be played so", plays.len());
    play_all(plays).await;
}

/// A line has a limit, and one that never ends does not take memory without end.
#[tokio::test]
async fn a_line_that_is_too_long_ends_the_connection() {
    let stage = Stage::open(stage::speaker()).await;
    let said = |text: &str| Got::Line(text.as_bytes().to_vec());
    let mut client = stage.connect().await;
    client.send(b"LOGIN guest guest\nSUB topic:a\n").await;
    assert_eq!([client.line().await, client.line().await], [said("OK"), said("OK")]);
    let body = vec![b'x'; (1 << 20) - 100];
    client.send(&[&b"PUB topic:a "[..], &body, b"\n"].concat()).await;
    let mut got = [client.line().await, client.line().await];
    got.sort_by_key(|got| format!("{got:?}").len());
    let message = Got::Line([&b"MSG topic:a "[..], &body].concat());
    assert_eq!(got, [said("OK"), message]);
    client.send(&vec![b'x'; (1 << 20) + 1]).await;
    assert_eq!(client.line().await, Got::End);
}

/// A conversation that is wrong fails: the harness looks at what comes.
#[tokio::test]
async fn what_does_not_come_is_noticed() {
    let speaker = stage::speaker();
    for (text, why) in [
        ("a> LOGIN guest guest\na< NO", "line 2: got 'OK' instead of 'NO'"),
        ("a> LOGIN guest guest\na! quiet", "line 2: got 'OK' instead of nothing"),
        ("a> LOGIN guest guest\na< OK\na! end", "line 3: the connection stays"),
        ("! declare q\n! count q 1", "line 2: 0 messages are ready, and not 1"),
        ("a> LOGIN guest guest\na< OK\na> QUIT\na< OK\na< OK", "line 5: the connection ended"),
    ] {
        for cut in [Cut::Lines, Cut::Bytes, Cut::At(3)] {
            let stage = Stage::with_patience(speaker.clone(), Duration::from_millis(300)).await;
            let lines = parse(text).expect("readable");
            assert_eq!(play(&stage, &lines, cut).await, Err(why.to_owned()), "{text}");
        }
    }
    let whole = parse(
        "a> LOGIN guest guest\na> SUB topic:a\na> PUB topic:a 1\na< OK\na< OK\na< OK\na< MSG topic:b 1",
    );
    let stage = Stage::with_patience(speaker, Duration::from_secs(1)).await;
    let why = play(&stage, &whole.expect("readable"), Cut::Whole).await.expect_err("another topic");
    assert!(why.contains("MSG topic:a 1"), "{why}");
}
