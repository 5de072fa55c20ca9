"""AMQP to MQTT: key `sensors.city1.temp` of amq.topic is topic `sensors/city1/temp`; headers are User Properties."""

import sys
from decimal import Decimal
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))
import pika
from hub import amqp, bye, done, mqtt, publish, subscribe, take, unique

root = unique("sensors")
modern, classic = mqtt(5), mqtt(3)
subscribe(modern, f"{root}/+/temp", 1)
subscribe(classic, f"{root}/#", 2)

with amqp() as connection:
    channel = connection.channel()
    replies = channel.queue_declare("", exclusive=True).method.queue
    properties = pika.BasicProperties(
        content_type="application/json",
        delivery_mode=2,
        correlation_id="c-17",
        reply_to=replies,
        message_id="m-1",
        type="reading",
        priority=7,
        expiration="90000",
        headers={"unit": "celsius", "attempt": 17, "valid": True, "offset": Decimal("-0.5")},
    )
    channel.basic_publish("amq.topic", f"{root}.city1.temp", '{"temperature": 28.5}', properties)

    message = modern.inbox.next()
    assert message.topic == f"{root}/city1/temp"
    assert message.payload == b'{"temperature": 28.5}'
    assert message.qos == 1, "a persistent message has QoS 1"
    assert message.properties.ContentType == "application/json"
    assert message.properties.CorrelationData == b"c-17"
    assert 85 <= message.properties.MessageExpiryInterval <= 90
    user = dict(message.properties.UserProperty)
    assert (user["unit"], user["attempt"], user["valid"], user["offset"]) == ("celsius", "17", "true", "-0.5"), user
    types = dict(pair.split("=") for pair in user["mq.types"].split(","))
    assert set(types) == {"attempt", "valid", "offset"}, types
    assert (user["mq.message-id"], user["mq.type"], user["mq.priority"]) == ("m-1", "reading", "7"), user

    plain = classic.inbox.next()
    assert (plain.topic, plain.payload, plain.qos) == (f"{root}/city1/temp", b'{"temperature": 28.5}', 1)

    # A publish to the Response Topic goes into the requester's reply queue.
    publish(modern, message.properties.ResponseTopic, "noted", 1, CorrelationData=message.properties.CorrelationData)
    (_, answer, body), = take(channel, replies)
    assert (body, answer.correlation_id) == (b"noted", "c-17")

    # A transient message has QoS 0, and a slash in a key becomes a dot in the topic.
    channel.basic_publish("amq.topic", f"{root}.v1/2.temp", b"\x00\xff", pika.BasicProperties(delivery_mode=1))
    message = modern.inbox.next()
    assert (message.topic, message.payload, message.qos) == (f"{root}/v1.2/temp", b"\x00\xff", 0)

    # The header x-mqtt-retain asks for a retained message.
    keep = pika.BasicProperties(delivery_mode=2, headers={"x-mqtt-retain": True})
    channel.basic_publish("amq.topic", f"{root}.city9.temp", "19.0", keep)
    assert modern.inbox.next().payload == b"19.0"
    late = mqtt(5)
    subscribe(late, f"{root}/city9/temp", 1)
    message = late.inbox.next()
    assert message.payload == b"19.0" and message.retain
    channel.basic_publish("amq.topic", f"{root}.city9.temp", "", keep)
    assert late.inbox.next().payload == b""
    bye(late)

bye(modern, classic)
done(f"AMQP messages under {root} received with MQTT 3.1.1 and 5, one answered, one retained")
