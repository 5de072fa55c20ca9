//! lapin: RabbitMQ's tutorials, confirms with a return, and what goes on after the broker has closed the connection: by
//! hand, and by lapin's own recovery.

use crossdock_frameworks::{
    PATTERNS, TOPICS, broker, check, checks, fibonacci, is_quiet, name, within,
};
use futures_lite::StreamExt;
use lapin::message::Delivery;
use lapin::options::*;
use lapin::types::{FieldTable, ShortString};
use lapin::{
    BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, Consumer, Error,
    ErrorKind, ExchangeKind, Result,
};
use std::time::Duration;

const DIRECT_REPLY: &str = "amq.rabbitmq.reply-to";
const NOT_IMPLEMENTED: u16 = 540;
const NO_ROUTE: u16 = 312;

async fn connect(properties: ConnectionProperties) -> Result<Connection> {
    let (host, port) = broker();
    Connection::connect(&format!("amqp://guest:guest@{host}:{port}/%2f"), properties).await
}

async fn declare(channel: &Channel, name: &str, options: QueueDeclareOptions) -> Result<String> {
    let queue = channel.queue_declare(name.into(), options, FieldTable::default()).await?;
    Ok(queue.name().to_string())
}

async fn consume(channel: &Channel, queue: &str, no_ack: bool) -> Result<Consumer> {
    let options = BasicConsumeOptions { no_ack, ..BasicConsumeOptions::default() };
    channel.basic_consume(queue.into(), "".into(), options, FieldTable::default()).await
}

async fn publish(
    channel: &Channel,
    (exchange, key): (&str, &str),
    body: &str,
    properties: BasicProperties,
) -> Result<Confirmation> {
    let mandatory = exchange.is_empty();
    let options = BasicPublishOptions { mandatory, ..BasicPublishOptions::default() };
    let publish =
        channel.basic_publish(exchange.into(), key.into(), options, body.as_bytes(), properties);
    publish.await?.await
}

/// A channel that is only dropped is closed in the background, and may be in the way of what closes the connection.
async fn close(channels: &[&Channel]) -> Result<()> {
    for channel in channels {
        channel.close(200, "done".into()).await?;
    }
    Ok(())
}

async fn next(consumer: &mut Consumer) -> Result<Delivery> {
    within("a delivery", consumer.next()).await.expect("the consumer goes on")
}

fn text(delivery: &Delivery) -> &str {
    std::str::from_utf8(&delivery.data).expect("a text")
}

fn persistent() -> BasicProperties {
    BasicProperties::default().with_delivery_mode(2)
}

/// Two workers with one task each: who is slow gets no second one, and what it leaves another one gets.
async fn work_queue(connection: &Connection, name: &str) -> Result<()> {
    let (boss, slow, quick) = (
        connection.create_channel().await?,
        connection.create_channel().await?,
        connection.create_channel().await?,
    );
    let queue = declare(&boss, name, QueueDeclareOptions::durable()).await?;
    for worker in [&slow, &quick] {
        worker.basic_qos(1, BasicQosOptions::default()).await?;
    }
    let mut slow_tasks = consume(&slow, &queue, false).await?;
    publish(&boss, ("", &queue), "task 0", persistent()).await?;
    let first = next(&mut slow_tasks).await?;
    let mut quick_tasks = consume(&quick, &queue, false).await?;
    for number in 1..10 {
        publish(&boss, ("", &queue), &format!("task {number}"), persistent()).await?;
    }
    for number in 1..10 {
        let task = next(&mut quick_tasks).await?;
        check("a task of the quick worker", text(&task), format!("task {number}").as_str());
        task.ack(BasicAckOptions::default()).await?;
    }
    check("the slow worker gets no second task", is_quiet(slow_tasks.next()).await, true);
    check("its task", (text(&first), first.redelivered), ("task 0", false));
    slow.close(200, "gone".into()).await?;
    let again = next(&mut quick_tasks).await?;
    check("its task goes to the other", (text(&again), again.redelivered), ("task 0", true));
    again.ack(BasicAckOptions::default()).await?;
    let left = boss.queue_delete(queue.into(), QueueDeleteOptions::default()).await?;
    check("nothing is left", left, 0);
    close(&[&boss, &quick]).await
}

/// Queues of this connection, each bound to the exchange with its keys, and their consumers.
async fn bound(
    channel: &Channel,
    (exchange, kind): (&str, ExchangeKind),
    keys: &[&[&str]],
) -> Result<Vec<Consumer>> {
    let options = ExchangeDeclareOptions { auto_delete: true, ..ExchangeDeclareOptions::default() };
    channel.exchange_declare(exchange.into(), kind, options, FieldTable::default()).await?;
    let mut consumers = Vec::new();
    for keys in keys {
        let queue = declare(channel, "", QueueDeclareOptions::exclusive()).await?;
        for key in *keys {
            let (queue, options) = (ShortString::from(queue.as_str()), QueueBindOptions::default());
            let arguments = FieldTable::default();
            channel.queue_bind(queue, exchange.into(), (*key).into(), options, arguments).await?;
        }
        consumers.push(consume(channel, &queue, true).await?);
    }
    Ok(consumers)
}

