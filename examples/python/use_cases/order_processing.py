"""E-commerce order processing: a durable order queue, one order at a time, and a dead-letter way to retry.

An order whose payment fails is rejected; the queue's dead-letter exchange routes it to a retry queue, where it waits
out a message TTL and comes back. After three failures it goes to a queue for people to look at.
"""

import json
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))
import pika
from hub import amqp, done, take, unique

orders, retries, failed = unique("order-queue"), unique("order-retry"), unique("order-failed")
retry_exchange = unique("order-retry-exchange")
persistent = pika.BasicProperties(content_type="application/json", delivery_mode=2)


def order(number):
    return json.dumps(
        {
            "order_id": str(number),
            "customer_id": "C789",
            "items": [{"product_id": "P101", "quantity": 2}],
            "total": 99.99,
            "timestamp": "2025-07-30T17:32:00Z",
        }
    )


with amqp() as connection:
    channel = connection.channel()
    channel.exchange_declare(retry_exchange, "fanout", durable=True)
    channel.queue_declare(orders, durable=True, arguments={"x-dead-letter-exchange": retry_exchange})
    channel.queue_declare(
        retries,
        durable=True,
        arguments={"x-message-ttl": 150, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": orders},
    )
    channel.queue_bind(retries, retry_exchange)
    channel.queue_declare(failed, durable=True)

    channel.confirm_delivery()
    for number in range(1, 6):
        channel.basic_publish("", orders, order(number), persistent)

    # Payment of order 2 fails once; that of order 4 always.
    channel.basic_qos(prefetch_count=1)
    attempts, shipped = {}, []
    for method, properties, body in channel.consume(orders, inactivity_timeout=5):
        assert method is not None, "the next order or retry is overdue"
        order_id = json.loads(body)["order_id"]
        attempts[order_id] = attempts.get(order_id, 0) + 1
        deaths = [death for death in (properties.headers or {}).get("x-death", []) if death["reason"] == "rejected"]
        rejected = deaths[0]["count"] if deaths else 0
        assert rejected == attempts[order_id] - 1, (order_id, properties.headers)
        if rejected == 3:
            channel.basic_publish("", failed, body, properties)
            channel.basic_ack(method.delivery_tag)
            break  # the last of the five
        if order_id == "4" or (order_id == "2" and rejected == 0):
            channel.basic_reject(method.delivery_tag, requeue=False)
        else:
            shipped.append(order_id)
            channel.basic_ack(method.delivery_tag)
    channel.cancel()

    assert shipped == ["1", "3", "5", "2"], shipped
    assert attempts == {"1": 1, "2": 2, "3": 1, "4": 4, "5": 1}, attempts
    ((_, properties, body),) = take(channel, failed)
    assert json.loads(body)["order_id"] == "4"
    assert properties.headers["x-first-death-reason"] == "rejected"
    assert properties.headers["x-first-death-queue"] == orders
    for queue in (orders, retries, failed):
        assert channel.queue_delete(queue).method.message_count == 0, queue
    channel.exchange_delete(retry_exchange)

done("4 orders shipped, one of them after a retry; 1 order set aside after 3 failed payments")
