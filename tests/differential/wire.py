"""A client that sends exactly what a dialogue says and writes down every frame that comes, on pika's codec.

Field values keep their type letters, which pika's own decoder drops: `As("I", 5)` is a 32-bit number on the wire and
`I:5` in a trace. Nothing here judges: traces of two brokers are compared by run.py.
"""

import re
import socket
import struct
import time

from pika import data, frame, spec

PATIENCE = 8.0  # seconds for an answer
GENERATED = re.compile(r"amq\.(gen|ctag)-[\w-]+")
TOKENS = re.compile(r"amq\.rabbitmq\.reply-to\.[\w.+/=-]+")
NUMBERS = {"b": "b", "B": "B", "s": "h", "u": "H", "I": "i", "i": "I", "l": "q", "L": "q", "f": "f", "d": "d", "T": "Q"}


class As:
    """A field value with its type letter."""

    def __init__(self, letter, value=None):
        self.letter, self.value = letter, value

    def __repr__(self):
        if self.letter == "F":
            return "{" + ", ".join(f"{name}={value!r}" for name, value in self.value.items()) + "}"
        if self.letter == "A":
            return "[" + ", ".join(repr(value) for value in self.value) + "]"
        return self.letter if self.letter == "V" else f"{self.letter}:{shown(self.value)}"


def shown(value):
    """A value as a trace shows it: text bare, and without what a broker makes up."""
    if isinstance(value, bytes):
        try:
            value = value.decode()
        except UnicodeDecodeError:
            return f"0x{value.hex()}"
    if isinstance(value, str):
        value = re.sub(r"\n\s+", " ", value)
        value = TOKENS.sub("amq.rabbitmq.reply-to.*", GENERATED.sub(r"amq.\1-*", value))
        return value if len(value) <= 300 else f"{value[:100]}… ({len(value)})"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{shown(name)}={item!r}" for name, item in value.items()) + "}"
    return repr(value)


def _encode(pieces, value):
    if not isinstance(value, As):
        return PLAIN_ENCODE(pieces, value)
    letter, value = value.letter, value.value
    if letter in NUMBERS:
        body = struct.pack(">" + NUMBERS[letter], value)
    elif letter == "t":
        body = bytes([value])
    elif letter == "V":
        body = b""
    elif letter == "D":
        body = struct.pack(">Bi", *value)
    elif letter in "Sx":
        value = value.encode() if isinstance(value, str) else value
        body = struct.pack(">I", len(value)) + value
    else:  # F, A
        inner = []
        if letter == "F":
            data.encode_table(inner, value)
            body = b"".join(inner)
        else:
            for item in value:
                _encode(inner, item)
            body = b"".join(inner)
            body = struct.pack(">I", len(body)) + body
    pieces.append(letter.encode() + body)
    return 1 + len(body)


def _decode(encoded, offset):
    letter, offset = chr(encoded[offset]), offset + 1
    if letter in NUMBERS:
        form = ">" + NUMBERS[letter]
        return As(letter, struct.unpack_from(form, encoded, offset)[0]), offset + struct.calcsize(form)
    if letter == "t":
        return As(letter, encoded[offset]), offset + 1
    if letter == "V":
        return As(letter), offset
    if letter == "D":
        return As(letter, struct.unpack_from(">Bi", encoded, offset)), offset + 5
    if letter in "Sx":
        (size,) = struct.unpack_from(">I", encoded, offset)
        return As(letter, encoded[offset + 4 : offset + 4 + size]), offset + 4 + size
    if letter == "F":
        table, offset = data.decode_table(encoded, offset)
        return As(letter, table), offset
    if letter == "A":
        (size,) = struct.unpack_from(">I", encoded, offset)
        offset, items = offset + 4, []
        end = offset + size
        while offset < end:
            item, offset = _decode(encoded, offset)
            items.append(item)
        return As(letter, items), offset
    raise ValueError(f"unknown type of a field: {letter!r}")


PLAIN_ENCODE = data.encode_value
data.encode_value, data.decode_value = _encode, _decode

# Fields of replies that say nothing.
SILENT = {"cluster_id", "reserved_1", "ticket", "out_of_band", "known_hosts", "channel_id"}


def method_text(method):
    fields = ((name, value) for name, value in vars(method).items() if name not in SILENT)
    return " ".join([method.NAME, *(f"{name}={shown(value)}" for name, value in fields)])


def properties_text(properties):
    return " ".join(
        f"{name}={shown(value)}"
        for name, value in vars(properties).items()
        if value is not None and not callable(value) and name != "headers"
    ) + (f" headers={shown(properties.headers)}" if properties.headers is not None else "")


class Gone(Exception):
    """The broker closed the connection."""


class Message:
    """A delivery, an answer to basic.get, or a return, with its content."""

    def __init__(self, method, properties, body):
        self.method, self.properties, self.body = method, properties, body

    @property
    def tag(self):
        return self.method.delivery_tag

    def __str__(self):
        return " ".join(filter(None, [method_text(self.method), properties_text(self.properties), f"body={shown(self.body)}"]))


class Wire:
    """One socket: frames out, frames in."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), 5)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""
        self.frame_max = 131072

    def write(self, octets):
        try:
            self.socket.sendall(octets)
        except OSError as error:
            # What the broker said before it closed may still be read.
            if not self.buffer and not self._readable():
                raise Gone(str(error)) from error

    def _readable(self):
        try:
            self.socket.settimeout(0.2)
            more = self.socket.recv(65536)
            self.buffer += more
            return bool(more)
        except OSError:
            return False

    def send(self, channel, method, properties=None, body=None):
        octets = frame.Method(channel, method).marshal()
        if properties is not None:
            octets += frame.Header(channel, len(body), properties).marshal()
            most = self.frame_max - 8
            for at in range(0, len(body), most):
                octets += frame.Body(channel, body[at : at + most]).marshal()
        self.write(octets)

    def frame(self, patience=PATIENCE):
        """The next frame that is no heartbeat, or None after this many seconds."""
        until = time.monotonic() + patience
        while True:
            used, found = frame.decode_frame(self.buffer)
            if found is not None:
                self.buffer = self.buffer[used:]
                if not isinstance(found, frame.Heartbeat):
                    return found
                continue
            left = until - time.monotonic()
            if left <= 0:
                return None
            self.socket.settimeout(left)
            try:
                more = self.socket.recv(65536)
            except socket.timeout:
                return None
            except OSError as error:
                raise Gone(str(error)) from error
            if not more:
                raise Gone("closed")
            self.buffer += more

    def close(self):
        self.socket.close()


def method_frame(channel, method):
    """The octets of a method's frame."""
    return frame.Method(channel, method).marshal()


def raw_frame(kind, channel, payload, end=b"\xce"):
    """The octets of any frame."""
    return struct.pack(">BHI", kind, channel, len(payload)) + payload + end


PROTOCOL_HEADER = b"AMQP\x00\x00\x09\x01"
spec_of = spec
