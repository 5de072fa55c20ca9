//! amqprs: RabbitMQ's tutorials, confirms with a return, and a new connection after the broker has closed one.

use amqprs::callbacks::{ChannelCallback, ConnectionCallback};
use amqprs::channel::*;
use amqprs::connection::{Connection, OpenConnectionArguments};
use amqprs::error::Error;
use amqprs::{Ack, BasicProperties, Cancel, Close, CloseChannel, Nack, Return};
use async_trait::async_trait;
use crossdock_frameworks::{
    PATTERNS, TOPICS, broker, check, checks, fibonacci, is_quiet, name, within,
};
use tokio::sync::mpsc::{self, Sender, UnboundedReceiver};

type Result<T> = std::result::Result<T, Error>;
type Deliveries = UnboundedReceiver<ConsumerMessage>;

const DIRECT_REPLY: &str = "amq.rabbitmq.reply-to";
const NOT_IMPLEMENTED: u16 = 540;
const NO_ROUTE: u16 = 312;

/// What the broker says to a publisher.
#[derive(Debug, PartialEq)]
enum Said {
    Confirmed(u64, bool),
    Refused(u64),
    Returned(u16, String, Vec<u8>),
}

/// Passes on what comes to a channel.
struct Listener(Sender<Said>);

#[async_trait]
impl ChannelCallback for Listener {
    async fn close(&mut self, _: &Channel, _: CloseChannel) -> Result<()> {
        Ok(())
    }

    async fn cancel(&mut self, _: &Channel, _: Cancel) -> Result<()> {
        Ok(())
    }

    async fn flow(&mut self, _: &Channel, active: bool) -> Result<bool> {
        Ok(active)
    }

    async fn publish_ack(&mut self, _: &Channel, ack: Ack) {
        let _ = self.0.send(Said::Confirmed(ack.delivery_tag(), ack.mutiple())).await;
    }

    async fn publish_nack(&mut self, _: &Channel, nack: Nack) {
        let _ = self.0.send(Said::Refused(nack.delivery_tag())).await;
    }

    async fn publish_return(
        &mut self,
        _: &Channel,
        back: Return,
        _: BasicProperties,
        body: Vec<u8>,
    ) {
        let said = Said::Returned(back.reply_code(), back.routing_key().clone(), body);
        let _ = self.0.send(said).await;
    }
}

/// Passes on the code that the broker closes a connection with.
struct Watcher(Sender<u16>);

#[async_trait]
impl ConnectionCallback for Watcher {
    async fn close(&mut self, _: &Connection, close: Close) -> Result<()> {
        let _ = self.0.send(close.reply_code()).await;
        Ok(())
    }

    async fn blocked(&mut self, _: &Connection, _: String) {}

    async fn unblocked(&mut self, _: &Connection) {}

    async fn secret_updated(&mut self, _: &Connection) {}
}

async fn connect() -> Result<Connection> {
    let (host, port) = broker();
    Connection::open(&OpenConnectionArguments::new(&host, port, "guest", "guest")).await
}

async fn declare(channel: &Channel, queue: QueueDeclareArguments) -> Result<String> {
    Ok(channel.queue_declare(queue).await?.expect("an answer").0)
}

async fn consume(channel: &Channel, queue: &str, no_ack: bool) -> Result<Deliveries> {
    let consumer = BasicConsumeArguments::new(queue, "").manual_ack(!no_ack).finish();
    Ok(channel.basic_consume_rx(consumer).await?.1)
}

async fn publish(
    channel: &Channel,
    (exchange, key): (&str, &str),
    body: &str,
    properties: BasicProperties,
) -> Result<()> {
    let mandatory = exchange.is_empty();
    let address = BasicPublishArguments::new(exchange, key).mandatory(mandatory).finish();
    channel.basic_publish(properties, body.as_bytes().to_vec(), address).await
}

fn persistent() -> BasicProperties {
    BasicProperties::default().with_persistence(true).finish()
}

/// A delivery with all its parts.
struct Got {
    tag: u64,
    redelivered: bool,
    key: String,
    properties: BasicProperties,
    text: String,
}

async fn next(deliveries: &mut Deliveries) -> Got {
    let message = within("a delivery", deliveries.recv()).await.expect("the consumer goes on");
    let deliver = message.deliver.expect("a delivery");
    Got {
        tag: deliver.delivery_tag(),
        redelivered: deliver.redelivered(),
        key: deliver.routing_key().clone(),
        properties: message.basic_properties.expect("properties"),
        text: String::from_utf8(message.content.expect("a body")).expect("a text"),
    }
}

async fn ack(channel: &Channel, got: &Got) -> Result<()> {
    channel.basic_ack(BasicAckArguments::new(got.tag, false)).await
}

