"""The address of the broker, and the calls that every program in this folder needs.

Not a client library: the connections made here are plain pika, paho-mqtt and stomp.py objects. What this file adds is
the address from the environment, an inbox to wait on, and time limits: no call blocks for longer than TIMEOUT
seconds, and a program that has not finished after LIMIT seconds is ended.
"""

import os
import queue
import secrets
import sys
import threading

TIMEOUT = 8
LIMIT = 20
USER = PASSWORD = "guest"
DEFAULTS = {"AMQP": "127.0.0.1:5672", "MQTT": "127.0.0.1:1883", "STOMP": "127.0.0.1:61613"}


def address(protocol):
    """Host and port of one of the three listeners, e.g. CROSSDOCK_AMQP=127.0.0.1:5672."""
    host, _, port = os.environ.get("CROSSDOCK_" + protocol, DEFAULTS[protocol]).rpartition(":")
    return host or "127.0.0.1", int(port)


def unique(prefix):
    """A name that no other run uses, made of characters that mean the same in every protocol."""
    return f"{prefix}-{secrets.token_hex(4)}"


def done(text):
    """The one line a program prints when everything it asserted was true."""
    print(text, flush=True)


def _overdue():
    print(f"not finished after {LIMIT} s", file=sys.stderr, flush=True)
    os._exit(1)


_watchdog = threading.Timer(LIMIT, _overdue)
_watchdog.daemon = True
_watchdog.start()


class Inbox(queue.Queue):
    """Received messages. `next()` waits for one, `none_for()` checks that none comes."""

    def next(self, timeout=TIMEOUT):
        try:
            return self.get(timeout=timeout)
        except queue.Empty:
            raise AssertionError(f"no message within {timeout} s") from None

    def take(self, count):
        return [self.next() for _ in range(count)]

    def none_for(self, seconds):
        try:
            message = self.get(timeout=seconds)
        except queue.Empty:
            return
        raise AssertionError(f"unexpected message: {message!r}")


# AMQP 0-9-1 -----------------------------------------------------------------------------------------------------------


def amqp():
    """A pika connection."""
    import pika

    host, port = address("AMQP")
    credentials = pika.PlainCredentials(USER, PASSWORD)
    return pika.BlockingConnection(
        pika.ConnectionParameters(
            host, port, credentials=credentials, blocked_connection_timeout=TIMEOUT, connection_attempts=1
        )
    )


def take(channel, queue_name, count=1, ack=True):
    """The next `count` messages of a queue as (method, properties, body)."""
    messages = []
    for method, properties, body in channel.consume(queue_name, inactivity_timeout=TIMEOUT):
        assert method is not None, f"only {len(messages)} of {count} messages of {queue_name} within {TIMEOUT} s"
        messages.append((method, properties, body))
        if ack:
            channel.basic_ack(method.delivery_tag)
        if len(messages) == count:
            break
    channel.cancel()
    return messages


def delete_queues(*names):
    """STOMP and MQTT clients cannot delete a queue; AMQP clients can."""
    with amqp() as connection:
        channel = connection.channel()
        for name in names:
            channel.queue_delete(name)


# MQTT -----------------------------------------------------------------------------------------------------------------


def mqtt(version=5, client_id=None, clean=True, expiry=0, will=None, keepalive=60):
    """A connected paho client with its loop running; messages arrive in `client.inbox`.

    `will` holds the arguments of `will_set`. `client.session_present` is the flag from the CONNACK.
    """
    import paho.mqtt.client as paho
    from paho.mqtt.packettypes import PacketTypes
    from paho.mqtt.properties import Properties

    new_style = version == 5
    client = paho.Client(
        paho.CallbackAPIVersion.VERSION2,
        client_id=client_id or unique("example"),
        protocol=paho.MQTTv5 if new_style else paho.MQTTv311,
        clean_session=None if new_style else clean,
        reconnect_on_failure=False,
    )
    client.inbox, client.subacks, answers = Inbox(), Inbox(), Inbox()
    client.on_connect = lambda _c, _u, flags, reason, _p: answers.put((flags, reason))
    client.on_disconnect = lambda _c, _u, flags, reason, _p: answers.put((flags, reason))
    client.on_message = lambda _c, _u, message: client.inbox.put(message)
    client.on_subscribe = lambda _c, _u, _mid, reasons, _p: client.subacks.put(reasons)
    client.username_pw_set(USER, PASSWORD)
    if will:
        client.will_set(**will)
    host, port = address("MQTT")
    if new_style:
        properties = Properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = expiry
        client.connect(host, port, keepalive, clean_start=clean, properties=properties)
    else:
        client.connect(host, port, keepalive)
    client.loop_start()
    flags, reason = answers.next()
    assert not reason.is_failure, f"MQTT {version} connection refused: {reason}"
    client.session_present = flags.session_present
    return client


