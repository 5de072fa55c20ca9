"""STOMP to MQTT: /topic/sensors.city1.temp is topic `sensors/city1/temp`; headers are User Properties."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))
from hub import Stomp, bye, delete_queues, done, mqtt, publish, subscribe, unique

root, answers = unique("sensors"), unique("answers")
modern, classic = mqtt(5), mqtt(3)
subscribe(modern, f"{root}/+/temp", 1)
subscribe(classic, f"{root}/#", 1)

sender = Stomp()
sender.subscribe(f"/queue/{answers}", "answers")
headers = {
    "content-type": "application/json",
    "correlation-id": "c-17",
    "reply-to": f"/queue/{answers}",
    "persistent": "true",
    "unit": "celsius",
    "note": "a:b",
}
for destination in (f"/topic/{root}.city1.temp", f"/topic/{root}/city1/temp"):
    sender.send(destination, '{"temperature": 28.5}', headers)
    message = modern.inbox.next()
    assert message.topic == f"{root}/city1/temp"
    assert message.payload == b'{"temperature": 28.5}'
    assert message.qos == 1
    assert message.properties.ContentType == "application/json"
    assert message.properties.CorrelationData == b"c-17"
    user = dict(message.properties.UserProperty)
    assert (user["unit"], user["note"]) == ("celsius", "a:b")
    assert "receipt" not in user and "destination" not in user, user
    plain = classic.inbox.next()
    assert (plain.topic, plain.payload, plain.qos) == (f"{root}/city1/temp", b'{"temperature": 28.5}', 1)

    publish(modern, message.properties.ResponseTopic, "noted", 1, CorrelationData=message.properties.CorrelationData)
    frame = sender.inbox.next()
    assert frame.body == "noted" and frame.headers["correlation-id"] == "c-17"

sender.send(f"/topic/{root}.city9.temp", "19.0", {"retain": "true", "persistent": "true"})
assert modern.inbox.next().payload == b"19.0"
late = mqtt(5)
subscribe(late, f"{root}/city9/temp", 1)
message = late.inbox.next()
assert message.payload == b"19.0" and message.retain
publish(late, f"{root}/city9/temp", "", 1, retain=True)

sender.close()
bye(modern, classic, late)
delete_queues(answers)
done(f"STOMP messages under {root} received with MQTT 3.1.1 and 5, answered, one retained")