async fn publish_subscribe(connection: &Connection, name: &str) -> Result<()> {
    let channel = connection.create_channel().await?;
    let mut all = bound(&channel, (name, ExchangeKind::Fanout), &[&[""], &[""]]).await?;
    publish(&channel, (name, "ignored"), "to all", BasicProperties::default()).await?;
    for consumer in &mut all {
        check("each gets it", text(&next(consumer).await?), "to all");
    }
    close(&[&channel]).await
}

async fn routing(connection: &Connection, name: &str) -> Result<()> {
    let channel = connection.create_channel().await?;
    let keys: [&[&str]; 2] = [&["error"], &["info", "warning", "error"]];
    let mut all = bound(&channel, (name, ExchangeKind::Direct), &keys).await?;
    for severity in ["info", "error", "warning"] {
        publish(&channel, (name, severity), severity, BasicProperties::default()).await?;
    }
    for severity in ["info", "error", "warning"] {
        check("of all severities", text(&next(&mut all[1]).await?), severity);
    }
    check("errors only", text(&next(&mut all[0]).await?), "error");
    check("and nothing else", is_quiet(all[0].next()).await, true);
    close(&[&channel]).await
}

async fn topics(connection: &Connection, name: &str) -> Result<()> {
    let channel = connection.create_channel().await?;
    let keys = PATTERNS.map(|pattern| [pattern]);
    let keys: Vec<&[&str]> = keys.iter().map(|keys| keys.as_slice()).collect();
    let mut all = bound(&channel, (name, ExchangeKind::Topic), &keys).await?;
    for (topic, meets) in TOPICS {
        let confirm = publish(&channel, (name, topic), topic, BasicProperties::default()).await?;
        check("no confirm was asked for", confirm, Confirmation::NotRequested);
        for (consumer, _) in all.iter_mut().zip(meets).filter(|(_, meets)| *meets) {
            let got = next(consumer).await?;
            check("the key of what a pattern meets", got.routing_key.as_str(), topic);
        }
    }
    for consumer in &mut all {
        check("nothing that it does not meet", is_quiet(consumer.next()).await, true);
    }
    close(&[&channel]).await
}

/// Requests with direct reply-to: the answers come to the channel that asked, without a queue.
async fn rpc(connection: &Connection, name: &str) -> Result<()> {
    let (server, client) = (connection.create_channel().await?, connection.create_channel().await?);
    let queue = declare(&server, name, QueueDeclareOptions::exclusive()).await?;
    let mut requests = consume(&server, &queue, false).await?;
    let serving = tokio::spawn(async move {
        while let Some(request) = requests.next().await {
            let request = request?;
            let answer = fibonacci(text(&request).parse().expect("a number"));
            let id = request.properties.correlation_id().clone().expect("a correlation id");
            let to = request.properties.reply_to().clone().expect("where to answer");
            let properties = BasicProperties::default().with_correlation_id(id);
            publish(&server, ("", to.as_str()), &answer.to_string(), properties).await?;
            request.ack(BasicAckOptions::default()).await?;
        }
        Ok::<(), Error>(())
    });
    let mut answers = consume(&client, DIRECT_REPLY, true).await?;
    for n in [30_u64, 0, 12] {
        let properties = BasicProperties::default()
            .with_reply_to(DIRECT_REPLY.into())
            .with_correlation_id(format!("request {n}").into());
        publish(&client, ("", &queue), &n.to_string(), properties).await?;
        let answer = next(&mut answers).await?;
        check("the answer", text(&answer), fibonacci(n).to_string().as_str());
        let id = answer.properties.correlation_id().as_ref().map(ShortString::as_str);
        check("what it answers", id, Some(format!("request {n}").as_str()));
    }
    serving.abort();
    close(&[&client]).await
}

