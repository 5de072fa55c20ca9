"""MQTT wills: messages that the broker publishes for a client that disconnects without DISCONNECT."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))
from hub import bye, done, hang_up, mqtt, publish, subscribe, unique
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

for version in (3, 5):
    topic = unique("status")
    watcher = mqtt(version)
    subscribe(watcher, topic, 1)

    hang_up(mqtt(version, will={"topic": topic, "payload": "lost", "qos": 1, "retain": True}))
    message = watcher.inbox.next()
    assert (message.payload, message.qos, message.retain) == (b"lost", 1, False)

    late = mqtt(version)
    subscribe(late, topic, 1)
    message = late.inbox.next()
    assert (message.payload, message.retain) == (b"lost", True), "a retained will is kept like any message"
    publish(late, topic, b"", 1, retain=True)
    assert watcher.inbox.next().payload == b""

    bye(mqtt(version, will={"topic": topic, "payload": "lost"}))
    publish(late, topic, b"marker", 1)
    assert watcher.inbox.next().payload == b"marker", "no will after DISCONNECT"
    bye(watcher, late)

# MQTT 5: properties on the will, and a DISCONNECT that asks for it.
topic = unique("status")
watcher = mqtt()
subscribe(watcher, topic, 1)
properties = Properties(PacketTypes.WILLMESSAGE)
properties.ContentType = "text/plain"
properties.UserProperty = ("reason", "maintenance")
device = mqtt(will={"topic": topic, "payload": "off", "qos": 1, "properties": properties})
device.disconnect(ReasonCode(PacketTypes.DISCONNECT, "Disconnect with will message"))
device.loop_stop()
message = watcher.inbox.next()
assert message.payload == b"off"
assert message.properties.ContentType == "text/plain"
assert message.properties.UserProperty == [("reason", "maintenance")]

# MQTT 5: a delayed will is not published if the client reconnects in time.
properties = Properties(PacketTypes.WILLMESSAGE)
properties.WillDelayInterval = 1
will = {"topic": topic, "payload": "late", "qos": 1, "properties": properties}
client_id = unique("device")
hang_up(mqtt(client_id=client_id, expiry=30, will=will))
device = mqtt(client_id=client_id, clean=False, expiry=0)
assert device.session_present
watcher.inbox.none_for(1.5)
bye(watcher, device)

done("wills sent after a lost connection, not after DISCONNECT, with MQTT 3.1.1 and 5")
