"""MQTT retained messages: the last value of a topic, sent to clients that subscribe later."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))
from hub import bye, done, mqtt, publish, subscribe, unique

for version in (3, 5):
    root = unique("valve")
    publisher, early = mqtt(version), mqtt(version)
    subscribe(early, f"{root}/+/state", 1)
    for state in (b"opening", b"open"):
        publish(publisher, f"{root}/1/state", state, 1, retain=True)
    publish(publisher, f"{root}/2/state", b"closed", 0, retain=True)
    assert [(m.payload, m.retain) for m in early.inbox.take(3)] == [(b"opening", 0), (b"open", 0), (b"closed", 0)]

    late = mqtt(version)
    subscribe(late, f"{root}/1/state", 1)
    message = late.inbox.next()
    assert (message.payload, message.retain, message.qos) == (b"open", True, 1), "only the last value is kept"
    subscribe(late, f"{root}/#", 1)
    values = {message.topic: message.payload for message in late.inbox.take(2)}
    assert values == {f"{root}/1/state": b"open", f"{root}/2/state": b"closed"}, values

    for number in (1, 2):
        publish(publisher, f"{root}/{number}/state", b"", 1, retain=True)  # an empty payload clears the value
    last = mqtt(version)
    subscribe(last, f"{root}/#", 1)
    publish(publisher, f"{root}/marker", b"not retained", 1)
    message = last.inbox.next()
    assert message.topic == f"{root}/marker" and not message.retain, "a cleared value does not come back"
    bye(publisher, early, late, last)

done("last values kept, found by wildcard and cleared, with MQTT 3.1.1 and 5")
