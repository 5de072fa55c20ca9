//! One flush's way through the broker.
//!
//! | file | step |
//! |---|---|
//! | `run` | the turn itself: its steps, until nothing is left to do, and one unit for the journal |
//! | `route` | messages are taken to where their routes lead |
//! | `content` | content routes: filters, diverts and taps, and what their steps decided |
//! | `plan` | what an input of content routes leads to, before any of it happens |
//! | `failures` | what `on_error` makes of a failure; dead letters |
//! | `append` | they become records of their queues, and are dispatched |
//! | `receivers` `refusals` `published` | what each queue or inbox gets in this turn; what was refused; what exchanges count |
//! | `dead_letter` | what a message becomes when it leaves a queue otherwise than by being accepted |
//! | `redrive` | where a message came from, and how an operator moves it there |
//! | `remember` | what steps of content routes remember |
//! | `retained` | retained values as they are published |
//! | `delayed` | what an exchange keeps for a time |
//! | `recent` | what an exchange keeps for bindings that are still to come |
//! | `figures` | what the broker says of itself at topics |
//! | `parked` | what was parked and is due |
//! | `removal` | how queues, exchanges and named sessions end |
//! | `after_commit` | what a commit leads to |
//! | `context` | where and when a turn takes place |

pub mod after_commit;
pub mod append;
pub mod content;
pub mod context;
pub mod dead_letter;
mod delayed;
pub mod failures;
pub mod figures;
pub mod parked;
pub mod plan;
pub mod published;
pub mod receivers;
mod recent;
pub mod redrive;
pub mod refusals;
pub mod remember;
pub mod removal;
pub mod retained;
pub mod route;
pub mod run;
