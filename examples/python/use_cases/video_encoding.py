"""Message queuing: video encoding tasks in a durable queue; a failed task is tried again after a delay.

Two workers hold one task each (prefetch 1). The broken task goes to a delay queue through the dead-letter exchange.
"""

import json
import time
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))
import pika
from hub import amqp, done, unique

tasks, delayed = unique("video-encoding-queue"), unique("video-encoding-delay")
DELAY_MS = 300

with amqp() as connection:
    channel = connection.channel()
    arguments = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": delayed}
    channel.queue_declare(tasks, durable=True, arguments=arguments)
    arguments = {"x-message-ttl": DELAY_MS, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": tasks}
    channel.queue_declare(delayed, durable=True, arguments=arguments)
    persistent = pika.BasicProperties(content_type="application/json", delivery_mode=pika.DeliveryMode.Persistent)
    videos = [f"V{number}" for number in range(789, 795)]
    for video in videos:
        task = {"video_id": video, "format": "mp4", "resolution": "1080p"}
        channel.basic_publish("", tasks, json.dumps(task), persistent)

    encoded, failed_at, retried_after = [], {}, {}

    def worker(name):
        def encode(channel, method, properties, body):
            video = json.loads(body)["video_id"]
            if video == "V791" and video not in failed_at:
                failed_at[video] = time.monotonic()
                channel.basic_nack(method.delivery_tag, requeue=False)
                return
            if video in failed_at:
                retried_after[video] = time.monotonic() - failed_at[video]
                assert properties.headers["x-death"], "a task that comes back tells its story"
            encoded.append((name, video))
            channel.basic_ack(method.delivery_tag)

        its_channel = connection.channel()
        its_channel.basic_qos(prefetch_count=1)
        its_channel.basic_consume(tasks, encode)

    worker("left")
    worker("right")
    while len(encoded) < len(videos):
        connection.process_data_events(time_limit=1)

    assert sorted(video for _, video in encoded) == videos, encoded
    assert {name for name, _ in encoded} == {"left", "right"}, encoded
    assert encoded[-1][1] == "V791", "the task that failed is done last"
    assert DELAY_MS / 1000 * 0.9 <= retried_after["V791"] < 5, retried_after
    channel.queue_delete(tasks)
    channel.queue_delete(delayed)

done(f"{len(videos)} videos encoded by two workers, V791 again after {retried_after['V791'] * 1000:.0f} ms")
