//! Users, what they may do, and the question whether somebody may.
//!
//! | file | what it is |
//! |---|---|
//! | `directory` | the users: those of the configuration, and those that were made at run time |
//! | `subject` | whose rights are asked for: a session, or what is left of one |
//! | `refusals` | what was refused: counted, one warning a minute for each user, the audit |

pub mod directory;
pub mod refusals;
pub mod subject;
