//! Exchanges, queues and bindings (AMQP 0-9-1 §1.6, §1.7; RabbitMQ "Exchange to exchange bindings").

use super::Connection;
use crate::codec::method::{Binding, ExchangeDeclare, QueueDeclare};
use crate::codec::{Refusal, Reply, ReplyCode};
use crate::mapping::errors::{self, Subject};
use crate::mapping::{ROUTING_KEY, address};
use crossdock_core::message::lookup;
use crossdock_core::{
    Bind, BindTarget, Error, ErrorKind, ExchangeSpec, Kind, Life, Name, QueueSpec, RESERVED_NAMES,
    Replay, Value,
};

/// Binding argument: deliver what is retained under the key.
const RETAINED: &str = "x-retained";

fn refused(text: String) -> Refusal {
    Refusal::new(ReplyCode::AccessRefused, text)
}

fn not_the_default_exchange(name: &str) -> Result<(), Refusal> {
    match name.is_empty() {
        true => Err(refused("operation not permitted on the default exchange".into())),
        false => Ok(()),
    }
}

/// `durable`, `type` and so on as they are shown in errors about settings that differ.
fn inequivalent(
    setting: &str,
    wanted: &ExchangeSpec,
    current: &ExchangeSpec,
    vhost: &str,
) -> Refusal {
    let show = |spec: &ExchangeSpec| match setting {
        "type" => spec.kind.as_str().to_owned(),
        "durable" => spec.durable.to_string(),
        "auto_delete" => spec.auto_delete.to_string(),
        "internal" => spec.internal.to_string(),
        "alternate-exchange" => spec.alternate().unwrap_or_default().to_owned(),
        _ => format!("{} arguments", spec.arguments.len()),
    };
    // Of an argument that only one of them has, RabbitMQ says the type, too.
    let typed = |spec: &ExchangeSpec| match spec.alternate() {
        Some(exchange) => format!("the value '{exchange}' of type 'longstr'"),
        None => "none".to_owned(),
    };
    let is_alone = wanted.alternate().is_some() != current.alternate().is_some();
    let (received, is) = match setting {
        "alternate-exchange" if is_alone => (typed(wanted), typed(current)),
        _ => (format!("'{}'", show(wanted)), format!("'{}'", show(current))),
    };
    let name = &wanted.name;
    let text = format!(
        "inequivalent arg '{setting}' for exchange '{name}' in vhost '{vhost}': received {received} but \
         current is {is}"
    );
    Refusal::new(ReplyCode::PreconditionFailed, text)
}

impl Connection {
    fn about_queue(&self, error: &Error, queue: &str) -> Refusal {
        errors::about(error, Subject::Queue(queue), &self.vhost)
    }

    fn about_exchange(&self, error: &Error, exchange: &str) -> Refusal {
        errors::about(error, Subject::Exchange(exchange), &self.vhost)
    }

    pub(super) async fn queue_declare(
        &mut self,
        channel: u16,
        declare: QueueDeclare,
    ) -> Result<(), Refusal> {
        let no_wait = declare.no_wait;
        if let Some(is_there) = self.declare_replies(&declare.queue) {
            is_there?;
            self.channel(channel)?.last_queue = Some(declare.queue.clone());
            if !no_wait {
                Reply::QueueDeclareOk { queue: &declare.queue, messages: 0, consumers: 1 }
                    .put(self.line.output.tail(), channel);
            }
            return Ok(());
        }
        let status = match declare.passive {
            true => {
                let status = self.session.ask_for_queue(&declare.queue);
                status.map_err(|error| self.about_queue(&error, &declare.queue))?
            }
            false => self.queue_declare_active(declare).await?,
        };
        self.channel(channel)?.last_queue = Some(status.name.clone());
        if !no_wait {
            let (messages, consumers) = (status.messages, status.consumers);
            Reply::QueueDeclareOk { queue: &status.name, messages, consumers }
                .put(self.line.output.tail(), channel);
        }
        Ok(())
    }

