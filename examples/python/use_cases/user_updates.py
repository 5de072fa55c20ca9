"""Decoupling: the user service publishes profile changes without knowing who listens; a notification service comes and
goes, an audit log is added later, and the publisher's code is the same throughout."""

import json
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))
import pika
from hub import Stomp, amqp, delete_queues, done, take, unique

topic, audit, inbox = unique("user-updates"), unique("audit"), unique("notifications")
durable = {"durable": "true", "auto-delete": "false", "x-queue-name": inbox}

with amqp() as connection:
    channel = connection.channel()
    channel.confirm_delivery()

    def change(user_id):
        update = json.dumps({"user_id": user_id, "name": "John Doe"})
        properties = pika.BasicProperties(content_type="application/json", delivery_mode=2)
        channel.basic_publish("amq.topic", topic, update, properties)

    change("U0")  # nobody listens, and nothing breaks

    notifications = Stomp()
    notifications.subscribe(f"/topic/{topic}", "n", headers=durable)
    change("U1")
    assert json.loads(notifications.inbox.next().body)["user_id"] == "U1"
    notifications.close()

    change("U2")  # the notification service is away

    channel.queue_declare(audit, durable=True)
    channel.queue_bind(audit, "amq.topic", topic)
    change("U3")
    assert json.loads(take(channel, audit)[0][2])["user_id"] == "U3"

    notifications = Stomp()
    notifications.subscribe(f"/topic/{topic}", "n", headers=durable)
    missed = [json.loads(frame.body)["user_id"] for frame in notifications.inbox.take(2)]
    assert missed == ["U2", "U3"], missed
    notifications.close()

delete_queues(audit, inbox)
done("a STOMP notification service caught up on 2 updates, an AMQP audit log joined later")
