"""kombu: producers with retry and confirms, consumers, SimpleQueue, serializers, priorities, a mailbox for broadcasts."""

import socket
import threading

from kombu import Connection, Consumer, Exchange, Producer, Queue
from kombu.mixins import ConsumerMixin
from kombu.pidbox import Mailbox

from _broker import RUN, URL, check, done

name = f"kombu-{RUN}"
connection = Connection(URL, transport_options={"confirm_publish": True}, heartbeat=5)
connection.ensure_connection(max_retries=2)
exchange = Exchange(f"{name}-x", "topic", durable=True)
queue = Queue(name, exchange, "a.#", durable=True, max_priority=5, message_ttl=60, expires=120, max_length=100)

with Producer(connection) as producer:
    for n, priority in enumerate((1, 5, 3)):
        body = {"n": n, "text": "ü"}
        producer.publish(
            body, exchange=exchange, routing_key="a.b", declare=[queue], serializer="json", compression="zlib",
            priority=priority, headers={"h": [1, {"x": None}]}, retry=True, expiration=30,
        )
got = []


def on_message(body, message):
    got.append((body["n"], message.properties["priority"], message.headers["h"]))
    message.ack()


with Consumer(connection, queue, callbacks=[on_message], prefetch_count=1):
    while len(got) < 3:
        connection.drain_events(timeout=5)
check("priorities, compression and headers", got, [(n, p, [1, {"x": None}]) for n, p in ((1, 5), (2, 3), (0, 1))])

simple = connection.SimpleQueue(f"{name}-simple")
for value in ({"a": 1}, "text", [1, 2.5, None]):
    simple.put(value)
check("SimpleQueue counts", simple.qsize() in (2, 3))
values = []
for _ in range(3):
    message = simple.get(timeout=5)
    values.append(message.payload)
    message.ack()
check("SimpleQueue", values, [{"a": 1}, "text", [1, 2.5, None]])
try:
    simple.get(timeout=0.2)
    check("SimpleQueue is empty", False)
except simple.Empty:
    check("SimpleQueue is empty", True)
simple.close()
simple.queue.delete()


class Worker(ConsumerMixin):
    """Rejects and requeues once."""

    def __init__(self):
        self.connection, self.seen = Connection(URL), []

    def get_consumers(self, consumer, channel):
        return [consumer(queues=[queue], callbacks=[self.on_task], accept=["json"])]

    def on_task(self, body, message):
        self.seen.append((body, message.delivery_info["redelivered"]))
        if not message.delivery_info["redelivered"]:
            message.requeue()
        else:
            message.reject()
            self.should_stop = True


worker = Worker()
Producer(connection).publish({"task": "again"}, exchange=exchange, routing_key="a")
worker.run()
check("ConsumerMixin", worker.seen, [({"task": "again"}, False), ({"task": "again"}, True)])
worker.connection.close()

# A mailbox: what celery's remote control is made of.
mailbox = Mailbox(f"{name}-box", type="fanout")
node_connection = Connection(URL)
node = mailbox(node_connection).Node("node1", channel=node_connection.channel(), handlers={"ping": lambda state, **_: {"ok": "pong"}})
node.listen()
client = mailbox(connection)
ticket = []

def serve():
    try:
        while not ticket:
            node_connection.drain_events(timeout=0.2)
    except socket.timeout:
        serve()


thread = threading.Thread(target=serve, daemon=True)
thread.start()
replies = client.multi_call("ping", timeout=2, limit=1)
check("a mailbox answers", replies, [{"node1": {"ok": "pong"}}])
ticket.append(1)
thread.join(5)

bound = queue(connection.default_channel)
check("a passive declaration counts", bound.queue_declare(passive=True).message_count, 0)
bound.purge()
bound.delete()
exchange(connection.default_channel).delete()
connection.close()
done()
