"""Reliability: delivery requests wait in a durable queue while the delivery service is down, and survive its crash.

The service that crashes is this same program, started again with the queue's name as its argument.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))
import pika
from hub import amqp, done, take, unique


def service_that_crashes(queue):
    """Handles four requests, acknowledges three of them, and is gone without a word."""
    channel = amqp().channel()
    for handled, (method, _, body) in enumerate(channel.consume(queue, inactivity_timeout=5), start=1):
        assert json.loads(body)["delivery_id"] == f"D{455 + handled}"
        if handled == 4:
            os._exit(3)
        channel.basic_ack(method.delivery_tag)


if len(sys.argv) == 2:
    service_that_crashes(sys.argv[1])

queue = unique("delivery-requests")
requests = [{"delivery_id": f"D{number}", "address": f"{number} Main St"} for number in range(456, 466)]

with amqp() as shop:
    channel = shop.channel()
    channel.queue_declare(queue, durable=True)
    channel.confirm_delivery()  # a publish returns when the broker has stored the message
    for request in requests:
        properties = pika.BasicProperties(content_type="application/json", delivery_mode=2)
        channel.basic_publish("", queue, json.dumps(request), properties, mandatory=True)

crashed = subprocess.run([sys.executable, __file__, queue], timeout=10, check=False)
assert crashed.returncode == 3, crashed

# The service recovers, and finds everything that it had not acknowledged.
with amqp() as service:
    channel = service.channel()
    recovered = take(channel, queue, 7)
    assert [json.loads(body)["delivery_id"] for _, _, body in recovered] == [f"D{n}" for n in range(459, 466)]
    assert recovered[0][0].redelivered, "D459 may have been handled before"
    assert channel.queue_delete(queue).method.message_count == 0

done("10 requests stored, 3 handled before the crash and 7 after it")
