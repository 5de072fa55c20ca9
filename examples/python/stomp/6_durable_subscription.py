"""A durable STOMP subscription: what was published while the subscriber was away waits for it."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))
from hub import Stomp, delete_queues, done, unique

topic, queue = unique("/topic/bulletin"), unique("bulletin")
durable = {"durable": "true", "auto-delete": "false", "x-queue-name": queue}

publisher, reader = Stomp(), Stomp()
reader.subscribe(topic, "daily", ack="client-individual", headers=durable)
publisher.send(topic, "monday", {"persistent": "true"})
frame = reader.inbox.next()
assert frame.body == "monday"
reader.confirmed(reader.connection.ack, frame.headers["ack"])
reader.close()

publisher.send(topic, "tuesday", {"persistent": "true"})
publisher.send(topic, "wednesday", {"persistent": "true"})

reader = Stomp()
reader.subscribe(topic, "daily", ack="client-individual", headers=durable)
frames = reader.inbox.take(2)
assert [frame.body for frame in frames] == ["tuesday", "wednesday"]
for frame in frames:
    reader.confirmed(reader.connection.ack, frame.headers["ack"])
reader.close()
publisher.close()
delete_queues(queue)

done(f"two bulletins waited in queue {queue}")
