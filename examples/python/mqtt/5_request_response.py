"""MQTT 5 request and response: Response Topic, Correlation Data, User Properties."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))
from hub import bye, done, mqtt, publish, subscribe, unique

service, replies = unique("service"), unique("replies")
responder, requester = mqtt(), mqtt()


def answer(client, _userdata, request):
    properties = request.properties
    number = int(request.payload)
    # Called on paho's own thread, so the publish is not waited for here.
    client.publish(properties.ResponseTopic, str(number**2), 1, properties=reply_properties(properties))


def reply_properties(request):
    from paho.mqtt.packettypes import PacketTypes
    from paho.mqtt.properties import Properties

    reply = Properties(PacketTypes.PUBLISH)
    reply.CorrelationData = request.CorrelationData
    reply.UserProperty = [("answered-by", "squares"), *request.UserProperty]
    return reply


responder.on_message = answer
subscribe(responder, service, 1)
subscribe(requester, replies, 1)
for number in range(1, 6):
    publish(
        requester,
        service,
        str(number),
        1,
        ResponseTopic=replies,
        CorrelationData=bytes([0, number, 255]),
        UserProperty=[("hop", "1"), ("hop", "2")],
    )
for _ in range(1, 6):
    reply = requester.inbox.next()
    _, number, _ = reply.properties.CorrelationData
    assert int(reply.payload) == number**2
    assert reply.properties.UserProperty == [("answered-by", "squares"), ("hop", "1"), ("hop", "2")]
bye(requester, responder)

done(f"5 requests answered on {replies}")