async fn confirms(connection: &Connection, name: &str) -> Result<()> {
    let channel = connection.create_channel().await?;
    let queue = declare(&channel, name, QueueDeclareOptions::durable()).await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    for number in 0..100 {
        // Not awaited one by one.
        let (key, body) = (ShortString::from(queue.as_str()), number.to_string());
        let options = BasicPublishOptions::default();
        channel.basic_publish("".into(), key, options, body.as_bytes(), persistent()).await?;
    }
    let returned = within("all confirms", channel.wait_for_confirms()).await?;
    check("nothing came back", returned.len(), 0);
    let one = publish(&channel, ("", &queue), "one", persistent()).await?;
    check("one is confirmed", one, Confirmation::Ack(None));
    let confirm = publish(&channel, ("", "nobody"), "lost", persistent()).await?;
    check("what nobody gets is confirmed", confirm.is_ack(), true);
    let back = confirm.take_message().expect("it comes back");
    check("why", (back.reply_code, back.reply_text.as_str()), (NO_ROUTE, "NO_ROUTE"));
    check("what", (text(&back.delivery), back.delivery.routing_key.as_str()), ("lost", "nobody"));
    let left = channel.queue_delete(queue.into(), QueueDeleteOptions::default()).await?;
    check("all are stored", left, 101);
    close(&[&channel]).await
}

/// Asks for what the broker answers with connection.close. Returns the channel that asked.
async fn break_connection(connection: &Connection) -> Result<Channel> {
    let channel = connection.create_channel().await?;
    let options = BasicPublishOptions { immediate: true, ..BasicPublishOptions::default() };
    let properties = BasicProperties::default();
    channel.basic_publish("".into(), "x".into(), options, b"at once", properties).await?;
    Ok(channel)
}

fn code(error: &Error) -> Option<u16> {
    match error.kind() {
        ErrorKind::ProtocolError(error) => Some(error.get_id()),
        _ => None,
    }
}

/// After connection.close a new connection gets again what the old one had not acknowledged.
async fn reconnect(name: &str) -> Result<()> {
    let connection = connect(ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    let queue = declare(&channel, name, QueueDeclareOptions::durable()).await?;
    let mut consumer = consume(&channel, &queue, false).await?;
    publish(&channel, ("", &queue), "kept", persistent()).await?;
    let first = next(&mut consumer).await?;
    check("the first time", (text(&first), first.redelivered), ("kept", false));
    let _broken = break_connection(&connection).await?;
    let error = next(&mut consumer).await.expect_err("the broker closes the connection");
    check("its code", code(&error), Some(NOT_IMPLEMENTED));
    check("and the connection is gone", connection.create_channel().await.is_err(), true);

    let connection = connect(ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    let mut consumer = consume(&channel, &queue, false).await?;
    let again = next(&mut consumer).await?;
    check("the second time", (text(&again), again.redelivered), ("kept", true));
    again.ack(BasicAckOptions::default()).await?;
    channel.queue_delete(queue.into(), QueueDeleteOptions::default()).await?;
    close(&[&channel]).await?;
    connection.close(200, "done".into()).await
}

/// lapin's own recovery: it connects again and declares its exclusive queue, and channel and consumer go on.
async fn recovery(name: &str) -> Result<()> {
    let connection = connect(ConnectionProperties::default().enable_auto_recover()).await?;
    let channel = connection.create_channel().await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    let queue = declare(&channel, name, QueueDeclareOptions::exclusive()).await?;
    let mut consumer = consume(&channel, &queue, true).await?;
    publish(&channel, ("", &queue), "before", BasicProperties::default()).await?;
    check("before", text(&next(&mut consumer).await?), "before");
    let _broken = break_connection(&connection).await?;
    // What was not confirmed when the connection ended is published again. So is what comes back: the channel is open
    // again a little earlier than its queue is declared.
    let again = async {
        loop {
            match publish(&channel, ("", &queue), "after", BasicProperties::default()).await {
                Ok(Confirmation::Ack(None)) => break Ok(()),
                Ok(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                Err(error) => channel.wait_for_recovery(error).await?,
            }
        }
    };
    let recovered: Result<()> = within("the recovery", again).await;
    recovered?;
    // The consumer may get the error of the break first.
    let got = loop {
        if let Ok(got) = next(&mut consumer).await {
            break got;
        }
    };
    check("and comes", text(&got), "after");
    close(&[&channel]).await?;
    connection.close(200, "done".into()).await
}

#[tokio::main]
async fn main() -> Result<()> {
    let name = name("lapin");
    let connection = connect(ConnectionProperties::default()).await?;
    work_queue(&connection, &format!("{name}-tasks")).await?;
    publish_subscribe(&connection, &format!("{name}-logs")).await?;
    routing(&connection, &format!("{name}-direct")).await?;
    topics(&connection, &format!("{name}-topics")).await?;
    rpc(&connection, &format!("{name}-rpc")).await?;
    confirms(&connection, &format!("{name}-confirms")).await?;
    connection.close(200, "done".into()).await?;
    reconnect(&format!("{name}-reconnect")).await?;
    recovery(&format!("{name}-recovery")).await?;
    println!("{} checks", checks());
    Ok(())
}
