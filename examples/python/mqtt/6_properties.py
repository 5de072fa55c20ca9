"""MQTT 5: properties of messages, options of subscriptions, and a message that expires."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))
import time

from hub import bye, done, mqtt, publish, subscribe, unique
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

root = unique("weather")
publisher, subscriber = mqtt(), mqtt()
numbered = Properties(PacketTypes.SUBSCRIBE)
numbered.SubscriptionIdentifier = 42
options = SubscribeOptions(qos=1, noLocal=True, retainAsPublished=True)
subscribe(subscriber, f"{root}/#", options=options, properties=numbered)

repeated = [("unit", "celsius"), ("unit", "kelvin"), ("", "empty name"), ("place", "Zürich")]
publish(
    publisher,
    f"{root}/temp",
    '{"value": 28.5}',
    1,
    retain=True,
    ContentType="application/json",
    PayloadFormatIndicator=1,
    MessageExpiryInterval=60,
    UserProperty=repeated,
)
message = subscriber.inbox.next()
properties = message.properties
assert properties.ContentType == "application/json"
assert properties.PayloadFormatIndicator == 1
assert 58 <= properties.MessageExpiryInterval <= 60
assert properties.UserProperty == repeated, "order and repeated names are kept"
assert properties.SubscriptionIdentifier == [42]
assert message.retain, "retain as published was asked for"
publish(publisher, f"{root}/temp", b"", 1, retain=True)
assert subscriber.inbox.next().payload == b""

publish(subscriber, f"{root}/own", b"no local", 1)
publish(publisher, f"{root}/marker", b"", 1)
assert subscriber.inbox.next().topic == f"{root}/marker", "no local: own messages do not come back"

client_id = unique("sleeper")
sleeper = mqtt(client_id=client_id, expiry=60)
subscribe(sleeper, f"{root}/news", 1)
bye(sleeper)
publish(publisher, f"{root}/news", b"stale", 1, MessageExpiryInterval=1)
publish(publisher, f"{root}/news", b"fresh", 1, MessageExpiryInterval=3600)
time.sleep(2.2)  # brokers may count whole seconds
sleeper = mqtt(client_id=client_id, clean=False, expiry=0)
assert sleeper.inbox.next().payload == b"fresh", "an expired message is not delivered"
bye(publisher, subscriber, sleeper)

done("properties, subscription options and message expiry as MQTT 5 has them")
