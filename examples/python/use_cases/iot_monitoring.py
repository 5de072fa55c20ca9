"""IoT monitoring, publish/subscribe and queuing at once: sensors publish by MQTT, a dashboard sees every reading as it
comes, and a batch job takes them a hundred at a time from a durable AMQP queue bound to the same topics."""

import json
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))
from hub import amqp, bye, done, mqtt, publish, subscribe, unique

root, queue = unique("sensors"), unique("sensor-data-queue")
READINGS, BATCH = 300, 100

with amqp() as connection:
    channel = connection.channel()
    channel.queue_declare(queue, durable=True)
    channel.queue_bind(queue, "amq.topic", f"{root}.*.temp")

    dashboard = mqtt(3)
    subscribe(dashboard, f"{root}/#", 0)
    sensor = mqtt(3)
    for number in range(READINGS):
        reading = {
            "sensor_id": f"S{101 + number % 3}",
            "temperature": 28.5 + number,
            "location": "City1/ZoneA",
            "timestamp": "2025-07-30T17:32:00Z",
        }
        publish(sensor, f"{root}/city1/temp", json.dumps(reading), 1)
    publish(sensor, f"{root}/city1/humidity", "{}", 1)

    live = [json.loads(message.payload) for message in dashboard.inbox.take(READINGS + 1)]
    assert [reading.get("temperature") for reading in live[:READINGS]] == [28.5 + n for n in range(READINGS)]

    # One acknowledgement per batch.
    channel.basic_qos(prefetch_count=BATCH)
    batches, batch = [], []
    for method, properties, body in channel.consume(queue, inactivity_timeout=5):
        assert method is not None, "a reading is missing"
        batch.append(json.loads(body))
        if len(batch) == BATCH:
            channel.basic_ack(method.delivery_tag, multiple=True)
            batches.append(batch)
            batch = []
        if len(batches) * BATCH == READINGS:
            break
    channel.cancel()
    assert [reading["temperature"] for batch in batches for reading in batch] == [28.5 + n for n in range(READINGS)]
    assert properties.delivery_mode == 2, "QoS 1 readings are persistent"
    assert channel.queue_delete(queue).method.message_count == 0, "the humidity was not bound"

bye(sensor, dashboard)
done(f"{READINGS} MQTT readings seen live on a dashboard and taken as {len(batches)} batches with AMQP")
