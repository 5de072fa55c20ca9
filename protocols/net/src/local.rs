//! A Unix socket for whoever runs this process, and for root: nobody else is served, whatever the mode of the file.
//!
//! A socket that a process left behind when it was killed is replaced. What is no socket, or is somebody's who answers,
//! is left alone.

use bytes::BytesMut;
use crossdock_core::{Accepted, Drain, Name};
use socket2::{Domain, SockAddr, Socket, Type};
use std::fs::{self, File, Permissions};
use std::future::Future;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

/// Connections that are served at once; others wait until the system completes no more.
const CONNECTIONS: usize = 32;
/// Connections that the system completes before they are accepted.
const BACKLOG: i32 = 64;
/// The longest path that an address of a socket has room for, in bytes.
const PATH_MAX: usize = 107;
/// Pause after an accept that failed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Time in which somebody who is not served takes the answer.
const REFUSAL_TIME: Duration = Duration::from_secs(1);
/// Bytes of what they say that are read and forgotten, so that the answer is not lost with the connection.
const DISCARD_MAX: usize = 64 << 10;

/// Why a local socket cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    #[error("there is a file that is no socket: move it away, or choose another data directory")]
    NotASocket,
    #[error("another process answers at it: end that first, or choose another data directory")]
    InUse,
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// A bound local socket. Its file goes when this is dropped, if it is still the same file.
#[derive(Debug)]
pub struct LocalListener {
    listener: UnixListener,
    file: Place,
    /// The file's device and number.
    mark: (u64, u64),
    /// The user of this process.
    user: u32,
}

/// Where a socket is, by a path that is short enough for an address.
#[derive(Debug)]
struct Place {
    path: PathBuf,
    /// The folder of a path that is too long: it is opened, and named by its descriptor.
    _folder: Option<File>,
}

impl Place {
    fn of(path: &Path) -> io::Result<Self> {
        if path.as_os_str().len() <= PATH_MAX {
            return Ok(Self { path: path.to_owned(), _folder: None });
        }
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the path names no file"));
        };
        let folder = File::open(folder)?;
        let path = Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string()).join(name);
        Ok(Self { path, _folder: Some(folder) })
    }
}

/// Opens the socket, for its owner only. Has to be called within a runtime.
pub fn bind_local(path: &Path) -> Result<LocalListener, LocalError> {
    let file = Place::of(path)?;
    let address = SockAddr::unix(&file.path)?;
    remove_stale(&file.path, &address)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address)?;
    // Nobody can connect before it listens.
    fs::set_permissions(&file.path, Permissions::from_mode(0o600))?;
    let about = fs::symlink_metadata(&file.path)?;
    socket.listen(BACKLOG)?;
    let listener = UnixListener::from_std(socket.into())?;
    let (mark, user) = ((about.dev(), about.ino()), about.uid());
    Ok(LocalListener { listener, file, mark, user })
}

fn remove_stale(path: &Path, address: &SockAddr) -> Result<(), LocalError> {
    let about = match fs::symlink_metadata(path) {
        Ok(about) => about,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    if !about.file_type().is_socket() {
        return Err(LocalError::NotASocket);
    }
    let probe = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // A full queue is somebody's, too.
    probe.set_nonblocking(true)?;
    match probe.connect(address) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(LocalError::from)
        }
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(error.into()),
        _ => Err(LocalError::InUse),
    }
}

impl Drop for LocalListener {
    fn drop(&mut self) {
        let is_ours = fs::symlink_metadata(&self.file.path)
            .is_ok_and(|about| (about.dev(), about.ino()) == self.mark);
        if is_ours && let Err(error) = fs::remove_file(&self.file.path) {
            tracing::debug!(path = %self.file.path.display(), %error, "a socket's file stays");
        }
    }
}

/// Serves each connection of this process's user and of root by `serve`, until the drain starts; then waits for them
/// to end. The peer of a connection is `uid:1000`. Others are sent `refusal`, and that is all.
pub async fn serve_local<F>(
    listener: LocalListener,
    refusal: &'static [u8],
    mut drain: Drain,
    serve: impl Fn(Accepted) -> F,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let mut connections = JoinSet::new();
    let watched = drain.clone();
    loop {
        let is_full = connections.len() >= CONNECTIONS;
        let accepted = tokio::select! { biased;
            () = drain.started() => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            accepted = listener.listener.accept(), if !is_full => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::debug!(%error, "a connection to the control socket was not accepted");
                // Not slept through when the drain starts.
                let _ = timeout(ACCEPT_PAUSE, drain.started()).await;
                continue;
            }
        };
        match stream.peer_cred().map(|peer| peer.uid()) {
            Ok(user) if user == 0 || user == listener.user => {
                connections.spawn(serve(accept(stream, user, watched.clone())));
            }
            refused => {
                tracing::debug!(
                    ?refused,
                    "somebody else than its owner came to the control socket"
                );
                connections.spawn(refuse(stream, refusal));
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

fn accept(stream: UnixStream, user: u32, drain: Drain) -> Accepted {
    let (reader, writer) = stream.into_split();
    Accepted {
        reader: Box::new(reader),
        writer: Box::new(writer),
        head: BytesMut::new(),
        peer: format!("uid:{user}"),
        loopback: true,
        secure: false,
        certificate: None,
        since: Instant::now(),
        listener: Name::from("control socket"),
        drain,
    }
}

async fn refuse(mut stream: UnixStream, refusal: &'static [u8]) {
    let answered = async {
        stream.write_all(refusal).await?;
        stream.shutdown().await?;
        let mut discarded = 0;
        let mut buffer = [0; 4096];
        while discarded < DISCARD_MAX {
            match stream.read(&mut buffer).await? {
                0 => break,
                n => discarded += n,
            }
        }
        Ok::<(), io::Error>(())
    };
    // However it ends, the socket is closed next.
    let _ = timeout(REFUSAL_TIME, answered).await;
}

/// Connects to a local socket, however long its path is. Blocks while as many connections wait to be accepted as the
/// system keeps for the socket, and for that time at most: `TimedOut`. None: for as long as it takes.
pub fn connect_local(
    path: &Path,
    time: Option<Duration>,
) -> io::Result<std::os::unix::net::UnixStream> {
    let place = Place::of(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // By which the system limits connecting, too.
    socket.set_write_timeout(time)?;
    match socket.connect(&SockAddr::unix(&place.path)?) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            Err(io::ErrorKind::TimedOut.into())
        }
        Err(error) => Err(error),
        Ok(()) => Ok(socket.into()),
    }
}

#[cfg(test)]
#[path = "local_tests.rs"]
mod tests;
