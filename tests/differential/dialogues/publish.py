"""Publishes: returns, confirms, properties, expiration, copies, transactions."""

from pika import spec

from wire import As


def _with_queue(world, **options):
    channel = world.channel()
    channel.queue("q", **options)
    return channel


def to_a_missing_exchange(world):
    channel = world.channel()
    channel.publish("k", exchange="missing")
    channel.refused()


def mandatory(world):
    channel = _with_queue(world)
    channel.publish("q", "taken", mandatory=True, message_id="1")
    channel.publish("nobody", "returned", mandatory=True, message_id="2", headers={"a": "b"}, content_type="text/plain")
    channel.publish("nobody", "dropped", message_id="3")
    channel.settled(0.05)
    channel.drain("q")


def immediate(world):
    channel = _with_queue(world)
    channel.publish("q", immediate=True)
    channel.connection.rest(2)


def confirms(world):
    channel = _with_queue(world)
    channel.confirm()
    for n in range(5):
        channel.publish("q", str(n))
    channel.confirmed()
    channel.count("q")


def confirms_of_durable_messages(world):
    channel = _with_queue(world, durable=True)
    channel.confirm()
    for n in range(5):
        channel.publish("q", str(n), delivery_mode=2)
    channel.confirmed()
    channel.drain("q")


def confirms_of_what_nobody_gets(world):
    channel = world.channel()
    channel.confirm()
    channel.publish("nobody", "dropped")
    channel.publish("nobody", "returned", mandatory=True)
    channel.publish("nobody", "dropped", "amq.fanout")
    channel.confirmed()


def confirm_twice(world):
    channel = world.channel()
    channel.confirm()
    channel.confirm()


def confirm_of_a_refused_publish(world):
    channel = world.channel()
    channel.confirm()
    channel.publish("k", exchange="missing")
    channel.refused()


def an_empty_body(world):
    channel = _with_queue(world)
    channel.publish("q", "")
    channel.until("q", 1)
    channel.drain("q")


def every_property(world):
    channel = _with_queue(world)
    channel.publish(
        "q", "all", content_type="application/json", content_encoding="gzip", headers={"h": "v"}, delivery_mode=2,
        priority=5, correlation_id="c", reply_to="r", expiration="60000", message_id="m", timestamp=1234567890,
        type="t", user_id="guest", app_id="a", cluster_id="cluster",
    )
    channel.until("q", 1)
    channel.drain("q")


def no_property(world):
    channel = _with_queue(world)
    channel.publish("q", "bare")
    channel.until("q", 1)
    channel.drain("q")


def empty_properties(world):
    channel = _with_queue(world)
    channel.publish("q", "m", content_type="", headers={}, correlation_id="", reply_to="", message_id="", app_id="", type="")
    channel.until("q", 1)
    channel.drain("q")


def delivery_modes(world):
    channel = _with_queue(world)
    for mode in (1, 2):
        channel.publish("q", str(mode), delivery_mode=mode)
    channel.until("q", 2)
    channel.drain("q")
    channel.publish("q", "3", delivery_mode=3)
    channel.refused()
    channel.publish("q", "0", delivery_mode=0)
    channel.refused()


def priorities_out_of_range(world):
    channel = _with_queue(world)
    channel.publish("q", "10", priority=10)
    channel.publish("q", "255", priority=255)
    channel.settled(0.05)
    channel.drain("q")


def expiration_that_is_no_number(world):
    channel = _with_queue(world)
    channel.publish("q", "m", expiration="soon")
    channel.refused()


def expiration_below_zero(world):
    channel = _with_queue(world)
    channel.publish("q", "m", expiration="-1")
    channel.refused()


def expiration_with_a_fraction(world):
    channel = _with_queue(world)
    channel.publish("q", "m", expiration="1.5")
    channel.refused()


def expiration_with_blanks(world):
    channel = _with_queue(world)
    channel.publish("q", "m", expiration=" 60000")
    channel.refused()


