"""Request and reply across protocols: a STOMP requester with a temporary queue, answered with AMQP and with MQTT 5."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))
import pika
from hub import Stomp, amqp, bye, done, mqtt, subscribe, take, unique
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

service = unique("service")
requester = Stomp()

with amqp() as connection:
    channel = connection.channel()
    queue = channel.queue_declare("", exclusive=True).method.queue
    channel.queue_bind(queue, "amq.topic", f"{service}.square")
    request = {"reply-to": "/temp-queue/answers", "correlation-id": "c-17"}
    requester.send(f"/topic/{service}.square", "12", request)
    ((_, properties, body),) = take(channel, queue)
    reply = pika.BasicProperties(correlation_id=properties.correlation_id)
    channel.basic_publish("", properties.reply_to, str(int(body) ** 2), reply)
    frame = requester.inbox.next()
    assert frame.body == "144" and frame.headers["correlation-id"] == "c-17", frame.headers

device = mqtt(5)


def answer(client, _userdata, message):
    properties = Properties(PacketTypes.PUBLISH)
    properties.CorrelationData = message.properties.CorrelationData
    client.publish(message.properties.ResponseTopic, str(int(message.payload) * 2), 1, properties=properties)


device.on_message = answer
subscribe(device, f"{service}/double", 1)
requester.send(f"/topic/{service}.double", "21", {"reply-to": "/temp-queue/answers", "correlation-id": "c-18"})
frame = requester.inbox.next()
assert frame.body == "42" and frame.headers["correlation-id"] == "c-18", frame.headers

requester.close()
bye(device)
done("a STOMP request answered by an AMQP server and one by an MQTT 5 device")
