//! Once a second: the clock follows the system's, so that what a client wants at a time happens at that time, also
//! after the machine was suspended or its clock was set; and what is to be warned about once a minute is.

use crate::broker::shared::Shared;
use crate::broker::shared::clock::{Correction, LOOK_EVERY_MS};
use std::sync::Arc;
use std::time::Duration;

/// Looks once a second until the broker closes.
pub async fn run(shared: Arc<Shared>) {
    loop {
        tokio::time::sleep(Duration::from_millis(LOOK_EVERY_MS)).await;
        for vhost in shared.all_vhosts().iter() {
            vhost.limits.report(&vhost.name);
        }
        shared.users.refused_logins.report();
        shared.pressure.sleepers.report(false);
        match shared.follow_clock() {
            None => {}
            Some(Correction::Jumped(ahead_ms)) => {
                tracing::warn!(
                    ahead_ms,
                    "the system's clock was ahead: the broker's clock has jumped there, and what is due by \
                     then happens now"
                );
                shared.timers.look_again();
            }
            Some(Correction::Slowed(behind_ms)) => tracing::warn!(
                behind_ms,
                "the system's clock is behind: the broker's clock never goes back, and goes at half speed \
                 until they agree"
            ),
            Some(Correction::Agreed) => {
                tracing::info!("the broker's clock and the system's agree again");
            }
        }
    }
}
