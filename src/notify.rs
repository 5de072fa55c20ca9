//! Tells a supervisor what the broker does: sd_notify, a datagram to the socket that NOTIFY_SOCKET names. Without that
//! variable nothing is sent. docs: sd_notify(3).

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// That nobody listens is in the log.
static SAID: AtomicBool = AtomicBool::new(false);

/// Clients can connect.
pub fn ready(line: &str) {
    say(&format!("READY=1\nSTATUS={line}"));
}

/// The configuration is being read again; `ready` says when that is done.
pub fn reloading() {
    say("RELOADING=1\nSTATUS=reading the configuration again");
}

/// The broker is on its way to its end.
pub fn stopping() {
    say("STOPPING=1\nSTATUS=stopping");
}

/// Says that the broker lives, as often as the supervisor wants, for as long as tasks are run. Has to be called within
/// a runtime.
pub fn watch() {
    let variable = |name: &str| std::env::var(name).ok();
    let meant = |process: String| process == std::process::id().to_string();
    let every = variable("WATCHDOG_USEC").and_then(|time| time.parse().ok());
    let Some(every) = every.filter(|_| variable("WATCHDOG_PID").is_none_or(meant)) else { return };
    let every = Duration::from_micros(every) / 3;
    tokio::spawn(async move {
        loop {
            say("WATCHDOG=1");
            tokio::time::sleep(every.max(Duration::from_millis(10))).await;
        }
    });
}

fn say(state: &str) {
    let Some(name) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let sent = address(&name).and_then(|address| {
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        socket.send_to_addr(state.as_bytes(), &address)
    });
    if let Err(error) = sent
        && !SAID.swap(true, Ordering::Relaxed)
    {
        tracing::warn!(
            %error,
            socket = %name.display(),
            "cannot tell the supervisor what the broker does: it may think that the broker never started"
        );
    }
}

/// A path, or `@` and a name that is no file.
fn address(name: &std::ffi::OsStr) -> std::io::Result<SocketAddr> {
    match name.as_encoded_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(name),
    }
}
