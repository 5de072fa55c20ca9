//! What of a store cannot be read, and that nobody starts without it unasked.

use crate::error::{Error, ErrorKind};

/// Damaged entries that were skipped, and what is wrong with the first.
#[derive(Default, Clone)]
pub struct Damage {
    entries: u64,
    first: Option<String>,
}

impl Damage {
    /// There is some.
    pub fn is_any(&self) -> bool {
        self.entries > 0
    }

    /// More of it.
    pub fn note(&mut self, entries: u64, why: impl FnOnce() -> String) {
        self.entries += entries;
        if entries > 0 {
            self.first.get_or_insert_with(why);
        }
    }

    /// How many entries are damaged. An error when there are some, and nobody has accepted that.
    pub fn accepted(&self, is_accepted: bool) -> Result<u64, Error> {
        if self.entries == 0 || is_accepted {
            return Ok(self.entries);
        }
        let (damaged, first) = (self.entries, self.first.as_deref().unwrap_or_default());
        let why = format!(
            "{damaged} entries of the journal are damaged, what they held is lost, acknowledgements and \
             declarations perhaps: {first}; start once with --accept-damage to go on without them"
        );
        Err(Error::new(ErrorKind::Invalid, why))
    }
}
