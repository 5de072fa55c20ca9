"""AMQP to STOMP: keys of amq.topic are /topic/…, queues are /queue/… and /amq/queue/…; typed headers become text."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))
import pika
from hub import Stomp, amqp, done, take, unique

root, jobs = unique("sensors"), unique("jobs")
reader = Stomp()
reader.subscribe(f"/topic/{root}.*.temp", "topic")

with amqp() as connection:
    channel = connection.channel()
    channel.queue_declare(jobs, durable=True)
    reader.subscribe(f"/amq/queue/{jobs}", "queue", ack="client-individual")
    replies = channel.queue_declare("", exclusive=True).method.queue
    properties = pika.BasicProperties(
        content_type="application/json",
        delivery_mode=2,
        correlation_id="c-17",
        reply_to=replies,
        priority=7,
        headers={"unit": "celsius", "attempt": 17, "valid": True},
    )
    channel.basic_publish("amq.topic", f"{root}.city1.temp", '{"temperature": 28.5}', properties)
    frame = reader.inbox.next()
    assert frame.headers["destination"] == f"/topic/{root}.city1.temp"
    assert frame.headers["subscription"] == "topic"
    assert frame.body == '{"temperature": 28.5}'
    channel.basic_publish("", jobs, '{"job": 1}', properties)
    job = reader.inbox.next()
    assert job.headers["subscription"] == "queue" and job.body == '{"job": 1}'

    for headers in (frame.headers, job.headers):
        assert headers["content-type"] == "application/json"
        assert headers["correlation-id"] == "c-17"
        assert headers["persistent"] == "true"
        assert headers["priority"] == "7"
        assert (headers["unit"], headers["attempt"], headers["valid"]) == ("celsius", "17", "true"), headers

    reader.send(job.headers["reply-to"], "done", {"correlation-id": job.headers["correlation-id"]})
    reader.confirmed(reader.connection.ack, job.headers["ack"])
    ((_, answer, body),) = take(channel, replies)
    assert (body, answer.correlation_id) == (b"done", "c-17")
    reader.close()
    assert channel.queue_delete(jobs).method.message_count == 0, "the ACK removed the job"

done(f"a key and a queue written with AMQP, read with STOMP, one answered through {replies}")
