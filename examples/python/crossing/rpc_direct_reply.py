"""Request and reply across protocols without a reply queue: an AMQP requester with direct reply-to, answered by an MQTT 5
device and by a STOMP service; and an MQTT 5 requester whose correlation data is too long for AMQP.
"""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))
import threading
import uuid

import pika
from hub import Stomp, amqp, bye, done, mqtt, publish, subscribe, take, unique
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

PSEUDO_QUEUE = "amq.rabbitmq.reply-to"
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
    answers, expected = {}, {}
    channel.basic_consume(
        PSEUDO_QUEUE,
        lambda _channel, _method, properties, body: answers.update({properties.correlation_id: int(body)}),
        auto_ack=True,
    )
    for number in (1, 2, 3):
        for operation, result in (("square", number**2), ("double", number * 2)):
            correlation_id = str(uuid.uuid4())
            expected[correlation_id] = result
            properties = pika.BasicProperties(reply_to=PSEUDO_QUEUE, correlation_id=correlation_id)
            channel.basic_publish("amq.topic", f"{service}.{operation}", str(number), properties)
    while len(answers) < 6:
        connection.process_data_events(time_limit=1)
    assert answers == expected, (answers, expected)

    # The other way round: the AMQP responder copies what it sees, a short alias, and the requester gets its own bytes.
    queue = channel.queue_declare("", exclusive=True).method.queue
    channel.queue_bind(queue, "amq.topic", f"{service}.ask")
    requester = mqtt(5)
    replies, long = f"{service}/replies", b"c" * 300
    subscribe(requester, replies, 1)
    publish(requester, f"{service}/ask", "?", 1, ResponseTopic=replies, CorrelationData=long)
    _, request, _ = take(channel, queue)[0]
    assert request.correlation_id.startswith("mq.corr."), request.correlation_id
    reply = pika.BasicProperties(correlation_id=request.correlation_id)
    channel.basic_publish("", request.reply_to, "!", reply)
    answer = requester.inbox.next()
    assert answer.properties.CorrelationData == long

thread.join()
clerk.close()
bye(device, requester)
done("3 AMQP requests answered at their channel by an MQTT 5 device, 3 by a STOMP service; a long correlation came back")
