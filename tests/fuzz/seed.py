"""Writes the first files of tests/fuzz/corpus: one short stream for each kind of frame. Files that were added by hand
or by a fuzzer are left alone.  python3 tests/fuzz/seed.py"""

import pathlib
import struct

CORPUS = pathlib.Path(__file__).parent / "corpus"


def short(text):
    return bytes([len(text)]) + text


def long(text):
    return struct.pack(">I", len(text)) + text


def frame(kind, channel, payload):
    return struct.pack(">BHI", kind, channel, len(payload)) + payload + b"\xce"


def method(class_id, method_id, arguments=b"", channel=1):
    return frame(1, channel, struct.pack(">HH", class_id, method_id) + arguments)


TABLE = b"".join(
    short(name) + value
    for name, value in [
        (b"t", b"t\x01"), (b"b", b"b\xff"), (b"B", b"B\xff"), (b"s", b"s\xff\xfe"), (b"u", b"u\xff\xfe"),
        (b"I", b"I\0\0\0\5"), (b"i", b"i\0\0\0\5"), (b"l", b"l" + b"\0" * 8), (b"f", b"f" + struct.pack(">f", 1.5)),
        (b"d", b"d" + struct.pack(">d", 1.5)), (b"D", b"D\2\0\0\0\7"), (b"S", b"S" + long(b"text")),
        (b"x", b"x" + long(b"\0\xff")), (b"T", b"T" + b"\0" * 8), (b"V", b"V"),
        (b"A", b"A" + long(b"t\x01S" + long(b"in a list"))), (b"F", b"F" + long(short(b"k") + b"V")),
    ]
)
PROPERTIES = (
    struct.pack(">H", 0xFFF8) + short(b"text/plain") + short(b"gzip") + long(TABLE) + b"\2\4" + short(b"corr")
    + short(b"reply") + short(b"1000") + short(b"id") + b"\0" * 8 + short(b"type") + short(b"guest") + short(b"app")
)
AMQP = {
    "start-ok": method(10, 11, long(b"") + short(b"PLAIN") + long(b"\0guest\0guest") + short(b"en_US"), 0),
    "tune-ok-open": method(10, 31, b"\0\0\0\2\0\0\0\0", 0) + method(10, 40, short(b"/") + b"\0\0", 0),
    "channel": method(20, 10, b"\0") + method(20, 20, b"\1") + method(20, 40, b"\0\xc8" + short(b"bye") + b"\0" * 4),
    "exchange": method(40, 10, b"\0\0" + short(b"x") + short(b"topic") + b"\2" + long(TABLE))
    + method(40, 20, b"\0\0" + short(b"x") + b"\0") + method(40, 30, b"\0\0" + short(b"a") * 3 + b"\0" + long(b"")),
    "queue": method(50, 10, b"\0\0" + short(b"q") + b"\2" + long(TABLE))
    + method(50, 20, b"\0\0" + short(b"q") + short(b"x") + short(b"k.*") + b"\0" + long(b""))
    + method(50, 30, b"\0\0" + short(b"q") + b"\0") + method(50, 40, b"\0\0" + short(b"q") + b"\0"),
    "consume": method(60, 10, b"\0" * 6 + b"\x0a\0") + method(60, 20, b"\0\0" + short(b"q") + short(b"c") + b"\0" + long(b""))
    + method(60, 30, short(b"c") + b"\0") + method(60, 70, b"\0\0" + short(b"q") + b"\0"),
    "publish": method(60, 40, b"\0\0" + short(b"x") + short(b"k") + b"\1")
    + frame(2, 1, struct.pack(">HHQ", 60, 0, 5) + PROPERTIES) + frame(3, 1, b"hello"),
    "settle": method(60, 80, b"\0" * 8 + b"\1") + method(60, 90, b"\0" * 8 + b"\1") + method(60, 120, b"\0" * 8 + b"\2")
    + method(60, 110, b"\1"),
    "transactions": method(85, 10, b"\0") + method(90, 10) + method(90, 20) + method(90, 30),
    "heartbeat": frame(8, 0, b""),
    "properties": PROPERTIES,
}


def varint(number):
    out = b""
    while True:
        number, low = divmod(number, 128)
        out += bytes([low | (0x80 if number else 0)])
        if not number:
            return out


def text(value):
    return struct.pack(">H", len(value)) + value