def subscribe(client, topic_filter, qos=1, **options):
    """SUBSCRIBE, and wait until the broker granted it."""
    client.subscribe(topic_filter, qos, **options) if not options else client.subscribe(topic_filter, **options)
    (reason,) = client.subacks.next()
    assert not reason.is_failure, f"subscription to {topic_filter} refused: {reason}"
    return reason.value


def publish(client, topic, payload, qos=1, retain=False, **properties):
    """PUBLISH, and wait for the broker's acknowledgement. `properties` are MQTT 5 ones, e.g. ContentType="text/plain"."""
    from paho.mqtt.packettypes import PacketTypes
    from paho.mqtt.properties import Properties

    block = None
    if properties:
        block = Properties(PacketTypes.PUBLISH)
        for name, value in properties.items():
            setattr(block, name, value)
    sent = client.publish(topic, payload, qos, retain, block)
    sent.wait_for_publish(TIMEOUT)
    assert sent.is_published(), f"publish to {topic} not acknowledged within {TIMEOUT} s"


def hang_up(client):
    """End the connection without DISCONNECT, as a crash or a lost network would."""
    import socket

    client.socket().shutdown(socket.SHUT_RDWR)
    client.loop_stop()


def bye(*clients):
    for client in clients:
        client.disconnect()
        client.loop_stop()


# STOMP ----------------------------------------------------------------------------------------------------------------


class Stomp:
    """A stomp.py connection whose calls wait for their RECEIPT; MESSAGE frames arrive in `inbox`."""

    def __init__(self, version="1.2", heartbeats=(0, 0), text=True):
        import stomp

        class Listener(stomp.ConnectionListener):
            def on_connected(_, frame):
                self.connected = frame.headers

            def on_message(_, frame):
                self.inbox.put(frame)

            def on_receipt(_, frame):
                self.receipts.put(frame.headers["receipt-id"])

            def on_error(_, frame):
                self.receipts.put(f"ERROR {frame.headers.get('message')}: {frame.body}")

        self.inbox, self.receipts, self.connected = Inbox(), Inbox(), {}
        options = {"auto_decode": text, "reconnect_attempts_max": 1}
        if version != "1.0":
            options |= {"heartbeats": heartbeats, "vhost": "/"}
        kind = {"1.0": stomp.StompConnection10, "1.1": stomp.StompConnection11, "1.2": stomp.StompConnection12}[version]
        self.connection = kind([address("STOMP")], **options)
        self.connection.set_listener("hub", Listener())
        self.connection.connect(USER, PASSWORD, wait=True)

    def confirmed(self, call, *arguments, **headers):
        """Make `call` with a receipt header and wait for the receipt."""
        receipt = unique("receipt")
        call(*arguments, **headers, receipt=receipt)
        answer = self.receipts.next()
        assert answer == receipt, answer

    def send(self, destination, body, headers=None):
        self.confirmed(self.connection.send, destination, body, headers=headers or {})

    def subscribe(self, destination, id="1", ack="auto", headers=None):
        self.confirmed(self.connection.subscribe, destination, id=id, ack=ack, headers=headers or {})

    def close(self):
        self.connection.disconnect(receipt=unique("bye"))

    def hang_up(self):
        """End the connection without DISCONNECT."""
        self.connection.transport.disconnect_socket()
