"""An MQTT session is a queue: messages for a disconnected device can be read with AMQP, from queue mqtt/<client-id>."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))
from hub import amqp, bye, done, mqtt, publish, subscribe, take, unique

topic, client_id = unique("orders"), unique("kiosk")
kiosk = mqtt(client_id=client_id, expiry=300)
subscribe(kiosk, topic, 1)
bye(kiosk)

shop = mqtt()
for number in range(3):
    publish(shop, topic, str(number), 1)

with amqp() as connection:
    channel = connection.channel()
    ((method, _, body),) = take(channel, f"mqtt/{client_id}")
    assert (method.exchange, method.routing_key, body) == ("amq.topic", topic, b"0"), method

kiosk = mqtt(client_id=client_id, clean=False, expiry=0)
assert kiosk.session_present
assert [message.payload for message in kiosk.inbox.take(2)] == [b"1", b"2"], "the device gets the rest"
bye(kiosk, shop)

done(f"1 of 3 waiting messages read with AMQP from mqtt/{client_id}, the others by the device")
