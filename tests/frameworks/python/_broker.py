"""Where the broker is, and what every program here does: a time limit, names of its own, one line at the end."""

import faulthandler
import os
import time
import uuid

HOST, PORT = os.environ.get("CROSSDOCK_AMQP", "127.0.0.1:5672").rsplit(":", 1)
PORT = int(PORT)
URL = f"amqp://guest:guest@{HOST}:{PORT}/%2F"
RUN = uuid.uuid4().hex[:8]  # part of every name, so that runs do not meet
checked = []

faulthandler.dump_traceback_later(float(os.environ.get("CROSSDOCK_LIMIT", "55")), exit=True)


def check(what, found, expected=True):
    """Ends the program when something is not as it should be."""
    assert found == expected, f"{what}: {found!r} instead of {expected!r}"
    checked.append(what)


def until(what, condition, seconds=15):
    """Waits for something, and gives back how long it took."""
    begun = time.monotonic()
    while not condition():
        assert time.monotonic() - begun < seconds, f"{what}: not within {seconds} s"
        time.sleep(0.02)
    checked.append(what)
    return time.monotonic() - begun


def direct_reply_to():
    """Whether the broker announces direct reply-to; cases that need it are left out aloud where it does not."""
    import pika

    with pika.BlockingConnection(pika.ConnectionParameters(HOST, PORT)) as connection:
        has = connection._impl.server_capabilities.get("direct_reply_to", False)
    if not has:
        print("left out: cases of direct reply-to, which the broker does not announce")
    return has


def done():
    faulthandler.cancel_dump_traceback_later()
    print(f"{len(checked)} checks")
