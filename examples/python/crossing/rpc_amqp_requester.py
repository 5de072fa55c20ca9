"""Request and reply across protocols: an AMQP requester, answered by an MQTT 5 device and by a STOMP service.

The requester is the usual one: an exclusive reply queue and a correlation id. The responders do what their protocols'
users do: publish to the Response Topic with the same Correlation Data; SEND to the reply-to with the same
correlation-id.
"""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))
import threading
import uuid

import pika
from hub import Stomp, amqp, bye, done, mqtt, subscribe, take, unique
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

service = unique("service")

device = mqtt(5)


def answer_with_mqtt(client, _userdata, request):
    properties = Properties(PacketTypes.PUBLISH)
    properties.CorrelationData = request.properties.CorrelationData
    client.publish(request.properties.ResponseTopic, str(int(request.payload) ** 2), 1, properties=properties)


device.on_message = answer_with_mqtt
subscribe(device, f"{service}/square", 1)

clerk = Stomp()
clerk.subscribe(f"/topic/{service}.double")


def answer_with_stomp():
    for _ in range(3):
        request = clerk.inbox.next()
        correlation = {"correlation-id": request.headers["correlation-id"]}
        clerk.send(request.headers["reply-to"], str(int(request.body) * 2), correlation)


thread = threading.Thread(target=answer_with_stomp, daemon=True)
thread.start()

with amqp() as connection:
    channel = connection.channel()
    reply_queue = channel.queue_declare("", exclusive=True).method.queue
    expected = {}
    for number in (1, 2, 3):
        for operation, result in (("square", number**2), ("double", number * 2)):
            correlation_id = str(uuid.uuid4())
            expected[correlation_id] = result
            properties = pika.BasicProperties(reply_to=reply_queue, correlation_id=correlation_id, delivery_mode=2)
            channel.basic_publish("amq.topic", f"{service}.{operation}", str(number), properties)
    answers = {properties.correlation_id: int(body) for _, properties, body in take(channel, reply_queue, 6)}
    assert answers == expected, (answers, expected)

thread.join()
clerk.close()
bye(device)
done("3 AMQP requests answered by an MQTT 5 device, 3 by a STOMP service")