/// Two workers with one task each: who is slow gets no second one, and what it leaves another one gets.
async fn work_queue(connection: &Connection, name: &str) -> Result<()> {
    let (boss, slow, quick) = (
        connection.open_channel(None).await?,
        connection.open_channel(None).await?,
        connection.open_channel(None).await?,
    );
    declare(&boss, QueueDeclareArguments::durable_client_named(name)).await?;
    for worker in [&slow, &quick] {
        worker.basic_qos(BasicQosArguments::new(0, 1, false)).await?;
    }
    let mut slow_tasks = consume(&slow, name, false).await?;
    publish(&boss, ("", name), "task 0", persistent()).await?;
    let first = next(&mut slow_tasks).await;
    let mut quick_tasks = consume(&quick, name, false).await?;
    for number in 1..10 {
        publish(&boss, ("", name), &format!("task {number}"), persistent()).await?;
    }
    for number in 1..10 {
        let task = next(&mut quick_tasks).await;
        check("a task of the quick worker", &task.text, &format!("task {number}"));
        ack(&quick, &task).await?;
    }
    check("the slow worker gets no second task", is_quiet(slow_tasks.recv()).await, true);
    check("its task", (first.text.as_str(), first.redelivered), ("task 0", false));
    slow.close().await?;
    let again = next(&mut quick_tasks).await;
    check("its task goes to the other", (again.text.as_str(), again.redelivered), ("task 0", true));
    ack(&quick, &again).await?;
    let left = boss.queue_delete(QueueDeleteArguments::new(name)).await?;
    check("nothing is left", left, Some(0));
    Ok(())
}

/// Queues of this connection, each bound to the exchange with its keys, and their consumers.
async fn bound(
    channel: &Channel,
    (exchange, kind): (&str, &str),
    keys: &[&[&str]],
) -> Result<Vec<Deliveries>> {
    let declared = ExchangeDeclareArguments::new(exchange, kind).auto_delete(true).finish();
    channel.exchange_declare(declared).await?;
    let mut consumers = Vec::new();
    for keys in keys {
        let queue = declare(channel, QueueDeclareArguments::exclusive_server_named()).await?;
        for key in *keys {
            channel.queue_bind(QueueBindArguments::new(&queue, exchange, key)).await?;
        }
        consumers.push(consume(channel, &queue, true).await?);
    }
    Ok(consumers)
}

async fn publish_subscribe(connection: &Connection, name: &str) -> Result<()> {
    let channel = connection.open_channel(None).await?;
    let mut all = bound(&channel, (name, "fanout"), &[&[""], &[""]]).await?;
    publish(&channel, (name, "ignored"), "to all", BasicProperties::default()).await?;
    for consumer in &mut all {
        check("each gets it", next(consumer).await.text.as_str(), "to all");
    }
    channel.close().await
}

async fn routing(connection: &Connection, name: &str) -> Result<()> {
    let channel = connection.open_channel(None).await?;
    let keys: [&[&str]; 2] = [&["error"], &["info", "warning", "error"]];
    let mut all = bound(&channel, (name, "direct"), &keys).await?;
    for severity in ["info", "error", "warning"] {
        publish(&channel, (name, severity), severity, BasicProperties::default()).await?;
    }
    for severity in ["info", "error", "warning"] {
        check("of all severities", next(&mut all[1]).await.text.as_str(), severity);
    }
    check("errors only", next(&mut all[0]).await.text.as_str(), "error");
    check("and nothing else", is_quiet(all[0].recv()).await, true);
    channel.close().await
}

async fn topics(connection: &Connection, name: &str) -> Result<()> {
    let channel = connection.open_channel(None).await?;
    let keys = PATTERNS.map(|pattern| [pattern]);
    let keys: Vec<&[&str]> = keys.iter().map(|keys| keys.as_slice()).collect();
    let mut all = bound(&channel, (name, "topic"), &keys).await?;
    for (topic, meets) in TOPICS {
        publish(&channel, (name, topic), topic, BasicProperties::default()).await?;
        for (consumer, _) in all.iter_mut().zip(meets).filter(|(_, meets)| *meets) {
            check("the key of what a pattern meets", next(consumer).await.key.as_str(), topic);
        }
    }
    for consumer in &mut all {
        check("nothing that it does not meet", is_quiet(consumer.recv()).await, true);
    }
    channel.close().await
}