def packet(first, body):
    return bytes([first]) + varint(len(body)) + body


USER = b"\x26" + text(b"name") + text(b"value")
MQTT3 = {
    "connect": packet(0x10, text(b"MQTT") + b"\4\xee\0\x3c" + text(b"dev") + text(b"will/t") + text(b"bye") + text(b"u") + text(b"p")),
    "publish": packet(0x30, text(b"a/b") + b"hello") + packet(0x3D, text(b"a") + b"\0\1x"),
    "subscribe": packet(0x82, b"\0\1" + text(b"a/+") + b"\1" + text(b"#") + b"\2") + packet(0xA2, b"\0\2" + text(b"a/+")),
    "acks": packet(0x40, b"\0\1") + packet(0x50, b"\0\1") + packet(0x62, b"\0\1") + packet(0x70, b"\0\1"),
    "ping-disconnect": packet(0xC0, b"") + packet(0xE0, b""),
}
MQTT5 = {
    "connect": packet(
        0x10,
        text(b"MQTT") + b"\5\xee\0\x3c" + varint(len(USER) + 5) + b"\x11\0\0\0\x3c" + USER + text(b"dev")
        + varint(5) + b"\x18\0\0\0\5" + text(b"will/t") + text(b"bye") + text(b"u") + text(b"p"),
    ),
    "publish": packet(
        0x3B,
        text(b"a/b") + b"\0\1" + varint(len(USER) * 2 + 31) + b"\1\1\2\0\0\0\x1e\3" + text(b"text/plain")
        + b"\x08" + text(b"r/t") + b"\x09" + text(b"c") + USER + USER + b"hello",
    ),
    "subscribe": packet(0x82, b"\0\1" + varint(2) + b"\x0b\5" + text(b"$share/g/a/+") + b"\x2e"),
    "acks": packet(0x40, b"\0\1\x10" + varint(len(USER)) + USER) + packet(0x50, b"\0\1\x97\0") + packet(0x62, b"\0\1\x92"),
    "disconnect": packet(0xE0, b"\4" + varint(5) + b"\x11\0\0\0\5") + packet(0xF0, b"\x18\0"),
}
STOMP = {
    "connect": b"CONNECT\naccept-version:1.0,1.1,1.2\nhost:/\nlogin:guest\npasscode:gu:e\\st\nheart-beat:1000,1000\n\n\0",
    "send": b"SEND\ndestination:/queue/a\ncontent-length:5\nk\\cey:va\\nlue\n\na\0b\nc\0\nSEND\r\ndestination:/topic/x\r\n\r\nbody\0\r\n",
    "subscribe": b"SUBSCRIBE\nid:0\ndestination:/topic/a.*\nack:client-individual\n\n\0UNSUBSCRIBE\nid:0\n\n\0",
    "settle": b"ACK\nid:1\ntransaction:t\n\n\0NACK\nid:2\nrequeue:false\n\n\0",
    "transaction": b"BEGIN\ntransaction:t\n\n\0COMMIT\ntransaction:t\nreceipt:r\n\n\0ABORT\ntransaction:u\n\n\0",
    "beats-disconnect": b"\n\n\r\n\nDISCONNECT\nreceipt:bye\n\n\0\n",
}
# Operations that hold no message: settle, attempts, memo, queue gone, exchange gone, session, ids, parts, used, next.
JOURNAL = {
    "settle": b"\x03\1\3\2\2\2" + b"\x04\1\5\2",
    "memo": b"\x06\1\3key\1\5value" + b"\x06\1\3key\0",
    "gone": b"\x08\1" + b"\x0a\1/\1x" + b"\x0e\1",
    "session": b"\x0d\1/\1\3dev\1\x3c\1\5" + b"\x11\x09",
    "positions": b"\x15\5\2" + b"\x16\1" + b"\x13\1\7",
}


def write(folder, name, stream):
    path = CORPUS / folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(stream)


for name, stream in AMQP.items():
    write("amqp091", name, stream)
for version, packets in (("3", MQTT3), ("5", MQTT5)):
    for name, stream in packets.items():
        write("mqtt", f"{name}-{version}", bytes([0 if version == "3" else 1]) + stream)
for version in range(3):
    for name, stream in STOMP.items():
        write("stomp", f"{name}-1.{version}", bytes([version]) + stream)
for name, stream in JOURNAL.items():
    write("journal", name, stream)
