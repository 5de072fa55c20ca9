"""Application headers of every type, as a reader gets them."""

from wire import As

VALUES = {
    "bool": As("t", 1),
    "false": As("t", 0),
    "i8": As("b", -5),
    "u8": As("B", 250),
    "i16": As("s", -3000),
    "u16": As("u", 60000),
    "i32": As("I", -70000),
    "u32": As("i", 4000000000),
    "i64": As("l", -5000000000),
    "f32": As("f", 1.5),
    "f64": As("d", 1.25),
    "decimal": As("D", (2, 12345)),
    "text": As("S", "text"),
    "empty_text": As("S", ""),
    "text_that_is_not_utf8": As("S", b"\xff\xfe"),
    "text_with_nul": As("S", "a\0b"),
    "bytes": As("x", b"\x00\x01"),
    "time": As("T", 1234567890),
    "void": As("V"),
    "list": As("A", [As("I", 1), As("S", "two"), As("A", [As("V")])]),
    "empty_list": As("A", []),
    "table": As("F", {"a": As("I", 1), "b": As("F", {"c": As("S", "d")})}),
    "empty_table": As("F", {}),
}


def _value(value):
    def dialogue(world):
        channel = world.channel()
        channel.queue("q")
        channel.publish("q", "m", headers={"value": value})
        channel.until("q", 1)
        channel.drain("q")

    return dialogue


for _name, _of in VALUES.items():
    globals()[f"a_{_name}"] = _value(_of)


def order_is_kept(world):
    channel = world.channel()
    channel.queue("q")
    channel.publish("q", "m", headers={name: name for name in ("z", "a", "m", "b")})
    channel.until("q", 1)
    channel.drain("q")


def all_at_once_in_a_durable_queue(world):
    channel = world.channel()
    channel.queue("q", durable=True)
    channel.confirm()
    channel.publish("q", "m", headers=dict(VALUES), delivery_mode=2)
    channel.confirmed()
    channel.drain("q")


def all_at_once_in_a_return(world):
    channel = world.channel()
    channel.publish("nobody", "m", headers=dict(VALUES), mandatory=True)
    channel.settled()


def all_at_once_in_a_dead_letter(world):
    channel = world.channel()
    channel.queue("dead")
    channel.queue("q", x_dead_letter_exchange="", x_dead_letter_routing_key="dead")
    channel.publish("q", "m", headers=dict(VALUES))
    channel.until("q", 1)
    message = channel.get("q", no_ack=False)
    channel.reject(message.tag, requeue=False)
    channel.until("dead", 1)
    answer = _quiet_get(channel, "dead")
    headers = answer.properties.headers
    for name in VALUES:
        world.say(f"{name} {headers.get(name)!r}")


def _quiet_get(channel, queue):
    before = len(channel.connection.world.trace)
    answer = channel.get(queue)
    del channel.connection.world.trace[before:]
    return answer


def names_of_every_kind(world):
    channel = world.channel()
    channel.queue("q")
    channel.publish("q", "m", headers={"": "empty", "with space": "1", "ü": "2", "x-mine": "3", "content-type": "4", "n" * 128: "5"})
    channel.until("q", 1)
    channel.drain("q")


def a_header_of_5000_bytes(world):
    channel = world.channel()
    channel.queue("q")
    channel.publish("q", "m", headers={"long": "x" * 5000})
    channel.until("q", 1)
    channel.drain("q")


def headers_that_a_client_forges(world):
    channel = world.channel()
    channel.queue("q")
    channel.publish("q", "m", headers={"x-death": "mine", "x-delivery-count": As("I", 5), "x-first-death-queue": "q"})
    channel.until("q", 1)
    channel.drain("q")
