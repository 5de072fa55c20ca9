"""STOMP queues: receipts, headers that need escaping, any bytes in the body; in STOMP 1.0, 1.1 and 1.2."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))
from hub import Stomp, delete_queues, done, unique

for version in ("1.0", "1.1", "1.2"):
    queue = unique("parcels")
    stomp = Stomp(version)
    assert stomp.connected.get("version", "1.0") == version, stomp.connected
    # The receipt shows that the broker has the message, so it can be sent before there is a consumer.
    stomp.send(f"/queue/{queue}", "größer als ein Wort", {"content-type": "text/plain;charset=utf-8", "colour": "blue"})
    escaped = {"1.0": "plain", "1.1": "a:b\\c\nd", "1.2": "a:b\\c\nd\re"}[version]
    stomp.send(f"/queue/{queue}", '{"n": 1}', {"content-type": "application/json", "note": escaped, "persistent": "true"})

    stomp.subscribe(f"/queue/{queue}")
    text, json = stomp.inbox.take(2)
    assert text.body == "größer als ein Wort"
    assert text.headers["content-type"] == "text/plain;charset=utf-8"
    assert text.headers["colour"] == "blue"
    assert text.headers["destination"] == f"/queue/{queue}"
    assert text.headers["message-id"] != json.headers["message-id"]
    assert json.body == '{"n": 1}'
    assert json.headers["note"] == escaped, json.headers
    stomp.close()

    binary = Stomp(version, text=False)
    binary.subscribe(f"/queue/{queue}")
    binary.send(f"/queue/{queue}", b"\x00\xff\n\x00")
    frame = binary.inbox.next()
    assert frame.body == b"\x00\xff\n\x00", frame.body
    binary.close()
    delete_queues(queue)

done("text, JSON and bytes through a queue with STOMP 1.0, 1.1 and 1.2")
