"""Work queues: durable queue, persistent messages, prefetch 1, acknowledgement after the work.

Two workers share a queue. With prefetch 1 each holds one task at a time; the first one dies with its task unfinished,
and that task comes back, marked as redelivered.
"""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))
import pika
from hub import amqp, done, unique

queue = unique("task-queue")
tasks = [f"task {n}" for n in range(6)]
persistent = pika.BasicProperties(delivery_mode=pika.DeliveryMode.Persistent)

with amqp() as boss:
    channel = boss.channel()
    channel.queue_declare(queue, durable=True)
    for task in tasks:
        channel.basic_publish("", queue, task, persistent)


def worker():
    """A connection that consumes with prefetch 1, and the list that its deliveries are put in."""
    connection, deliveries = amqp(), []
    channel = connection.channel()
    channel.basic_qos(prefetch_count=1)
    channel.basic_consume(queue, lambda _ch, method, _properties, body: deliveries.append((method, body.decode())))
    return connection, channel, deliveries


first, _, held = worker()
while not held:
    first.process_data_events(time_limit=1)
first.process_data_events(time_limit=0.3)
assert [body for _, body in held] == ["task 0"], "prefetch 1 means one task at a time"

second, channel, deliveries = worker()
finished, redelivered = [], []
first.close()  # its task was never acknowledged
while len(finished) < len(tasks):
    second.process_data_events(time_limit=1)
    while deliveries:
        method, body = deliveries.pop(0)
        finished.append(body)
        if method.redelivered:
            redelivered.append(body)
        channel.basic_ack(method.delivery_tag)

assert sorted(finished) == tasks, finished
assert redelivered == ["task 0"], redelivered
assert channel.queue_declare(queue, passive=True, durable=True).method.message_count == 0
channel.queue_delete(queue)
second.close()
done(f"{len(finished)} tasks done, {redelivered[0]!r} by the second worker after the first one died")
