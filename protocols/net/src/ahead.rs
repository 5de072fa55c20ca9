//! Pings behind input that the adapter cannot take yet: they are answered at once, and skipped when their turn comes.
//! So a client whose publishes are held back does not take the broker for dead.

use crate::{Input, Output};

/// How a protocol's pings are found and answered before their turn.
#[derive(Debug)]
pub struct Pings {
    /// What the first frame of these bytes is.
    pub look: fn(&[u8]) -> Seen,
    /// The bytes of the answer.
    pub answer: &'static [u8],
}

/// What a frame is, seen from afar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// A whole ping, and its length in bytes.
    Ping(usize),
    /// The length of another frame in bytes; its end may not have come yet.
    Other(usize),
    /// More bytes are needed.
    Unfinished,
    /// Nothing behind it counts: the end of the conversation, or no frame.
    Last,
}

/// What was looked at ahead of its turn.
#[derive(Debug, Default)]
pub(crate) struct Ahead {
    /// Everything in front of this position of the peer's stream was looked at.
    looked: u64,
    /// Pings that were answered and did not have their turn.
    answered: u32,
}

impl Ahead {
    /// Answers the pings in the input that were not answered before. The input begins with a frame.
    #[cold]
    pub fn look(&mut self, pings: &Pings, input: &mut Input, output: &mut Output) {
        let front = input.total() - input.len() as u64;
        self.looked = self.looked.max(front);
        let frames = input.buffer();
        while let Ok(at) = usize::try_from(self.looked - front) {
            let Some(rest) = frames.get(at..).filter(|rest| !rest.is_empty()) else { return };
            let length = match (pings.look)(rest) {
                Seen::Ping(length) => {
                    output.tail().extend_from_slice(pings.answer);
                    self.answered += 1;
                    length
                }
                Seen::Other(length) => length,
                Seen::Unfinished | Seen::Last => return,
            };
            self.looked += length as u64;
        }
    }

    /// Whether the ping whose turn it is was answered before. They come in the same order.
    pub fn take_answered(&mut self) -> bool {
        let was_answered = self.answered > 0;
        self.answered -= u32::from(was_answered);
        was_answered
    }
}
