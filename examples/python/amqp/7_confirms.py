"""Publisher confirms, a queue that refuses when full, and transactions."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))
import pika
from hub import amqp, done, take, unique

durable, small = unique("confirmed"), unique("small")
persistent = pika.BasicProperties(delivery_mode=pika.DeliveryMode.Persistent)

with amqp() as connection:
    channel = connection.channel()
    channel.queue_declare(durable, durable=True)
    channel.confirm_delivery()
    for number in range(50):
        channel.basic_publish("", durable, str(number), persistent)  # returns when the broker has stored it
    assert [int(body) for _, _, body in take(channel, durable, 50)] == list(range(50))

    channel.queue_declare(small, exclusive=True, arguments={"x-max-length": 2, "x-overflow": "reject-publish"})
    refused = 0
    for number in range(4):
        try:
            channel.basic_publish("", small, str(number))
        except pika.exceptions.NackError:
            refused += 1
    assert refused >= 1, "a full queue refuses"
    kept = channel.queue_declare(small, passive=True).method.message_count
    assert kept == 4 - refused, (kept, refused)

    books = connection.channel()
    books.tx_select()
    books.basic_publish("", durable, "debit", persistent)
    books.basic_publish("", durable, "credit", persistent)
    books.tx_rollback()
    assert channel.queue_declare(durable, durable=True, passive=True).method.message_count == 0
    books.basic_publish("", durable, "debit", persistent)
    books.basic_publish("", durable, "credit", persistent)
    books.tx_commit()
    assert [body for _, _, body in take(channel, durable, 2)] == [b"debit", b"credit"]
    channel.queue_delete(durable)

done(f"50 publishes confirmed, {refused} refused by a full queue, one transaction rolled back and one committed")
