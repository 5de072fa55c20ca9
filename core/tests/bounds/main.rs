//! What one client can do to all the others is bounded: the work of each verb grows with what it is about, not with
//! what is there already, and what is there is counted against the memory budget.
//!
//! | file | what it is |
//! |---|---|
//! | `measure` | CPU time at n and 2n |
//! | `bindings` `matchers` | exchanges, queues and bindings; the matchers of all kinds of exchange |
//! | `recovery` | a start on what was stored |
//! | the others | the verbs of one part of the core |

mod bindings;
mod consumers;
mod matchers;
mod measure;
mod records;
mod recovery;
mod retained;
mod rights;
mod snapshots;
#[allow(dead_code)]
#[path = "../broker/stage.rs"]
mod stage;
mod timers;
mod turns;
