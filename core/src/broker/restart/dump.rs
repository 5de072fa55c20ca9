//! What a stored queue holds, for tools: read out of a store that nobody has to have open as a broker.

use super::recovery;
use crate::broker::journal::fetch::fetch;
use crate::error::{Error, ErrorKind};
use crate::log::{Offset, Place};
use crate::message::{Budget, Message};
use crate::store::Store;
use std::sync::Arc;

/// Messages that are read at once.
const MESSAGES: usize = 256;

/// A message in a queue.
#[derive(Debug)]
pub struct Stored {
    pub offset: Offset,
    /// Where its record is in the journal.
    pub place: Place,
    /// Failed deliveries.
    pub attempts: u16,
    /// None when its journal entry cannot be read.
    pub message: Option<Message>,
}

/// Calls `each` with every message that is stored in that queue, in its order, and returns how many there are.
/// `NotFound` when there is no such queue. Damaged entries are skipped.
pub async fn dump(
    store: &dyn Store,
    (vhost, queue): (&str, &str),
    each: &mut dyn FnMut(Stored) -> Result<(), Error>,
) -> Result<u64, Error> {
    // Nothing is held back by it.
    let budget = Arc::new(Budget::new(usize::MAX, usize::MAX));
    let (recovered, _) = recovery::read(store, &budget).await?;
    let Some(records) = recovered.records(vhost, queue) else {
        let names = recovered.queue_names(vhost).join(", ");
        let why = format!("no stored queue '{queue}' in vhost '{vhost}'; there are: {names}");
        return Err(Error::new(ErrorKind::NotFound, why));
    };
    for some in records.chunks(MESSAGES) {
        let places: Vec<Place> = some.iter().map(|(_, place, _)| *place).collect();
        let messages = fetch(store, &places).await;
        for ((offset, place, attempts), message) in some.iter().zip(messages) {
            each(Stored { offset: *offset, place: *place, attempts: *attempts, message })?;
        }
    }
    Ok(records.len() as u64)
}
