//! The process runs out of file descriptors. A test binary of its own, for the limit is the process's.

mod stage;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use stage::{Stage, rest, take};
use std::fs::File;
use std::time::Duration;
use tokio::io::AsyncWriteExt;

#[tokio::test]
async fn without_descriptors_connections_are_refused_and_accepting_goes_on() {
    let stage = Stage::new(|_| ()).await;
    let mut before = stage.connect().await;
    before.write_all(b"mind").await.unwrap();
    assert_eq!(take(&mut before, 4).await, b"mind");
    let hard = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: Some(256), maximum: hard }).unwrap();
    let mut taken = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        taken.push(file);
    }
    for _ in 0..3 {
        // One for the peer's own socket, and none for the listener's.
        drop(taken.pop());
        let (bytes, time) = rest(&mut stage.connect().await).await;
        assert!(bytes.is_empty() && time < Duration::from_secs(1), "{time:?}");
        taken.push(File::open("/dev/null").unwrap());
        before.write_all(b"mind").await.unwrap();
        assert_eq!(take(&mut before, 4).await, b"mind", "who is connected is served");
    }
    drop(taken);
    let mut after = stage.connect().await;
    after.write_all(b"mind").await.unwrap();
    assert_eq!(take(&mut after, 4).await, b"mind");
}
