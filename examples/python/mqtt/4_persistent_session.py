"""MQTT persistent sessions: subscriptions and QoS 1 and 2 messages wait for a client that is away."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))
from hub import bye, done, mqtt, publish, subscribe, unique

for version in (3, 5):
    topic, client_id = unique("orders"), unique("kiosk")
    kiosk = mqtt(version, client_id, clean=False, expiry=300)
    assert not kiosk.session_present
    subscribe(kiosk, topic, 2)
    bye(kiosk)

    shop = mqtt(version)
    for number in range(10):
        publish(shop, topic, str(number), 1 + number % 2)

    kiosk = mqtt(version, client_id, clean=False, expiry=300)
    assert kiosk.session_present, "the broker remembers the session"
    messages = kiosk.inbox.take(10)
    # QoS 2 messages are handed to the program after their handshake, so QoS 1 messages may overtake them.
    for qos, expected in ((1, [0, 2, 4, 6, 8]), (2, [1, 3, 5, 7, 9])):
        assert [int(message.payload) for message in messages if message.qos == qos] == expected
    publish(shop, topic, "live", 1)
    assert kiosk.inbox.next().payload == b"live"
    bye(kiosk)

    kiosk = mqtt(version, client_id, clean=True)  # a clean start ends the old session
    assert not kiosk.session_present
    publish(shop, topic, "nobody subscribes any more", 1)
    kiosk.inbox.none_for(0.3)
    bye(kiosk, shop)

done("10 messages waited for a client that was away, with MQTT 3.1.1 and 5")
