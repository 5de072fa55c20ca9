//! `cargo xtask run`: build, say what to type next, become the broker.

use crate::{cargo, command, target};
use anyhow::{Context, Result, bail};
use std::os::unix::process::CommandExt;
use std::process::ExitCode;

const NEXT: &str = r#"
Crossdock runs with examples/hub.toml. In another terminal:

  mosquitto_sub -p 1883 -t inventory -C 1 &
  mosquitto_pub -p 1883 -q 1 -t suppliers/acme/stock -m '<item id="I101" stock="50"/>'
      prints {"item_id":"I101","stock":50}, and queue inventory holds one more message, for
      AMQP clients on port 5672 and STOMP clients on port 61613 (destination /queue/inventory)

examples/README.md has programs for every protocol. Ctrl-C stops the broker.
"#;

/// Does not come back unless something is wrong.
pub fn run(arguments: &[&str]) -> Result<ExitCode> {
    println!(
        "building the broker in the profile 'quick': without link-time optimisation, so that a first \
         build takes minutes less; `cargo build --release` builds the one to measure and to keep"
    );
    let status = cargo(&["build", "--profile", "quick", "--bin", "crossdock"]).status();
    if !status.context("cargo cannot be run")?.success() {
        bail!("the broker could not be built");
    }
    println!("{NEXT}");
    let binary = target().join("quick").join("crossdock");
    let mut broker = command(&binary, &["serve", "--config", "examples/hub.toml"]);
    // The broker takes this process's place, so that signals reach it.
    let error = broker.args(arguments).exec();
    Err(error).with_context(|| format!("{} cannot be run", binary.display()))
}
