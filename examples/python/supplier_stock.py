"""The main job: suppliers send stock figures as XML, by three protocols; the warehouse reads JSON, by two.

Needs a broker that runs the route `supplier-stock` (examples/hub.toml). examples/supplier-stock.md walks through it.
"""

import json
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent))
import pika
from hub import Stomp, amqp, bye, done, mqtt, publish, take, unique

XML = '<item id="I101" stock="50"/>'
DEAD_LETTERS = "dead-letters"

device, partner = mqtt(), Stomp()
office = amqp()
outgoing = office.channel()
outgoing.confirm_delivery()


def with_mqtt(body, content_type):
    publish(device, "suppliers/acme/stock", body, 1, **({"ContentType": content_type} if content_type else {}))


def with_amqp(body, content_type):
    properties = pika.BasicProperties(content_type=content_type, delivery_mode=2)
    outgoing.basic_publish("amq.topic", "suppliers.acme.stock", body, properties)


def with_stomp(body, content_type):
    headers = {"persistent": "true"} | ({"content-type": content_type} if content_type else {})
    partner.send("/topic/suppliers.acme.stock", body, headers)


def check_stock(body, content_type):
    members = json.loads(body, object_pairs_hook=list)
    assert members == [("item_id", "I101"), ("stock", 50)], members
    assert type(members[1][1]) is int, "stock is a number, and a whole one"
    assert content_type == "application/json", content_type


warehouse = amqp().channel()
warehouse.queue_purge("inventory")
dashboard = Stomp()
dashboard.subscribe("/topic/inventory")


def receive(priority=4):
    """Takes what arrived in the queue and on the topic, and checks it."""
    ((_, properties, body),) = take(warehouse, "inventory")
    check_stock(body, properties.content_type)
    assert properties.priority == priority, properties
    frame = dashboard.inbox.next()
    check_stock(frame.body, frame.headers.get("content-type"))


def dead_letter(marker):
    """Takes the dead letter that holds `marker`, and leaves the others."""
    channel = warehouse.connection.channel()
    found = None
    for method, properties, body in channel.consume(DEAD_LETTERS, inactivity_timeout=8):
        assert method is not None, f"no dead letter holds {marker}"
        if marker.encode() in body:
            channel.basic_ack(method.delivery_tag)
            found = properties, body
            break
    channel.close()  # what was not acknowledged goes back
    return found


for send in (with_mqtt, with_amqp, with_stomp):
    for content_type in ("application/xml", None):
        send(XML, content_type)
        receive()

# The route's second step looks at the supplier's region.
publish(device, "suppliers/acme/stock", XML, 1, ContentType="application/xml", UserProperty=("region", "eu"))
receive(priority=7)

for send in (with_mqtt, with_amqp, with_stomp):
    marker = unique("broken")
    send(f'<item id="{marker}" stock="50">', "text/xml")  # never closed
    properties, body = dead_letter(marker)
    assert body.decode() == f'<item id="{marker}" stock="50">', "the dead letter is the message as it was sent"
    errors = {name: value for name, value in properties.headers.items() if name.startswith("mq.error.")}
    assert errors["mq.error.route"] == "supplier-stock", errors
    assert errors["mq.error.kind"] == "guest", errors
    assert errors["mq.error.text"], errors
    send(XML, "application/xml")  # one bad message does not stop the flow
    receive()

# Messages that the route does not select are not changed: JSON is routed as usual and does not reach the inventory.
watcher = Stomp()
watcher.subscribe("/topic/suppliers.acme.stock")
with_amqp('{"item_id": "I7"}', "application/json")
assert watcher.inbox.next().body == '{"item_id": "I7"}'
dashboard.inbox.none_for(0.3)
assert warehouse.queue_declare("inventory", passive=True).method.message_count == 0

for client in (partner, dashboard, watcher):
    client.close()
bye(device)
warehouse.connection.close()
office.close()
done("10 XML messages by MQTT, AMQP and STOMP became JSON; 3 broken ones are dead letters with mq.error.* headers")
