"""Routing logic: e-mail jobs go to an urgent or a bulk queue by a direct exchange, and urgent ones are handled first."""

import json
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))
import pika
from hub import amqp, done, take, unique

exchange = unique("email-exchange")
queues = {priority: unique(f"{priority}-queue") for priority in ("urgent", "bulk")}
by_header, ordered = unique("email-headers"), unique("email-ordered")


def email(number, priority):
    return json.dumps({"email_id": f"E{number}", "priority": priority})


with amqp() as connection:
    channel = connection.channel()
    channel.exchange_declare(exchange, "direct", durable=True)
    for priority, queue in queues.items():
        channel.queue_declare(queue, durable=True)
        channel.queue_bind(queue, exchange, priority)
    persistent = pika.BasicProperties(content_type="application/json", delivery_mode=2)
    for number in range(8):
        priority = "urgent" if number % 4 == 3 else "bulk"
        channel.basic_publish(exchange, priority, email(number, priority), persistent)

    # Five urgent e-mails at a time, one bulk e-mail at a time.
    sent = {"urgent": [], "bulk": []}
    for priority, prefetch in (("urgent", 5), ("bulk", 1)):
        its_channel = connection.channel()
        its_channel.basic_qos(prefetch_count=prefetch)

        def deliver(channel, method, _properties, body, priority=priority):
            assert json.loads(body)["priority"] == priority
            sent[priority].append(json.loads(body)["email_id"])
            channel.basic_ack(method.delivery_tag)

        its_channel.basic_consume(queues[priority], deliver)
    while sum(map(len, sent.values())) < 8:
        connection.process_data_events(time_limit=1)
    assert sent == {"urgent": ["E3", "E7"], "bulk": ["E0", "E1", "E2", "E4", "E5", "E6"]}, sent

    # The same choice by a header, with a headers exchange.
    channel.exchange_declare(by_header, "headers", durable=True)
    arguments = {"x-match": "all", "priority": "urgent", "region": "eu"}
    queue = channel.queue_declare("", exclusive=True).method.queue
    channel.queue_bind(queue, by_header, arguments=arguments)
    for region in ("us", "eu"):
        headers = {"priority": "urgent", "region": region}
        channel.basic_publish(by_header, "", region, pika.BasicProperties(headers=headers))
    assert take(channel, queue)[0][2] == b"eu"

    # The same choice by message priority, in one queue.
    channel.queue_declare(ordered, durable=True, arguments={"x-max-priority": 9})
    for name, priority in (("newsletter", 1), ("receipt", 5), ("password reset", 9), ("digest", 1)):
        channel.basic_publish("", ordered, name, pika.BasicProperties(priority=priority, delivery_mode=2))
    received = [body.decode() for _, _, body in take(channel, ordered, 4)]
    assert received == ["password reset", "receipt", "newsletter", "digest"], received

    for queue in (*queues.values(), ordered):
        channel.queue_delete(queue)
    for name in (exchange, by_header):
        channel.exchange_delete(name)

done("8 e-mails routed by key, 1 of 2 by header, 4 ordered by priority")
