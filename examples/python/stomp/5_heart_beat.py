"""STOMP heart-beats: both sides send them, and an idle connection stays open."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))
import time

from hub import Stomp, done, unique

topic = unique("/topic/quiet")
clients = [Stomp(version, heartbeats=(400, 400)) for version in ("1.1", "1.2")]
beats = {client: [] for client in clients}
for client in clients:
    sends, wants = (int(part) for part in client.connected["heart-beat"].split(","))
    assert sends > 0 and wants > 0, client.connected["heart-beat"]
    client.connection.get_listener("hub").on_heartbeat = lambda its=beats[client]: its.append(time.monotonic())
    client.subscribe(topic)

time.sleep(2)

for client in clients:
    assert client.connection.is_connected(), "stomp.py hangs up when the broker's beats stop"
    assert len(beats[client]) >= 2, beats[client]
clients[0].send(topic, "still here")
for client in clients:
    assert client.inbox.next().body == "still here"
    client.close()

done(f"{sends},{wants} ms agreed, 2 s of silence survived")
