//! The output that a module prints: lines for the log, each truncated to a fixed length. The end of what it printed
//! during a call is kept: a language's runtime says there why it breaks off.

use bytes::Bytes;
use parking_lot::Mutex;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

const LINE_MAX: usize = 1024;
/// Bytes of the end of what a call printed that are kept, so that the reason of a failure has room beside them.
const TAIL_MAX: usize = 768;
/// Bytes that are accepted with one write.
const WRITE_MAX: usize = 64 * 1024;

/// One of a module's output streams.
#[derive(Clone)]
pub(super) struct Log {
    module: Arc<str>,
    stream: &'static str,
    printed: Arc<Mutex<Printed>>,
}

#[derive(Default)]
struct Printed {
    /// The beginning of a line that is not ended yet.
    line: Vec<u8>,
    /// The last bytes of the current call.
    tail: Vec<u8>,
}

impl Log {
    pub(super) fn new(module: &Arc<str>, stream: &'static str) -> Self {
        Self { module: module.clone(), stream, printed: Arc::default() }
    }

    /// A call begins: what was printed before it is not its own.
    pub(super) fn begin(&self) {
        self.printed.lock().tail.clear();
    }

    /// The end of what the call printed, on one line; none when it printed nothing.
    pub(super) fn tail(&self) -> Option<String> {
        let printed = self.printed.lock();
        let text = String::from_utf8_lossy(&printed.tail);
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let text = lines.collect::<Vec<_>>().join(" / ");
        (!text.is_empty()).then_some(text)
    }

    fn put(&self, bytes: &[u8]) {
        let mut printed = self.printed.lock();
        let Printed { line, tail } = &mut *printed;
        let end = bytes.get(bytes.len().saturating_sub(TAIL_MAX)..).unwrap_or_default();
        let surplus = (tail.len() + end.len()).saturating_sub(TAIL_MAX).min(tail.len());
        tail.drain(..surplus);
        tail.extend_from_slice(end);
        for piece in bytes.split_inclusive(|b| *b == b'\n') {
            let (text, ended) = match piece.split_last() {
                Some((b'\n', text)) => (text, true),
                _ => (piece, false),
            };
            let room = LINE_MAX.saturating_sub(line.len()).min(text.len());
            line.extend_from_slice(text.get(..room).unwrap_or_default());
            if ended {
                let text = String::from_utf8_lossy(line);
                tracing::debug!(
                    module = &*self.module,
                    stream = self.stream,
                    "{}",
                    text.trim_end()
                );
                line.clear();
            }
        }
    }
}

impl IsTerminal for Log {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Log {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

impl OutputStream for Log {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.put(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE_MAX)
    }
}

impl Pollable for Log {
    fn ready<'a, 'f>(&'a mut self) -> Pin<Box<dyn Future<Output = ()> + Send + 'f>>
    where
        'a: 'f,
        Self: 'f,
    {
        Box::pin(std::future::ready(()))
    }
}

impl AsyncWrite for Log {
    fn poll_write(
        self: Pin<&mut Self>,
        _context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.put(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
