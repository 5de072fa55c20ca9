"""Publish/subscribe: a fanout exchange and one exclusive, server-named queue per subscriber."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))
from hub import amqp, done, take, unique

exchange = unique("logs")
lines = [b"engine started", b"engine stopped"]


def subscriber():
    connection = amqp()
    channel = connection.channel()
    channel.exchange_declare(exchange, "fanout", auto_delete=True)
    queue = channel.queue_declare("", exclusive=True).method.queue
    channel.queue_bind(queue, exchange)
    return connection, channel, queue


with amqp() as publisher:
    channel = publisher.channel()
    channel.exchange_declare(exchange, "fanout", auto_delete=True)
    channel.basic_publish(exchange, "", b"nobody listens yet")
    screen, disk = subscriber(), subscriber()
    assert screen[2] != disk[2], "the server names every queue differently"
    for line in lines:
        channel.basic_publish(exchange, "ignored by a fanout exchange", line)
    for connection, its_channel, queue in (screen, disk):
        received = [body for _, _, body in take(its_channel, queue, 2)]
        assert received == lines, received
        connection.close()

done(f"both subscribers of {exchange} received {len(lines)} lines")
