"""STOMP acknowledgements: client-individual, client (cumulative), NACK, and a connection lost before the ACK."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))
from hub import Stomp, delete_queues, done, unique

queue = unique("jobs")
destination = f"/queue/{queue}"
boss = Stomp()


def fill(*bodies):
    for body in bodies:
        boss.send(destination, body)


# client-individual: each message is acknowledged on its own; NACK returns it to the queue.
fill("one", "two", "three")
worker = Stomp()
worker.subscribe(destination, ack="client-individual")
one, two, three = worker.inbox.take(3)
assert [frame.body for frame in (one, two, three)] == ["one", "two", "three"]
worker.connection.ack(three.headers["ack"])
worker.connection.nack(two.headers["ack"])
again = worker.inbox.next()
assert again.body == "two" and again.headers["redelivered"] == "true"
worker.confirmed(worker.connection.ack, again.headers["ack"])
worker.hang_up()  # `one` was never acknowledged

# client: an ACK also acknowledges all earlier messages of the subscription.
worker = Stomp()
worker.subscribe(destination, ack="client")
one = worker.inbox.next()
assert one.body == "one" and one.headers["redelivered"] == "true"
fill("four", "five", "six")
frames = [one, *worker.inbox.take(3)]
assert [frame.body for frame in frames] == ["one", "four", "five", "six"]
worker.confirmed(worker.connection.ack, frames[2].headers["ack"])
worker.hang_up()

# STOMP 1.1 names the message and the subscription; with a prefetch of 1 the next message waits for the ACK.
worker = Stomp("1.1")
worker.subscribe(destination, "s", ack="client-individual", headers={"prefetch-count": "1"})
six = worker.inbox.next()
assert six.body == "six" and six.headers["redelivered"] == "true"
fill("seven")
worker.inbox.none_for(0.3)
worker.connection.ack(six.headers["message-id"], "s")
seven = worker.inbox.next()
assert seven.body == "seven" and seven.headers.get("redelivered") != "true"
worker.confirmed(worker.connection.ack, seven.headers["message-id"], "s")
worker.close()

reader = Stomp()
reader.subscribe(destination)
reader.inbox.none_for(0.2)
reader.close()
boss.close()
delete_queues(queue)

done("ACK, cumulative ACK, NACK and redelivery after a lost connection")
