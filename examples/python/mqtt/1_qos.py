"""MQTT 3.1.1 and 5: the three qualities of service, wildcards, and payloads of any bytes."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))
from hub import bye, done, mqtt, publish, subscribe, unique

received = 0
for version in (3, 5):
    root = unique("plant")
    publisher, subscriber, at_most_once = mqtt(version), mqtt(version), mqtt(version)
    assert subscribe(subscriber, f"{root}/+/temp", 2) == 2
    assert subscribe(at_most_once, f"{root}/#", 0) == 0

    sent = [(qos, payload) for qos in (0, 1, 2) for payload in (b"28.5", b"", b"\x00\xff\x00", b"x" * 100_000)]
    for qos, payload in sent:
        publish(publisher, f"{root}/oven/temp", payload, qos)
    publish(publisher, f"{root}/oven/door/temp", b"two levels are not one", 1)

    messages = subscriber.inbox.take(len(sent))
    assert [(message.qos, message.payload) for message in messages] == sent
    assert not any(message.retain or message.dup for message in messages)
    subscriber.inbox.none_for(0.2)

    lowered = at_most_once.inbox.take(len(sent) + 1)
    assert {message.qos for message in lowered} == {0}, "a subscription lowers the quality to its own"
    assert lowered[-1].topic == f"{root}/oven/door/temp"
    bye(publisher, subscriber, at_most_once)
    received += len(messages) + len(lowered)

done(f"{received} messages at QoS 0, 1 and 2 with MQTT 3.1.1 and 5")
