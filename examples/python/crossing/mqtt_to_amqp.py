"""MQTT to AMQP: topic `sensors/city1/temp` is key `sensors.city1.temp` of the exchange amq.topic."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))
import pika
from hub import amqp, bye, done, mqtt, publish, subscribe, take, unique

root, replies = unique("sensors"), unique("replies")

with amqp() as connection:
    channel = connection.channel()
    queue = channel.queue_declare("", exclusive=True).method.queue
    channel.queue_bind(queue, "amq.topic", f"{root}.*.temp")

    modern, classic = mqtt(5), mqtt(3)
    subscribe(modern, replies, 1)
    publish(
        modern,
        f"{root}/city1/temp",
        '{"temperature": 28.5}',
        1,
        ContentType="application/json",
        UserProperty=[("unit", "celsius"), ("site", "Zürich")],
        CorrelationData=b"c-17",
        ResponseTopic=replies,
    )
    publish(classic, f"{root}/city2/temp", b"\x00\xff", 0)
    publish(classic, f"{root}/v1.2/temp", b"a dot in a level is a slash in the key", 1)

    (method, properties, body), (method2, properties2, body2), (method3, _, _) = take(channel, queue, 3)
    assert body == b'{"temperature": 28.5}'
    assert (method.exchange, method.routing_key) == ("amq.topic", f"{root}.city1.temp")
    assert properties.content_type == "application/json"
    assert properties.delivery_mode == 2, "QoS 1 is a persistent message"
    assert properties.correlation_id == "c-17"
    assert properties.headers["unit"] == "celsius" and properties.headers["site"] == "Zürich"
    assert properties.headers["x-mqtt-qos"] == 1
    assert properties.headers["x-reply-to-topic"] == replies
    assert body2 == b"\x00\xff" and properties2.delivery_mode == 1, "QoS 0 is a transient message"
    assert method2.routing_key == f"{root}.city2.temp"
    assert method3.routing_key == f"{root}.v1/2.temp"

    # An ordinary AMQP responder publishes to reply_to through the default exchange; that reaches the response topic.
    answer = pika.BasicProperties(correlation_id=properties.correlation_id, content_type="text/plain")
    channel.basic_publish("", properties.reply_to, "noted", answer)
    reply = modern.inbox.next()
    assert (reply.topic, reply.payload) == (replies, b"noted")
    assert reply.properties.CorrelationData == b"c-17"
    assert reply.properties.ContentType == "text/plain"
    bye(modern, classic)

done(f"3 MQTT messages under {root} received with AMQP, one answered")