    async fn queue_declare_active(
        &mut self,
        declare: QueueDeclare,
    ) -> Result<crossdock_core::QueueStatus, Refusal> {
        let name = match declare.queue.is_empty() {
            // The core makes up a name: who has not chosen it needs no right to it.
            true => Name::default(),
            false => declare.queue,
        };
        let spec = QueueSpec {
            name: name.clone(),
            // RabbitMQ: what ends with its connection is not durable, whatever was asked for.
            durable: declare.durable && !declare.exclusive,
            auto_delete: declare.auto_delete,
            life: if declare.exclusive { Life::Exclusive } else { Life::Permanent },
            ..QueueSpec::default()
        };
        let spec = spec.with_arguments(declare.arguments);
        let spec = spec.map_err(|bad| errors::declaration(&bad, &self.vhost))?;
        let declared = self.line.while_waiting(self.session.declare_queue(spec)).await;
        Ok(declared.map_err(|error| self.about_queue(&error, &name))?.status)
    }

    pub(super) async fn queue_purge(
        &mut self,
        channel: u16,
        queue: Name,
        no_wait: bool,
    ) -> Result<(), Refusal> {
        let queue = self.queue_named(channel, queue)?;
        let purged = self.line.while_waiting(self.session.purge(&queue)).await;
        let messages = purged.map_err(|error| self.about_queue(&error, &queue))?;
        if !no_wait {
            Reply::QueuePurgeOk { messages }.put(self.line.output.tail(), channel);
        }
        Ok(())
    }

    pub(super) async fn queue_delete(
        &mut self,
        channel: u16,
        queue: Name,
        (if_unused, if_empty): (bool, bool),
        no_wait: bool,
    ) -> Result<(), Refusal> {
        let queue = self.queue_named(channel, queue)?;
        let messages = match self
            .line
            .while_waiting(self.session.delete_queue(&queue, if_unused, if_empty))
            .await
        {
            Ok(messages) => messages,
            // Deleting a queue that does not exist succeeds (RabbitMQ).
            Err(error) if error.kind() == ErrorKind::NotFound => 0,
            Err(error) => return Err(self.about_queue(&error, &queue)),
        };
        if !no_wait {
            Reply::QueueDeleteOk { messages }.put(self.line.output.tail(), channel);
        }
        Ok(())
    }

    pub(super) async fn queue_bind(
        &mut self,
        channel: u16,
        mut binding: Binding,
    ) -> Result<(), Refusal> {
        let no_wait = binding.no_wait;
        let bind = self.queue_binding(channel, &mut binding)?;
        let bound = self.line.while_waiting(self.session.bind(bind)).await;
        bound.map_err(|error| self.about_binding(&error, &binding, true))?;
        if !no_wait {
            Reply::QueueBindOk.put(self.line.output.tail(), channel);
        }
        Ok(())
    }

