//! Classes of bugs that other brokers had, each with the test that this one passes. What else belongs to a class is
//! named here.
//!
//! | class | tests |
//! |---|---|
//! | huge lengths and slow peers before the login | `before_login` |
//! | integers and lengths at their bounds, also split at every byte inside WebSocket | `bounds` |
//! | counts without end: user properties, identifiers that never end | `counts`, `floods` |
//! | nesting and depth, patterns that take exponential time | `depth` |
//! | what is missing or empty, packets that only a server sends | `bounds`, `hostile` |
//! | rights by the characters of a name, another's session | `names`, `doors` |
//! | effects before the login, logins out of order | `order`, `hostile`, `doors` |
//! | names as paths, names as lines of the log | `names` |
//! | routes and dead letters in a circle | `circles` |
//! | no file descriptors left | `descriptors` |
//! | documents as programs: entities, depth, bombs | transforms/guests and transforms/tests |
//! | modules that loop, grow or call without end | transforms/tests, `routes` |

mod before_login;
mod bounds;
mod circles;
mod counts;
mod depth;
mod descriptors;
mod names;
mod order;

use crate::broker::Broker;
use crate::wire::amqp::{Amqp, Properties};
use std::time::{Duration, Instant};

/// How long a good client waits for a confirm at most, whatever others do.
const GOOD: Duration = Duration::from_millis(50);
/// The first of many slow answers of a busy machine does not count.
const TRIES: usize = 5;

/// A client that behaves.
struct Good(Amqp);

impl Good {
    fn new(broker: &Broker) -> Self {
        let mut client = Amqp::connect(broker.amqp);
        client.queue("good", false);
        client.confirm_select();
        Self(client)
    }

    /// Publishes, waits for the confirm and takes the message back, within the time of [`GOOD`] at least once in a few
    /// tries.
    #[track_caller]
    fn is_served(&mut self, beside: &str) {
        let mut took = Vec::new();
        for _ in 0..TRIES {
            let started = Instant::now();
            self.0.publish("", "good", &Properties::default(), b"good");
            self.0.wait_confirms();
            took.push(started.elapsed());
            assert_eq!(self.0.get("good").expect("a message").body, b"good");
            if started.elapsed() <= GOOD {
                return;
            }
        }
        panic!("beside {beside} a good client waited {took:?}");
    }
}
