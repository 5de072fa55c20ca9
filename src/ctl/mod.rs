//! `crossdock ctl` and `crossdock status`: what an operator asks a broker that runs, over the socket in its data
//! directory.
//!
//! | file | what is in it |
//! |---|---|
//! | `command` | the command line |
//! | `client` | one request over the socket |
//! | `looks` | what looks: lists, objects, alarms, health, audit |
//! | `acts` | what changes something |
//! | `table` `screen` | answers as people read them |

mod acts;
mod client;
pub mod command;
mod looks;
mod screen;
mod table;

use crate::output::{self, complain};
use client::{Client, Failure};
use command::{CtlOrder, CtlVerb, Place, StatusOrder};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Exit code: all is not well, or the broker refused.
const EXIT_REFUSED: u8 = 1;
/// Exit code: the command line makes no sense.
const EXIT_USAGE: u8 = 2;
/// Exit code: no broker answers; EX_UNAVAILABLE of sysexits.
const EXIT_NOT_RUNNING: u8 = 69;

/// Where the socket of a broker is, in its data directory.
pub fn socket_in(data_dir: &Path) -> PathBuf {
    data_dir.join("ctl.sock")
}

/// Runs `crossdock ctl`.
pub fn run(order: CtlOrder) -> ExitCode {
    let place = &order.place;
    with_client(place, |client| match order.verb {
        CtlVerb::Look(look) => looks::run(client, &look, place.json),
        CtlVerb::Act(act) => acts::run(client, act, place.json),
    })
}

/// Runs `crossdock status`.
pub fn status(order: &StatusOrder) -> ExitCode {
    let place = &order.place;
    with_client(place, |client| looks::status(client, order.seconds, place.json))
}

fn with_client(place: &Place, work: impl FnOnce(&Client) -> Result<ExitCode, Failure>) -> ExitCode {
    let done = socket(place).and_then(|socket| work(&Client::new(socket, place.timeout)));
    done.unwrap_or_else(|failure| {
        if !failure.text.is_empty() {
            complain!("{}", failure.text);
        }
        ExitCode::from(failure.exit)
    })
}

/// The socket that is asked. A data directory that is named needs no configuration.
fn socket(place: &Place) -> Result<PathBuf, Failure> {
    if let Some(socket) = &place.socket {
        return Ok(socket.clone());
    }
    if let Some(data_dir) = &place.data_dir {
        return Ok(socket_in(Path::new(data_dir)));
    }
    let loaded = place.sources().load().map_err(Failure::usage)?;
    Ok(socket_in(&loaded.config.data_dir))
}

/// Prints a part of an answer; an error when nobody gets it.
fn print(text: &str) -> Result<(), Failure> {
    output::put(text);
    if output::has_failed() { Err(Failure::unwritten()) } else { Ok(()) }
}