    pub(super) async fn queue_unbind(
        &mut self,
        channel: u16,
        mut binding: Binding,
    ) -> Result<(), Refusal> {
        let bind = self.queue_binding(channel, &mut binding)?;
        match self.line.while_waiting(self.session.unbind(bind)).await {
            // Removing a binding that does not exist succeeds (RabbitMQ).
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(self.about_binding(&error, &binding, true));
            }
            _ => Reply::QueueUnbindOk.put(self.line.output.tail(), channel),
        }
        Ok(())
    }

    fn queue_binding(&mut self, channel: u16, binding: &mut Binding) -> Result<Bind, Refusal> {
        // §1.7.2.3: without a queue's name and a key, the last declared queue's name is both.
        if binding.destination.is_empty() && binding.routing_key.is_empty() {
            let queue = self.queue_named(channel, Name::default())?;
            binding.routing_key = bytes::Bytes::copy_from_slice(queue.as_bytes());
        }
        binding.destination = self.queue_named(channel, binding.destination.clone())?;
        not_the_default_exchange(&binding.source)?;
        Ok(bind(binding, BindTarget::Queue(binding.destination.clone())))
    }

    pub(super) async fn exchange_bind(
        &mut self,
        channel: u16,
        binding: Binding,
        add: bool,
    ) -> Result<(), Refusal> {
        not_the_default_exchange(&binding.source)?;
        not_the_default_exchange(&binding.destination)?;
        let bind = bind(&binding, BindTarget::Exchange(binding.destination.clone()));
        let (done, reply) = match add {
            true => (self.line.while_waiting(self.session.bind(bind)).await, Reply::ExchangeBindOk),
            false => {
                (self.line.while_waiting(self.session.unbind(bind)).await, Reply::ExchangeUnbindOk)
            }
        };
        match done {
            Err(error) if add || error.kind() != ErrorKind::NotFound => {
                return Err(self.about_binding(&error, &binding, false));
            }
            _ => {}
        }
        if !binding.no_wait {
            reply.put(self.line.output.tail(), channel);
        }
        Ok(())
    }

    /// The refusal, about that end of the binding which was wrong.
    fn about_binding(&self, error: &Error, binding: &Binding, to_queue: bool) -> Refusal {
        let no_source = self.session.exchange(&binding.source).is_err();
        match to_queue && !(error.kind() == ErrorKind::NotFound && no_source) {
            true => self.about_queue(error, &binding.destination),
            false if no_source => self.about_exchange(error, &binding.source),
            false => self.about_exchange(error, &binding.destination),
        }
    }

    pub(super) async fn exchange_declare(
        &mut self,
        channel: u16,
        declare: ExchangeDeclare,
    ) -> Result<(), Refusal> {
        let (name, no_wait) = (declare.exchange.clone(), declare.no_wait);
        not_the_default_exchange(&name)?;
        let current = self.session.exchange(&name);
        match declare.passive {
            true => {
                current.map_err(|error| self.about_exchange(&error, &name))?;
            }
            false => {
                let spec = exchange_spec(declare, current.as_ref().ok())?;
                if let Ok(current) = current
                    && let Some(setting) = spec.differs(&current)
                {
                    return Err(inequivalent(setting, &spec, &current, &self.vhost));
                }
                let declared = self.line.while_waiting(self.session.declare_exchange(spec)).await;
                declared.map_err(|error| self.about_exchange(&error, &name))?;
            }
        }
        if !no_wait {
            Reply::ExchangeDeclareOk.put(self.line.output.tail(), channel);
        }
        Ok(())
    }

    pub(super) async fn exchange_delete(
        &mut self,
        channel: u16,
        exchange: Name,
        if_unused: bool,
        no_wait: bool,
    ) -> Result<(), Refusal> {
        not_the_default_exchange(&exchange)?;
        if exchange.starts_with(RESERVED_NAMES) {
            let vhost = &self.vhost;
            return Err(refused(format!(
                "deletion of system exchange '{exchange}' in vhost '{vhost}' not allowed"
            )));
        }
        match self.line.while_waiting(self.session.delete_exchange(&exchange, if_unused)).await {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(self.about_exchange(&error, &exchange));
            }
            _ => {}
        }
        // Publishes that follow in this turn have to look it up again.
        self.turn += 1;
        if !no_wait {
            Reply::ExchangeDeleteOk.put(self.line.output.tail(), channel);
        }
        Ok(())
    }
}

/// `current`: the exchange of that name, whose type stays known when no plugin brings it any more.
fn exchange_spec(
    declare: ExchangeDeclare,
    current: Option<&ExchangeSpec>,
) -> Result<ExchangeSpec, Refusal> {
    let current = current.map(|spec| spec.kind).filter(|kind| *kind.as_str() == *declare.kind);
    let kind = current.map_or_else(|| Kind::parse(&declare.kind), Ok);
    let kind = kind.map_err(|error| Refusal::new(ReplyCode::CommandInvalid, error.detail()))?;
    Ok(ExchangeSpec {
        name: declare.exchange,
        kind,
        durable: declare.durable,
        auto_delete: declare.auto_delete,
        internal: declare.internal,
        arguments: declare.arguments,
    })
}

fn bind(binding: &Binding, to: BindTarget) -> Bind {
    // docs/SEMANTICS.md §1: a key that is too long for a short string comes as an argument.
    let long = lookup(&binding.arguments, ROUTING_KEY).and_then(Value::as_str);
    let text = long.map_or(&*binding.routing_key, str::as_bytes);
    let key = address::key(&binding.source, text);
    let mut bind = Bind::new(binding.source.clone(), key, to);
    // §6: what is retained under the key is delivered with the binding.
    if lookup(&binding.arguments, RETAINED) == Some(&Value::Bool(true)) {
        bind.replay = Replay::Always;
    }
    bind.arguments = binding.arguments.clone();
    bind
}
