"""MQTT to STOMP: topic `sensors/city1/temp` is /topic/sensors.city1.temp, and /topic/sensors/city1/temp as well."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))
from hub import Stomp, bye, done, mqtt, publish, subscribe, unique

root, replies = unique("sensors"), unique("replies")
dots, slashes = Stomp(), Stomp("1.1")
dots.subscribe(f"/topic/{root}.*.temp")
slashes.subscribe(f"/topic/{root}/*/temp")

device = mqtt(5)
subscribe(device, replies, 1)
publish(
    device,
    f"{root}/city1/temp",
    '{"temperature": 28.5}',
    1,
    ContentType="application/json",
    UserProperty=[("unit", "celsius"), ("note", "a:b")],
    CorrelationData=b"c-17",
    ResponseTopic=replies,
)
for reader in (dots, slashes):
    frame = reader.inbox.next()
    assert frame.headers["destination"] == f"/topic/{root}.city1.temp"
    assert frame.body == '{"temperature": 28.5}'
    assert frame.headers["content-type"] == "application/json"
    assert frame.headers["correlation-id"] == "c-17"
    assert frame.headers["persistent"] == "true"
    assert (frame.headers["unit"], frame.headers["note"]) == ("celsius", "a:b")
    reader.send(frame.headers["reply-to"], "noted", {"correlation-id": frame.headers["correlation-id"]})
    reply = device.inbox.next()
    assert (reply.topic, reply.payload) == (replies, b"noted")
    assert reply.properties.CorrelationData == b"c-17"

# A topic with a dot inside a level is written with slashes, so that the name can be used in both directions.
publish(device, f"{root}/v1.2/temp", "29.0", 1)
frame = slashes.inbox.next()
assert (frame.headers["destination"], frame.body) == (f"/topic/{root}/v1.2/temp", "29.0")

# STOMP subscribers get a retained value if they ask for it.
publish(device, f"{root}/city1/status", "on", 1, retain=True)
late = Stomp()
late.subscribe(f"/topic/{root}.*.status", headers={"retained": "true"})
frame = late.inbox.next()
assert frame.body == "on" and frame.headers["mq.retained"] == "true", frame.headers
publish(device, f"{root}/city1/status", "", 1, retain=True)

for client in (dots, slashes, late):
    client.close()
bye(device)
done(f"MQTT messages under {root} received with STOMP 1.1 and 1.2, answered, one retained")
