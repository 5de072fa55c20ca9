//! Exchanges whose kind a plugin brings: what happens to messages when the plugin cannot be asked.

use crate::stage::*;
use crossdock_core::exchange::{Binding, ForeignExchange, ForeignMaker, ForeignTable};
use crossdock_core::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Leads to all bindings, as long as it works.
#[derive(Clone, Default)]
struct All {
    fails: Arc<AtomicBool>,
    bindings: u32,
}

impl ForeignMaker for All {
    fn declare(&self, _: &ExchangeSpec) -> Result<Arc<dyn ForeignExchange>, Error> {
        Ok(Arc::new(self.clone()))
    }
}

impl ForeignExchange for All {
    fn reads(&self) -> &[String] {
        &[]
    }

    fn check(&self, binding: &Binding) -> Result<(), Error> {
        match &**binding.key.bytes() {
            b"no" => Err(Error::new(ErrorKind::Invalid, "not that key")),
            _ => Ok(()),
        }
    }

    fn compile(&self, bindings: &[Arc<Binding>]) -> Result<Arc<dyn ForeignTable>, Error> {
        Ok(Arc::new(All { bindings: bindings.len() as u32, ..self.clone() }))
    }
}

impl ForeignTable for All {
    fn route(&self, _: &Key, _: Vec<Option<Vec<u8>>>) -> Result<Vec<u32>, Error> {
        match self.fails.load(Ordering::Relaxed) {
            true => Err(Error::new(ErrorKind::Unavailable, "the plugin is out of use")),
            false => Ok((0..self.bindings).collect()),
        }
    }
}

fn to(key: &str) -> Address {
    Address::new("all".into(), key.into())
}

fn kind(name: &str) -> (Kind, Arc<AtomicBool>) {
    let maker = All::default();
    let fails = maker.fails.clone();
    (Kind::Foreign(ForeignKind::provide(name, Arc::new(maker)).expect("a new kind")), fails)
}

#[tokio::test]
async fn what_a_plugin_cannot_route_is_refused_or_kept_as_a_dead_letter() {
    let (kind, fails) = kind("x-fails");
    let stage = Stage::new().await;
    let mut c = stage.client().await;
    c.session.declare_exchange(ExchangeSpec::new("all", kind)).await.expect("declared");
    for name in ["q", "dead-letters"] {
        c.declare(QueueSpec::durable(name)).await;
    }
    c.bind("all", "", "q").await;
    let no = Bind::new("all", "no".into(), BindTarget::Queue("q".into()));
    let refused = c.session.bind(no).await.expect_err("the plugin takes no such key");
    assert_eq!((refused.kind(), refused.detail()), (ErrorKind::Invalid, "not that key"));
    assert!(matches!(c.durable(to("a"), "1").await, ConfirmOutcome::Stored));
    fails.store(true, Ordering::Relaxed);
    let outcome = c.durable(to("b"), "2").await;
    assert!(
        matches!(&outcome, ConfirmOutcome::Refused(why) if why.kind() == ErrorKind::Unavailable),
        "{outcome:?}"
    );
    assert_eq!(c.ready("dead-letters"), 0, "its publisher was told");
    let message = c.message(to("b"), "3", at_level_1);
    c.session.publish(c.lane, Publish::new(message, false));
    let message = c.message(to("b"), "4", at_level_1);
    let cannot_be_refused = Publish { can_refuse: false, ..Publish::new(message, true) };
    let number = c.session.publish(c.lane, cannot_be_refused);
    c.session.flush();
    assert!(matches!(c.confirmed(number).await, ConfirmOutcome::Stored));
    assert!(matches!(c.durable(to("a"), "5").await, ConfirmOutcome::Stored), "remembered");
    c.consume("dead-letters", 10, true).await;
    let dead = c.take(2).await;
    assert_eq!(bodies(&dead), ["3", "4"]);
    let fields = dead[0].message.fields(&Formats::new(Vec::new())).clone();
    let text = |name: &str| fields.header(name).and_then(Value::as_str).map(str::to_owned);
    assert_eq!(text("mq.error.text").as_deref(), Some("the plugin is out of use"));
    assert_eq!(text("mq.error.address").as_deref(), Some("exchange:all/b"));
    assert_eq!(c.ready("q"), 2);
    assert!(stage.broker.audit().is_empty());
}

#[tokio::test]
async fn what_dies_towards_a_plugin_that_fails_is_kept_as_a_dead_letter() {
    let (kind, fails) = kind("x-dead");
    let stage = Stage::new().await;
    let mut c = stage.client().await;
    c.session.declare_exchange(ExchangeSpec::new("all", kind)).await.expect("declared");
    c.declare(QueueSpec::durable("dead-letters")).await;
    c.declare(queue("q", &[("x-dead-letter-exchange", Value::text("all"))])).await;
    c.declare(QueueSpec::durable("target")).await;
    c.bind("all", "", "target").await;
    fails.store(true, Ordering::Relaxed);
    c.durable(Address::queue("q"), "1").await;
    c.consume("q", 10, true).await;
    let taken = c.take(1).await;
    c.settle(&taken, Outcome::Rejected { reason: None });
    until("the dead letter is kept", || c.ready("dead-letters") == 1).await;
    assert_eq!((c.ready("q"), c.ready("target")), (0, 0));
    assert!(stage.broker.audit().is_empty());
}

#[tokio::test]
async fn exchanges_and_bindings_of_a_plugin_are_stored() {
    let (kind, _) = kind("x-stored");
    let stage = Stage::new().await;
    let mut c = stage.client().await;
    c.session.declare_exchange(ExchangeSpec::new("all", kind)).await.expect("declared");
    c.declare(QueueSpec::durable("q")).await;
    c.bind("all", "", "q").await;
    let stage = stage.crash().await;
    let mut c = stage.client().await;
    assert_eq!(c.session.exchange("all").expect("there").kind, kind);
    assert!(matches!(c.durable(to("a"), "1").await, ConfirmOutcome::Stored));
    assert_eq!(c.ready("q"), 1);
}
