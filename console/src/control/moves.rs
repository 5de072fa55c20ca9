//! Moves that run, by number: listed, counted, and stopped before their end. A move belongs to the act that asked for
//! it, and is here until that is through.

use super::acts::Act;
use super::answer::Refusal;
use super::view::View;
use async_trait::async_trait;
use crossdock_core::{MoveProgress, Timestamp};
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Moves and dry runs at once, at most. Each reads its queue and writes to the store like a busy client, and holds one
/// of the connections of the socket, of which the others are for whoever looks meanwhile.
pub const MOVES_MAX: usize = 8;

/// Time for a move to end that was stopped: it stores its slice first.
const STOP_TIME: Duration = Duration::from_secs(10);
/// How often it is looked whether it has.
const STOP_STEP: Duration = Duration::from_millis(10);

/// What a move was told, for whoever looks.
#[derive(Debug, Clone)]
pub struct MoveAsked {
    pub vhost: String,
    pub from: String,
    /// None: each message to its origin, or nowhere.
    pub to: Option<String>,
    /// They are dropped.
    pub drops: bool,
    pub dry_run: bool,
    pub by: String,
    pub since: Timestamp,
}

/// A move that runs.
#[derive(Debug)]
struct Running {
    asked: MoveAsked,
    progress: Arc<MoveProgress>,
}

/// All moves that run.
#[derive(Debug, Default)]
pub struct Moves(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    running: BTreeMap<u64, Running>,
    last: u64,
}

/// A move is in the list as long as its place is there.
#[derive(Debug)]
pub struct Place<'a> {
    moves: &'a Moves,
    id: u64,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.moves.0.lock().running.remove(&self.id);
    }
}

impl Moves {
    /// A move begins; 503 where too many run.
    pub fn begin(
        &self,
        asked: MoveAsked,
        progress: Arc<MoveProgress>,
    ) -> Result<Place<'_>, Refusal> {
        let mut state = self.0.lock();
        if state.running.len() >= MOVES_MAX {
            let why = format!(
                "{MOVES_MAX} moves and dry runs go on already, and no more do at once: nothing was moved; \
                 wait for one, or end one: `crossdock ctl list moves`, `crossdock ctl stop move ID`"
            );
            return Err(Refusal::later(why));
        }
        state.last += 1;
        let id = state.last;
        state.running.insert(id, Running { asked, progress });
        Ok(Place { moves: self, id })
    }

    /// Those that run, the oldest first.
    pub fn list(&self) -> Vec<Json> {
        self.0.lock().running.iter().map(|(id, one)| one.shown(*id)).collect()
    }

    fn progress(&self, id: u64) -> Option<Arc<MoveProgress>> {
        self.0.lock().running.get(&id).map(|one| one.progress.clone())
    }
}

impl Running {
    fn shown(&self, id: u64) -> Json {
        let (matched, moved, left) = self.progress.counts();
        let asked = &self.asked;
        let mut shown = json!({
            "id": id,
            "vhost": asked.vhost,
            "from": asked.from,
            "to_origin": asked.to.is_none() && !asked.drops,
            "drops": asked.drops,
            "dry_run": asked.dry_run,
            "by": asked.by,
            "since_ms": asked.since.0,
            "matched": matched,
            "moved": moved,
            "left": left,
        });
        if let (Some(shown), Some(to)) = (shown.as_object_mut(), &asked.to) {
            shown.insert("to".to_owned(), json!(to));
        }
        shown
    }
}

/// A move that is to end before its end.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StopMove {
    id: u64,
}

#[async_trait]
impl Act for StopMove {
    const WHAT: &'static str = "move stopped";

    fn object(&self) -> (Option<&str>, String) {
        (None, self.id.to_string())
    }

    async fn run(self, view: &View) -> Result<Json, Refusal> {
        let moves = &view.common.moves;
        let missing = || {
            let why = format!("there is no move {}: it has ended, or was never there", self.id);
            Refusal::missing(why)
        };
        let progress = moves.progress(self.id).ok_or_else(missing)?;
        progress.stop();
        let until = tokio::time::Instant::now() + STOP_TIME;
        while moves.progress(self.id).is_some() {
            if tokio::time::Instant::now() >= until {
                let why = format!(
                    "move {} is told to stop, and has not done so in {} s: the store has not answered it yet",
                    self.id,
                    STOP_TIME.as_secs()
                );
                return Err(Refusal::later(why));
            }
            tokio::time::sleep(STOP_STEP).await;
        }
        let (matched, moved, left) = progress.counts();
        Ok(json!({ "matched": matched, "moved": moved, "left": left }))
    }
}
