//! What content routes do when something is missing, full, refused or forbidden, by name: on the real program, over
//! sockets, for routes that run in the publisher's turn and for those that run from a queue, for every way to publish.

mod amqp;
mod granted;
mod losses;
mod mqtt;
mod once;
mod own_queues;
mod publisher;
mod remember;
mod seen;
mod silent;
mod swap;
mod topics;

use crate::broker::{Broker, Folder, root};
use crate::wire::amqp::{Amqp, Delivery};
use crate::wire::eventually;
use std::fmt::Write;
use std::ops::Deref;

/// Where a route's steps run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Inline,
    Wasm,
}

const KINDS: [Kind; 2] = [Kind::Inline, Kind::Wasm];

impl Kind {
    /// Steps that send a message on and mark it with the header `seen`.
    fn steps(self) -> String {
        let set = r#"{ set = { seen = "'yes'" } }"#;
        match self {
            Kind::Inline => format!("steps = [{set}]"),
            Kind::Wasm => format!("steps = [{}, {set}]", misbehave()),
        }
    }
}

/// The module that does what the body says: `error`, `keep`, `drop`, or anything else, which goes on. It may send to
/// any topic.
fn misbehave() -> String {
    let module = root().join("transforms/tests/misbehave.wasm");
    format!(r#"{{ wasm = "{}", destinations = ["topic:#"] }}"#, module.display())
}

/// A configuration being written.
#[derive(Default)]
struct Setup {
    text: String,
}

impl Setup {
    fn new() -> Self {
        let mut setup = Self::default();
        setup.queue(publisher::COMPANIONS);
        setup
    }

    fn line(&mut self, line: &str) -> &mut Self {
        writeln!(self.text, "{line}").expect("a text grows");
        self
    }

    fn queue(&mut self, name: &str) -> &mut Self {
        self.line(&format!("[[queue]]\nname = \"{name}\""))
    }

    /// A queue that takes one message and refuses the next.
    fn narrow(&mut self, name: &str) -> &mut Self {
        self.queue(name);
        self.line(r#"arguments = { x-max-length = 1, x-overflow = "reject-publish" }"#)
    }

    fn exchange(&mut self, name: &str, kind: &str) -> &mut Self {
        self.line(&format!("[[exchange]]\nname = \"{name}\"\ntype = \"{kind}\""))
    }

    fn bind(&mut self, source: &str, key: &str, to: &str) -> &mut Self {
        let text = format!("[[binding]]\nsource = \"{source}\"\nkey = \"{key}\"\nto = \"{to}\"");
        self.line(&text)
    }

    /// A queue that hears a topic.
    fn hears(&mut self, topic: &str, queue: &str) -> &mut Self {
        self.queue(queue).bind("amq.topic", topic, &format!("queue:{queue}"))
    }

    fn route(&mut self, name: &str, lines: &[&str]) -> &mut Self {
        self.line(&format!("[[route]]\nname = \"{name}\""));
        for line in lines {
            self.line(line);
        }
        self
    }

    fn start(&self) -> Running {
        let folder = Folder::new();
        let file = folder.write("routes.toml", &self.text);
        // Nothing is heard but what a test publishes.
        let options = ["--config", &file.to_string_lossy(), "--set", "vhost.sys_interval=0s"];
        let broker = Broker::with(&options);
        Running { broker, _folder: folder }
    }
}

struct Running {
    broker: Broker,
    _folder: Folder,
}

impl Deref for Running {
    type Target = Broker;
    fn deref(&self) -> &Broker {
        &self.broker
    }
}

/// Looks into queues.
struct Look(Amqp);

impl Look {
    fn into(broker: &Broker) -> Self {
        let mut amqp = Amqp::connect(broker.amqp);
        amqp.confirm_select();
        Self(amqp)
    }

    /// Takes all that is in a queue.
    fn take(&mut self, queue: &str) -> Vec<Delivery> {
        std::iter::from_fn(|| self.0.get(queue)).collect()
    }

    fn bodies(&mut self, queue: &str) -> Vec<String> {
        let body = |d: Delivery| String::from_utf8_lossy(&d.body).into_owned();
        self.take(queue).into_iter().map(body).collect()
    }

    /// Takes the one message that has to come into the queue.
    fn one(&mut self, queue: &str) -> Delivery {
        let what = format!("a message in {queue}");
        eventually(&what, || self.0.get(queue))
    }

    fn put(&mut self, queue: &str, body: &str) {
        let properties = crate::wire::amqp::Properties::persistent();
        self.0.publish("", queue, &properties, body.as_bytes());
        self.0.wait_confirms();
    }
}

/// All that went wrong in a table, shown together.
#[derive(Default)]
struct Wrong(Vec<String>);

impl Wrong {
    fn check(&mut self, case: &str, what: &str, holds: bool) {
        if !holds {
            self.0.push(format!("{case}: {what}"));
        }
    }

    fn equal<T: PartialEq + std::fmt::Debug>(&mut self, case: &str, what: &str, got: T, want: T) {
        if got != want {
            self.0.push(format!("{case}: {what}: wanted {want:?}, got {got:?}"));
        }
    }
}

impl Drop for Wrong {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert!(self.0.is_empty(), "{} wrong:\n  {}", self.0.len(), self.0.join("\n  "));
        }
    }
}
