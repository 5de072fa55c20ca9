//! What one client can do to all the others is bounded: the work of each verb grows with what it is about, not with
//! what is there already, and what is there is counted against the memory budget.
//!
//! | file | what it is |
//! |---|---|
//! | `measure` | CPU time at n and 2n |
//! | the others | the verbs of one part of the core |

mod consumers;
mod measure;
mod records;