/// Requests with direct reply-to: the answers come to the channel that asked, without a queue.
async fn rpc(connection: &Connection, name: &str) -> Result<()> {
    let (server, client) =
        (connection.open_channel(None).await?, connection.open_channel(None).await?);
    declare(&server, QueueDeclareArguments::new(name).exclusive(true).finish()).await?;
    let mut requests = consume(&server, name, false).await?;
    let serving = tokio::spawn(async move {
        loop {
            let request = next(&mut requests).await;
            let answer = fibonacci(request.text.parse().expect("a number"));
            let to = request.properties.reply_to().expect("where to answer");
            let id = request.properties.correlation_id().expect("a correlation id");
            let properties = BasicProperties::default().with_correlation_id(id).finish();
            publish(&server, ("", to), &answer.to_string(), properties).await.expect("an answer");
            ack(&server, &request).await.expect("an acknowledgement");
        }
    });
    let mut answers = consume(&client, DIRECT_REPLY, true).await?;
    for n in [30_u64, 0, 12] {
        let id = format!("request {n}");
        let properties = BasicProperties::default()
            .with_reply_to(DIRECT_REPLY)
            .with_correlation_id(&id)
            .finish();
        publish(&client, ("", name), &n.to_string(), properties).await?;
        let answer = next(&mut answers).await;
        check("the answer", &answer.text, &fibonacci(n).to_string());
        check("what it answers", answer.properties.correlation_id(), Some(&id));
    }
    serving.abort();
    client.close().await
}

async fn confirms(connection: &Connection, name: &str) -> Result<()> {
    let channel = connection.open_channel(None).await?;
    let (sender, mut said) = mpsc::channel(1000);
    channel.register_callback(Listener(sender)).await?;
    declare(&channel, QueueDeclareArguments::durable_client_named(name)).await?;
    channel.confirm_select(ConfirmSelectArguments::new(false)).await?;
    for number in 0..100 {
        publish(&channel, ("", name), &number.to_string(), persistent()).await?;
    }
    let mut open: Vec<u64> = (1..=100).collect();
    while !open.is_empty() {
        match within("a confirm", said.recv()).await {
            Some(Said::Confirmed(tag, multiple)) => {
                open.retain(|one| if multiple { *one > tag } else { *one != tag });
            }
            other => panic!("{other:?} instead of a confirm"),
        }
    }
    publish(&channel, ("", "nobody"), "lost", persistent()).await?;
    let back = within("a return", said.recv()).await;
    let expected = Said::Returned(NO_ROUTE, "nobody".to_owned(), b"lost".to_vec());
    check("what nobody gets comes back", back, Some(expected));
    let confirm = within("its confirm", said.recv()).await;
    check("and is confirmed", confirm, Some(Said::Confirmed(101, false)));
    let left = channel.queue_delete(QueueDeleteArguments::new(name)).await?;
    check("all are stored", left, Some(100));
    channel.close().await
}

/// After connection.close a new connection gets again what the old one had not acknowledged.
async fn reconnect(name: &str) -> Result<()> {
    let connection = connect().await?;
    let (sender, mut closed) = mpsc::channel(1);
    connection.register_callback(Watcher(sender)).await?;
    let channel = connection.open_channel(None).await?;
    declare(&channel, QueueDeclareArguments::durable_client_named(name)).await?;
    let mut consumer = consume(&channel, name, false).await?;
    publish(&channel, ("", name), "kept", persistent()).await?;
    let first = next(&mut consumer).await;
    check("the first time", (first.text.as_str(), first.redelivered), ("kept", false));
    // Asks for what the broker answers with connection.close.
    let address = BasicPublishArguments::new("", name).immediate(true).finish();
    channel.basic_publish(BasicProperties::default(), b"at once".to_vec(), address).await?;
    let code = within("the end of the connection", closed.recv()).await;
    check("its code", code, Some(NOT_IMPLEMENTED));
    let end = within("the end of the consumer", consumer.recv()).await;
    check("the consumer ends", end.is_none(), true);
    check("the connection is gone", connection.is_open(), false);

    let connection = connect().await?;
    let channel = connection.open_channel(None).await?;
    let mut consumer = consume(&channel, name, false).await?;
    let again = next(&mut consumer).await;
    check("the second time", (again.text.as_str(), again.redelivered), ("kept", true));
    ack(&channel, &again).await?;
    channel.queue_delete(QueueDeleteArguments::new(name)).await?;
    channel.close().await?;
    connection.close().await
}

#[tokio::main]
async fn main() -> Result<()> {
    let name = name("amqprs");
    let connection = connect().await?;
    check("direct reply-to", connection.server_properties().capabilities().direct_reply_to(), true);
    work_queue(&connection, &format!("{name}-tasks")).await?;
    publish_subscribe(&connection, &format!("{name}-logs")).await?;
    routing(&connection, &format!("{name}-direct")).await?;
    topics(&connection, &format!("{name}-topics")).await?;
    rpc(&connection, &format!("{name}-rpc")).await?;
    confirms(&connection, &format!("{name}-confirms")).await?;
    connection.close().await?;
    reconnect(&format!("{name}-reconnect")).await?;
    println!("{} checks", checks());
    Ok(())
}
