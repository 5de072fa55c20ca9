//! `crossdock route drain OLD`: what waits for a route that is not configured any more goes back to where it was
//! published, or elsewhere, and the queue it waited in is deleted. The broker runs for that, without a port.

use crate::config::{Loaded, Mistake, address};
use crate::plan::Plan;
use crate::serve::close;
use crossdock_core::store::Store;
use crossdock_core::{Address, RouteDrained};
use std::sync::Arc;

/// What is to be moved where to.
#[derive(Debug)]
pub struct Order {
    /// The route that was.
    pub old: String,
    /// None: where each message was published.
    pub to: Option<Address>,
}

impl Order {
    /// Reads the command line. A route that is still configured works on what waits for it.
    pub fn read(
        old: &str,
        to: Option<&str>,
        plan: &Plan,
        loaded: &Loaded,
    ) -> Result<Self, Vec<Mistake>> {
        let mut mistakes = Vec::new();
        for (index, _) in loaded.routes.iter().filter(|(_, spec)| spec.name() == old) {
            let reason =
                "is to be drained and is still configured: take it out, or rename it, first";
            mistakes.push(loaded.mistake(format!("route[{index}].name"), reason));
        }
        let topics = &plan.settings.topic_exchange;
        let to = to.map(|text| address(text, topics)).transpose().and_then(|to| {
            to.iter().try_for_each(|to| plan.check_destination(to, loaded))?;
            Ok(to)
        });
        match to {
            Ok(to) if mistakes.is_empty() => Ok(Self { old: old.to_owned(), to }),
            Ok(_) => Err(mistakes),
            Err(reason) => {
                mistakes.push(Mistake::of_option("--to", reason));
                Err(mistakes)
            }
        }
    }
}

/// Opens the broker without ports, moves the messages and closes it.
pub async fn drain(
    plan: Plan,
    store: Arc<dyn Store>,
    loaded: &Loaded,
    order: Order,
) -> Result<RouteDrained, Vec<Mistake>> {
    let broker = plan.recover(store, loaded).await?;
    let drained = async {
        let mistakes = plan.declarations.compare(&broker, loaded, &plan.settings.objects).await;
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        plan.set_up(&broker, loaded).await?;
        let drained = broker.drain_route(&order.old, order.to.as_ref()).await;
        drained.map_err(|error| {
            vec![loaded.mistake("", format!("route {} cannot be drained: {error}", order.old))]
        })
    };
    let drained = drained.await;
    close(&broker).await;
    // The plan owns the host of the routes' modules, which has to outlive the broker.
    drop(plan);
    drained
}