def expiration_that_is_empty(world):
    channel = _with_queue(world)
    channel.publish("q", "m", expiration="")
    channel.refused()


def expiration_with_leading_zeros(world):
    channel = _with_queue(world)
    channel.publish("q", "m", expiration="00060000")
    channel.refused()
    channel.drain("q")


def expiration_with_a_plus(world):
    channel = _with_queue(world)
    channel.publish("q", "m", expiration="+60000")
    channel.refused()


def expiration_too_long(world):
    channel = _with_queue(world)
    channel.publish("q", "m", expiration="4294967296")
    channel.refused()


def expiration_of_zero_without_a_consumer(world):
    channel = _with_queue(world)
    channel.publish("q", "m", expiration="0")
    channel.settled(0.05)
    channel.count("q")


def expiration_of_zero_with_a_consumer(world):
    channel = _with_queue(world)
    channel.consume("q", no_ack=True)
    channel.publish("q", "m", expiration="0")
    channel.take()


def an_expired_message_is_gone(world):
    channel = _with_queue(world)
    channel.publish("q", "short", expiration="50")
    channel.publish("q", "long", expiration="60000")
    channel.settled(0.2)
    channel.drain("q")


def an_expired_message_behind_another(world):
    channel = _with_queue(world)
    channel.publish("q", "long", expiration="60000")
    channel.publish("q", "short", expiration="50")
    channel.settled(0.2)
    channel.count("q")
    channel.drain("q")


def a_queues_time_to_live(world):
    channel = _with_queue(world, x_message_ttl=100)
    channel.publish("q", "a")
    channel.publish("q", "b", expiration="60000")
    channel.until("q", 2)
    channel.settled(0.3)
    channel.count("q")


def a_time_to_live_of_zero(world):
    channel = _with_queue(world, x_message_ttl=0)
    channel.publish("q", "nobody waits")
    channel.settled(0.05)
    channel.count("q")
    channel.consume("q", no_ack=True)
    channel.publish("q", "somebody waits")
    channel.take()


def copies_by_CC(world):
    channel = _with_queue(world)
    channel.queue("q2")
    channel.queue("q3")
    headers = {"CC": As("A", [As("S", "q2"), As("S", "q")]), "BCC": As("A", [As("S", "q3")])}
    channel.publish("q", "copies", headers=headers)
    channel.settled(0.05)
    for name in ("q", "q2", "q3"):
        channel.drain(name)


def copies_to_nobody(world):
    channel = _with_queue(world)
    channel.publish("nobody", "copies", headers={"CC": As("A", [As("S", "q")])}, mandatory=True)
    channel.publish("nobody", "copies", headers={"CC": As("A", [As("S", "nobody2")])}, mandatory=True)
    channel.settled(0.05)
    channel.drain("q")


def copies_as_text(world):
    channel = _with_queue(world)
    channel.publish("q", headers={"CC": "q"})
    channel.refused()


def copies_of_another_type(world):
    channel = _with_queue(world)
    channel.publish("q", headers={"CC": As("A", [As("I", 5), As("S", "q")])})
    channel.refused()
    channel.publish("q", headers={"BCC": 5})
    channel.refused()
    channel.drain("q")


def copies_of_an_exchange(world):
    channel = _with_queue(world)
    channel.queue("q2")
    channel.bind("q", "amq.direct", "cc.a")
    channel.bind("q2", "amq.direct", "cc.b")
    channel.publish("cc.a", "m", "amq.direct", headers={"CC": As("A", [As("S", "cc.b"), As("S", "cc.a")])})
    channel.settled(0.05)
    channel.drain("q")
    channel.drain("q2")


def a_large_body(world):
    channel = _with_queue(world)
    channel.publish("q", "x" * 300000)
    channel.until("q", 1)
    channel.drain("q")


def the_order_of_a_queue(world):
    channel = _with_queue(world)
    for n in range(40):
        channel.publish("q", str(n))
    channel.until("q", 40)
    channel.drain("q")


