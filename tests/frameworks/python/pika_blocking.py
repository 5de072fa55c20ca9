"""pika's blocking connection: confirms, returns, consumers, generators, threads, transactions, direct reply-to."""

import threading
import time

import pika
from pika.exceptions import ChannelClosedByBroker, NackError, UnroutableError

from _broker import HOST, PORT, RUN, check, direct_reply_to, done

parameters = pika.ConnectionParameters(HOST, PORT, heartbeat=5, blocked_connection_timeout=10)
connection = pika.BlockingConnection(parameters)
channel = connection.channel()
name = f"pika-{RUN}"
channel.queue_declare(name, durable=True, arguments={"x-max-length": 3, "x-overflow": "reject-publish"})
channel.confirm_delivery()

for n in range(3):
    channel.basic_publish("", name, b"%d" % n, pika.BasicProperties(delivery_mode=2), mandatory=True)
try:
    channel.basic_publish("", name, b"too many")
    check("a full queue refuses", False)
except NackError:
    check("a full queue refuses", True)
try:
    channel.basic_publish("", f"{name}-missing", b"x", mandatory=True)
    check("an unroutable message comes back", False)
except UnroutableError as error:
    check("an unroutable message comes back", (error.messages[0].method.reply_code, error.messages[0].body), (312, b"x"))

# A generator that ends itself.
bodies = []
for method, _, body in channel.consume(name, inactivity_timeout=0.3):
    if method is None:
        break
    bodies.append(body)
    if body == b"1" and not method.redelivered:
        channel.basic_nack(method.delivery_tag, requeue=True)
    else:
        channel.basic_ack(method.delivery_tag)
check("a generator sees all, the refused one twice", sorted(bodies), [b"0", b"1", b"1", b"2"])
channel.cancel()
check("the queue is empty", channel.queue_declare(name, passive=True).method.message_count, 0)

# A worker thread acknowledges through the connection's thread.
channel.basic_qos(prefetch_count=1)
seen = []


def work(tag, body):
    time.sleep(0.05)
    seen.append(body)
    connection.add_callback_threadsafe(lambda: channel.basic_ack(tag))
    if len(seen) == 3:
        connection.add_callback_threadsafe(channel.stop_consuming)


def on_message(_, method, __, body):
    threading.Thread(target=work, args=(method.delivery_tag, body)).start()


for n in range(3):
    channel.basic_publish("", name, b"%d" % n)
channel.basic_consume(name, on_message)
channel.start_consuming()
check("workers in threads", seen, [b"0", b"1", b"2"])

# What is refused closes the channel, not the connection.
other = connection.channel()
try:
    other.queue_declare(name, durable=False)
    check("another declaration is refused", False)
except ChannelClosedByBroker as error:
    check("another declaration is refused", error.reply_code, 406)
tx = connection.channel()
tx.tx_select()
tx.basic_publish("", name, b"in a transaction")
tx.tx_rollback()
tx.basic_publish("", name, b"committed")
tx.tx_commit()
method, properties, body = tx.basic_get(name, auto_ack=True)
check("a transaction", (body, method.message_count), (b"committed", 0))
tx.tx_commit()

# A headers exchange with nested values.
tx = connection.channel()
tx.exchange_declare(f"{name}-headers", "headers", auto_delete=True)
tx.queue_bind(name, f"{name}-headers", arguments={"x-match": "all", "kind": "a", "version": 2})
headers = {"kind": "a", "version": 2, "nested": {"list": [1, None, "x"], "flag": True}}
tx.basic_publish(f"{name}-headers", "", b"h", pika.BasicProperties(headers=headers))
deadline = time.monotonic() + 5
while (found := tx.basic_get(name, auto_ack=True))[0] is None and time.monotonic() < deadline:
    time.sleep(0.01)
check("headers come as they were", found[1].headers, headers)

if direct_reply_to():
    client, server = connection.channel(), connection.channel()
    answers = []
    client.basic_consume("amq.rabbitmq.reply-to", lambda *a: answers.append((a[2].correlation_id, a[3])), auto_ack=True)

    def answer(ch, method, properties, body):
        ch.basic_publish("", properties.reply_to, body.upper(), pika.BasicProperties(correlation_id=properties.correlation_id))
        ch.basic_ack(method.delivery_tag)

    server.basic_consume(name, answer)
    request = pika.BasicProperties(reply_to="amq.rabbitmq.reply-to", correlation_id="c")
    client.basic_publish("", name, b"request", request)
    deadline = time.monotonic() + 5
    while not answers and time.monotonic() < deadline:
        connection.process_data_events(0.1)
    check("direct reply-to", answers, [("c", b"REQUEST")])
    try:
        server.basic_publish("", name, b"x", request)
        server.queue_declare(name, passive=True)
        check("direct reply-to needs a consumer", False)
    except ChannelClosedByBroker as error:
        check("direct reply-to needs a consumer", error.reply_code, 406)

connection.channel().queue_delete(name)
connection.close()
done()
