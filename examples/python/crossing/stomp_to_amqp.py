"""STOMP to AMQP: /topic/a.b is key a.b of amq.topic, /queue/q is the queue q."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))
import pika
from hub import Stomp, amqp, done, take, unique

root, jobs, answers = unique("sensors"), unique("jobs"), unique("answers")
sender = Stomp()

with amqp() as connection:
    channel = connection.channel()
    channel.queue_declare(jobs, durable=True)
    channel.queue_declare(answers, durable=True)
    bound = channel.queue_declare("", exclusive=True).method.queue
    channel.queue_bind(bound, "amq.topic", f"{root}.#")

    headers = {
        "content-type": "application/json",
        "correlation-id": "c-17",
        "reply-to": f"/queue/{answers}",
        "persistent": "true",
        "priority": "7",
        "unit": "celsius",
        "note": "a:b",
    }
    sender.send(f"/topic/{root}.city1.temp", '{"temperature": 28.5}', headers)
    sender.send(f"/queue/{jobs}", '{"job": 1}', headers)

    for queue, exchange, key, expected in (
        (bound, "amq.topic", f"{root}.city1.temp", b'{"temperature": 28.5}'),
        (jobs, "", jobs, b'{"job": 1}'),
    ):
        ((method, properties, body),) = take(channel, queue)
        assert body == expected
        assert (method.exchange, method.routing_key) == (exchange, key), method
        assert properties.content_type == "application/json"
        assert properties.correlation_id == "c-17"
        assert properties.delivery_mode == 2
        assert properties.priority == 7
        assert properties.headers["unit"] == "celsius" and properties.headers["note"] == "a:b"
        assert properties.reply_to == answers, properties.reply_to

    sender.subscribe(f"/queue/{answers}", "answers")
    reply = pika.BasicProperties(correlation_id=properties.correlation_id, content_type="text/plain")
    channel.basic_publish("", properties.reply_to, "noted", reply)
    frame = sender.inbox.next()
    assert frame.body == "noted"
    assert frame.headers["correlation-id"] == "c-17" and frame.headers["content-type"] == "text/plain"

    sender.close()
    channel.queue_delete(jobs)
    channel.queue_delete(answers)

done(f"a topic and a queue written with STOMP, read with AMQP, one answered through {answers}")
