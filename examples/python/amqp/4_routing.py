"""Routing: a direct exchange, several binding keys per queue, and mandatory messages that come back."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))
import pika
from hub import amqp, done, take, unique

exchange = unique("direct-logs")

with amqp() as connection:
    channel = connection.channel()
    channel.confirm_delivery()
    channel.exchange_declare(exchange, "direct")
    pager = channel.queue_declare("", exclusive=True).method.queue
    archive = channel.queue_declare("", exclusive=True).method.queue
    channel.queue_bind(pager, exchange, "error")
    for severity in ("info", "warning", "error"):
        channel.queue_bind(archive, exchange, severity)

    for severity in ("info", "error", "warning", "error"):
        channel.basic_publish(exchange, severity, f"{severity} line", mandatory=True)
    try:
        channel.basic_publish(exchange, "debug", "debug line", mandatory=True)
        raise AssertionError("a mandatory message without a queue must come back")
    except pika.exceptions.UnroutableError as error:
        (returned,) = error.messages
        assert returned.method.reply_code == 312, returned.method
        assert returned.body == b"debug line", returned.body

    paged = [method.routing_key for method, _, _ in take(channel, pager, 2)]
    archived = [method.routing_key for method, _, _ in take(channel, archive, 4)]
    assert paged == ["error", "error"], paged
    assert archived == ["info", "error", "warning", "error"], archived

    channel.queue_unbind(pager, exchange, "error")
    channel.basic_publish(exchange, "error", "archive only")
    assert take(channel, archive)[0][2] == b"archive only"
    assert channel.basic_get(pager)[0] is None
    channel.exchange_delete(exchange)

done(f"pager got {len(paged)}, archive got {len(archived)}, 'debug' came back with 312")
