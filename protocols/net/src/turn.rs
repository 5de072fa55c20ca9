//! How much a connection may do before others have their turn: frames, and time.

use std::time::{Duration, Instant};

/// A task that has run for this long lets others run.
const TIME: Duration = Duration::from_millis(1);
/// Frames that are decoded in one turn, at most. One read brings fewer, unless they are very small ones, or came
/// behind a very large one.
const FRAMES: u32 = 4096;

/// What a connection has done since others had their turn.
#[derive(Debug)]
pub(crate) struct Turn {
    began: Instant,
    frames: u32,
}

impl Turn {
    /// A turn that begins now.
    pub(crate) fn new() -> Self {
        Self { began: Instant::now(), frames: 0 }
    }

    /// Others had theirs.
    pub(crate) fn begin(&mut self) {
        *self = Self::new();
    }

    /// Others are to have theirs.
    pub(crate) fn is_long(&self) -> bool {
        self.began.elapsed() > TIME
    }

    /// Counts a frame; false when there were too many.
    pub(crate) fn has_room(&mut self) -> bool {
        self.frames += 1;
        self.frames <= FRAMES
    }

    /// The adapter was told that more is there.
    pub(crate) fn forget_frames(&mut self) {
        self.frames = 0;
    }
}