def returns_come_before_confirms(world):
    channel = world.channel()
    channel.confirm()
    channel.publish("nobody", "m", mandatory=True)
    channel.ready()
    kinds = []
    while len(kinds) < 2:
        found = channel.next(5)
        kinds.append(type(getattr(found, "method", found)).__name__)
    world.say(kinds)


def _order(world, *methods):
    """What comes, and in which order, when a method follows an unroutable publish at once."""
    for method in methods:
        channel = world.channel()
        channel.publish("nobody", "m", mandatory=True)
        channel.connection.wire.send(1, method)
        kinds = []
        while len(kinds) < 2 and (found := channel.next(2)) is not None:
            kinds.append(type(getattr(found, "method", found)).__name__)
        world.say(f"{method.NAME}: {kinds}")


def returns_come_before_the_next_answer(world):
    _order(
        world, spec.Channel.Flow(True), spec.Basic.Qos(0, 5, False), spec.Exchange.Declare(0, "amq.direct", "direct", True),
        spec.Confirm.Select(False), spec.Tx.Select(), spec.Channel.Close(200, "", 0, 0),
    )


def returns_come_before_a_refusal(world):
    _order(world, spec.Queue.Declare(0, "missing", True), spec.Basic.Ack(7, False), spec.Basic.Consume(0, "missing", "c"))


# -- transactions --------------------------------------------------------------------------------------------------------


def tx_commit(world):
    channel = _with_queue(world)
    channel.tx()
    channel.publish("q", "1")
    channel.publish("q", "2")
    channel.count("q")
    channel.commit()
    channel.until("q", 2)
    channel.drain("q")


def tx_rollback(world):
    channel = _with_queue(world)
    channel.tx()
    channel.publish("q", "1")
    channel.rollback()
    channel.count("q")
    channel.commit()
    channel.count("q")


def tx_without_select(world):
    channel = world.channel()
    channel.commit()
    channel.rollback()


def tx_twice(world):
    channel = world.channel()
    channel.tx()
    channel.tx()


def tx_and_confirms(world):
    channel = world.channel()
    channel.tx()
    channel.confirm()
    channel = world.channel()
    channel.confirm()
    channel.tx()


def tx_returns_at_the_commit(world):
    channel = world.channel()
    channel.tx()
    channel.publish("nobody", "m", mandatory=True)
    channel.settled(0.05)
    world.say("before the commit")
    channel.commit()
    channel.settled()


def tx_acks(world):
    channel = _with_queue(world)
    channel.publish("q", "1")
    channel.until("q", 1)
    channel.tx()
    message = channel.get("q", no_ack=False)
    channel.ack(message.tag)
    channel.rollback()
    channel.close()
    channel.until("q", 1)
    channel.tx()
    message = channel.get("q", no_ack=False)
    channel.ack(message.tag)
    channel.commit()
    channel.close()
    channel.count("q")


def tx_rejects(world):
    channel = _with_queue(world)
    channel.publish("q", "1")
    channel.until("q", 1)
    channel.tx()
    message = channel.get("q", no_ack=False)
    channel.reject(message.tag)
    channel.count("q")
    channel.commit()
    channel.until("q", 1)


def tx_to_a_missing_exchange(world):
    channel = _with_queue(world)
    channel.tx()
    channel.publish("q", "lost with it")
    channel.publish("k", "m", "missing")
    channel.refused()
    channel.count("q")


def tx_with_the_channel_closed_before_the_commit(world):
    channel = _with_queue(world)
    channel.tx()
    channel.publish("q", "1")
    channel.close()
    channel.count("q")


def tx_and_a_consumer(world):
    channel = _with_queue(world)
    reader = world.channel()
    reader.consume("q", no_ack=True)
    channel.tx()
    channel.publish("q", "1")
    channel.settled()
    reader.nothing()
    channel.commit()
    reader.take()
