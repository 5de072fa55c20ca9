//! A session: one connection's verbs. The data verbs (publish, settle, flush) are synchronous and batched; the control
//! verbs flush first, so that they never overtake a publish, and resolve when their effect is stored.
//!
//! | file | verbs |
//! |---|---|
//! | `opening` `leaving` | a session begins, resumes, is taken over, ends; how long it outlives its connection |
//! | `ending` | a named session is ended by an operator |
//! | `publish` `batch` `flush` | what was published goes through the broker in one turn, or is held back |
//! | `copies` | what goes to several addresses at once |
//! | `lane` | lanes and their transactions |
//! | `consume` `credit` `settle` | consumers and single gets; their credit; outcomes |
//! | `claims` | deliveries that the session finishes, whatever becomes of its connection |
//! | `consumers` | by what consumers are found |
//! | `output` `written` | deliveries, confirms and notices are taken, and written |
//! | `declare` `bind` | queues, exchanges, bindings |
//! | `replay` | retained values for a new binding |
//! | `reply` | names at which a lane gets answers |
//! | `peek` `moving` | looking into a queue, and moving its messages elsewhere, for operators |
//! | `content` | what the workers of content routes do |
//! | `group` | groups of named sessions that share a queue |
//! | `keep` | what an adapter keeps outside of the broker counts, too |
//! | `rights` | what the session may do, asked by every verb; deliveries that it has no right to |
//! | `park` | delayed publishes and wills |
//! | `state` | the session itself |

pub mod batch;
pub mod bind;
pub mod claims;
pub mod consume;
pub mod consumers;
pub mod content;
pub mod copies;
pub mod credit;
pub mod declare;
pub mod ending;
pub mod flush;
pub mod group;
pub mod keep;
pub mod lane;
pub mod leaving;
pub mod moving;
pub mod opening;
pub mod output;
pub mod park;
pub mod peek;
pub mod publish;
pub mod replay;
pub mod reply;
pub mod rights;
pub mod settle;
pub mod state;
pub mod written;
