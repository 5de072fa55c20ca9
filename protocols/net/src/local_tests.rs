//! The local socket: who is served, and what it replaces.

use super::*;
use std::io::{Read, Write};
use std::os::unix::net::UnixListener as Blocking;

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).expect("it is there").permissions().mode() & 0o777
}

/// Says what it read, and who from.
async fn echo(mut accepted: Accepted) {
    let mut said = [0; 5];
    let read = accepted.reader.read_exact(&mut said).await;
    if read.is_ok() {
        let answer = format!("{} said {}", accepted.peer, String::from_utf8_lossy(&said));
        let _ = accepted.writer.write_all(answer.as_bytes()).await;
        let _ = accepted.writer.shutdown().await;
    }
}

async fn ask(path: PathBuf) -> String {
    let asked = tokio::task::spawn_blocking(move || {
        let mut stream = connect_local(&path, None).expect("somebody listens");
        stream.write_all(b"hello").expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        answer
    });
    asked.await.expect("no panic")
}

#[tokio::test]
async fn its_owner_is_served_until_the_drain() {
    let folder = folder();
    // A path that no address has room for.
    let deep = folder.path().join("d".repeat(100)).join("e".repeat(100));
    fs::create_dir_all(&deep).expect("made");
    for path in [folder.path().join("s.sock"), deep.join("s.sock")] {
        let listener = bind_local(&path).expect("bound");
        assert_eq!(mode(&path), 0o600);
        let user = listener.user;
        let (switch, drain) = Drain::channel();
        let serving = tokio::spawn(serve_local(listener, b"no", drain, echo));
        assert_eq!(ask(path.clone()).await, format!("uid:{user} said hello"));
        switch.send_replace(true);
        serving.await.expect("it ends");
        assert!(!path.exists(), "the file goes with the listener");
    }
}

#[tokio::test]
async fn what_a_killed_process_left_is_replaced_and_nothing_else() {
    let folder = folder();
    let path = folder.path().join("s.sock");
    drop(Blocking::bind(&path).expect("bound"));
    assert!(path.exists(), "the file outlives its process");
    drop(bind_local(&path).expect("it is replaced"));

    let other = Blocking::bind(&path).expect("bound");
    assert!(matches!(bind_local(&path), Err(LocalError::InUse)));
    drop(other);
    fs::remove_file(&path).expect("removed");

    fs::write(&path, "precious").expect("written");
    assert!(matches!(bind_local(&path), Err(LocalError::NotASocket)));
    assert_eq!(fs::read_to_string(&path).expect("it is there"), "precious");
    let link = folder.path().join("link.sock");
    std::os::unix::fs::symlink(&path, &link).expect("linked");
    assert!(matches!(bind_local(&link), Err(LocalError::NotASocket)));
    fs::create_dir(folder.path().join("d.sock")).expect("made");
    assert!(matches!(bind_local(&folder.path().join("d.sock")), Err(LocalError::NotASocket)));
}

#[tokio::test]
async fn a_file_that_somebody_else_put_there_meanwhile_stays() {
    let folder = folder();
    let path = folder.path().join("s.sock");
    let listener = bind_local(&path).expect("bound");
    fs::rename(&path, folder.path().join("aside")).expect("renamed");
    fs::write(&path, "another").expect("written");
    drop(listener);
    assert_eq!(fs::read_to_string(&path).expect("it stays"), "another");
}

#[test]
fn who_connects_where_nobody_accepts_is_told_in_time() {
    let folder = folder();
    let path = folder.path().join("s");
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None).expect("a socket");
    socket.bind(&SockAddr::unix(&path).expect("short")).expect("bound");
    socket.listen(0).expect("it listens");
    let time = Some(Duration::from_millis(200));
    let began = std::time::Instant::now();
    let mut waiting = Vec::new();
    let error = loop {
        match connect_local(&path, time) {
            Ok(stream) => waiting.push(stream),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{error}");
    assert!(waiting.len() < 9 && began.elapsed() < Duration::from_secs(5), "{}", waiting.len());
    waiting.clear();
    drop(socket);
    let error = connect_local(&path, time).expect_err("nobody listens");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused, "{error}");
}
