//! The broker's own figures, which clients read at topics: each is that topic's retained value, and goes to whoever
//! subscribes to it. They live as long as the process: the next one says them again, if it does at all.

use super::context::Context;
use super::run::{Terms, Turn};
use crate::exchange::is_figure;
use crate::message::{Address, Fields, Key, Message, Meta, Origin};
use std::sync::Arc;

/// A figure: where it is read, and what it says.
pub type Figure = (Key, String);

/// Publishes figures in that virtual host. One whose topic is not of theirs is left out.
pub fn publish_figures(context: Context<'_>, figures: Vec<Figure>) {
    let mut turn = Turn::default();
    let origin = Arc::new(Origin::default());
    for (topic, text) in figures.into_iter().filter(|(topic, _)| is_figure(topic)) {
        let mut meta = Meta::new(origin.clone(), context.now);
        meta.retain = true;
        let address = Address::new(context.vhost.topic_exchange.clone(), topic);
        let message = Message::from_fields(address, meta, &Fields::default(), text.into());
        context.shared.charge(&message);
        let route = context.vhost.topology.read().figure_route(message.address(), || {
            context.retain_figure(&message);
        });
        turn.publish(context, &message, &route, Terms::Untold);
        turn.run(context);
    }
    turn.finish(context, None);
}
