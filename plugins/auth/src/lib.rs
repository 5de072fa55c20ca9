//! Who is this? All that turns what a client presented at login into a user's name: hashes of passwords, SCRAM, tokens,
//! and the service that decides who may try now. Not authorisation, and not where users are kept: whoever asks brings
//! the user's hashes.
//!
//! | file | what is in it |
//! |---|---|
//! | `password` | [`PasswordHash`]: making, reading and checking one |
//! | `scram` `scram/exchange` | [`ScramKeys`], and the server's side of an exchange |
//! | `secrets` | [`Secrets`]: all that is kept of one password, as lines of TOML |
//! | `verify` | [`Verifier`]: who may try now, what was right lately, and who waits for whom |
//! | `token` | [`TokenKeys`]: tokens in the place of passwords |
//! | `scopes` | what a token says that its user may do |
//! | `import` | users and rights as Mosquitto and RabbitMQ keep them |
//! | `logins` | [`Logins`]: the authenticator of a broker with users |
//! | `order` | [`OrderedLogins`]: these, and authenticators of plugins, one after the other |
//! | `keyed` | HMAC, and the [`ProcessKey`] |

#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

pub mod import;
mod keyed;
pub mod logins;
pub mod order;
pub mod password;
pub mod scopes;
pub mod scram;
pub mod secrets;
pub mod token;
pub mod verify;

pub use keyed::ProcessKey;
pub use logins::{CertificateUser, Logins, TokenHandle, TokenRights, Tokens};
pub use order::{OrderedLogins, Turn};
pub use password::PasswordHash;
pub use scram::ScramKeys;
pub use secrets::Secrets;
pub use token::{TokenFiles, TokenKeys, TokenLogin, TokenRules};
pub use verify::{Attempt, Delays, Verified, Verifier, VerifierSettings};

use crossdock_core::{Error, ErrorKind};

/// What every refused login is told.
const REFUSED: &str = "login was refused";

/// Fills `bytes` with what nobody can predict. [`ErrorKind::Internal`] when the system has nothing.
fn random(bytes: &mut [u8]) -> Result<(), Error> {
    getrandom::fill(bytes).map_err(|why| {
        Error::new(ErrorKind::Internal, format!("the system gave no random bytes: {why}"))
    })
}
