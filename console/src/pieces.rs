//! A long answer in pieces. Each is written in one turn of the connection's task, and other tasks of the same thread
//! have theirs in between: the kernel takes 10 MB in a write or two, some milliseconds in which nobody else is served.

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Bytes of a piece: 20 to 30 µs of the kernel's time.
const PIECE: usize = 64 << 10;

/// What is left of the answer.
pub struct Pieces {
    rest: Bytes,
    /// The last turn gave a piece: it is somebody else's.
    must_wait: bool,
}

impl Pieces {
    /// That text.
    pub fn of(text: String) -> Body {
        Body::new(Self { rest: text.into(), must_wait: false })
    }
}

impl HttpBody for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.rest.is_empty() {
            return Poll::Ready(None);
        }
        self.must_wait = !self.must_wait;
        if !self.must_wait {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let end = PIECE.min(self.rest.len());
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(end)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// What another task of the same thread has done when each piece comes.
    #[tokio::test]
    async fn others_have_their_turn_between_two_pieces() {
        static TURNS: AtomicUsize = AtomicUsize::new(0);
        let other = tokio::spawn(async {
            loop {
                TURNS.fetch_add(1, Ordering::Relaxed);
                tokio::task::yield_now().await;
            }
        });
        let text: String = (0..3 * PIECE / 10).map(|n| format!("{n:10}")).collect();
        let mut pieces = Pieces { rest: text.clone().into(), must_wait: false };
        assert_eq!(pieces.size_hint().exact(), Some(text.len() as u64));
        let (mut whole, mut turns) = (Vec::new(), Vec::new());
        while let Some(frame) = poll_fn(|context| Pin::new(&mut pieces).poll_frame(context)).await {
            whole.extend(frame.expect("infallible").into_data().expect("data"));
            turns.push(TURNS.load(Ordering::Relaxed));
        }
        other.abort();
        assert!(whole == text.as_bytes() && pieces.is_end_stream());
        assert_eq!(turns.len(), text.len().div_ceil(PIECE));
        assert!(turns.is_sorted_by(|before, after| before < after), "{turns:?}");
    }
}
