"""Dead letters of every reason with their x-death, limits with every overflow, times to live."""


def _house(world, channel=None, **arguments):
    """A queue whose dead letters go into the queue `dead`."""
    channel = channel or world.channel()
    channel.queue("dead")
    channel.queue("q", x_dead_letter_exchange="", x_dead_letter_routing_key="dead", **arguments)
    return channel


def _dead(channel, count, queue="dead"):
    channel.until(queue, count)
    for _ in range(count):
        _get(channel, queue)


def _get(channel, queue, no_ack=True, last=False):
    """Gets a message and writes down its deaths one by one, without their times and in the order of their names (which
    RabbitMQ changes with the number of deaths). `x-last-death-…` is compared where `last` says so."""
    trace = channel.connection.world.trace
    before = len(trace)
    message = channel.get(queue, no_ack)
    if message is None:
        return None
    del trace[before:]
    headers = message.properties.headers or {}
    deaths, others = headers.get("x-death"), {}
    for name, value in headers.items():
        if name != "x-death" and not name.startswith(("x-first-death-", "x-last-death-")):
            others[name] = value
    message.properties.headers = others or None
    trace.append(str(message))
    message.properties.headers = headers
    for death in getattr(deaths, "value", None) or []:
        fields = dict(sorted(death.value.items()))
        fields["time"] = fields["time"].letter if "time" in fields else None
        trace.append(f"  died {' '.join(f'{name}={value!r}' for name, value in fields.items())}")
    for name in sorted(headers):
        if name.startswith("x-first-death-") or (last and name.startswith("x-last-death-")):
            trace.append(f"  {name} {headers[name]!r}")
    return message


def rejected(world):
    channel = _house(world)
    channel.publish("q", "m", message_id="1", headers={"mine": "kept"}, delivery_mode=2, priority=3)
    channel.until("q", 1)
    channel.reject(channel.get("q", no_ack=False).tag, requeue=False)
    _dead(channel, 1)


def the_last_death(world):
    channel = _house(world)
    channel.publish("q", "m")
    channel.until("q", 1)
    channel.reject(channel.get("q", no_ack=False).tag, requeue=False)
    channel.until("dead", 1)
    _get(channel, "dead", last=True)


def nacked(world):
    channel = _house(world)
    for n in range(3):
        channel.publish("q", str(n))
    channel.until("q", 3)
    tags = [channel.get("q", no_ack=False).tag for _ in range(3)]
    channel.nack(tags[-1], multiple=True, requeue=False)
    _dead(channel, 3)


def expired(world):
    channel = _house(world)
    channel.publish("q", "m", expiration="50", message_id="1")
    _dead(channel, 1)


def expired_by_the_queue(world):
    channel = _house(world, x_message_ttl=50)
    channel.publish("q", "m", message_id="1")
    _dead(channel, 1)


def expired_by_the_shorter_time(world):
    channel = _house(world, x_message_ttl=60000)
    channel.publish("q", "m", expiration="50")
    _dead(channel, 1)


def expired_at_once(world):
    channel = _house(world, x_message_ttl=0)
    channel.publish("q", "m")
    _dead(channel, 1)


def max_length(world):
    channel = _house(world, x_max_length=2)
    for n in range(4):
        channel.publish("q", str(n))
    channel.settled()
    _dead(channel, 2)
    channel.drain("q")


def delivery_limit(world):
    channel = world.channel()
    channel.queue("dead")
    channel.quorum("q", x_delivery_limit=1, x_dead_letter_exchange="", x_dead_letter_routing_key="dead")
    channel.confirm()
    channel.publish("q", "m")
    channel.confirmed()
    for _ in range(2):
        channel.reject(channel.get("q", no_ack=False).tag, requeue=True)
        channel.settled(0.1)
    _dead(channel, 1)


def quorum_rejected(world):
    channel = world.channel()
    channel.queue("dead")
    channel.quorum("q", x_dead_letter_exchange="", x_dead_letter_routing_key="dead")
    channel.confirm()
    channel.publish("q", "m", message_id="1")
    channel.confirmed()
    channel.reject(channel.get("q", no_ack=False).tag, requeue=False)
    _dead(channel, 1)


def quorum_expired(world):
    channel = world.channel()
    channel.queue("dead")
    channel.quorum("q", x_dead_letter_exchange="", x_dead_letter_routing_key="dead", x_message_ttl=50)
    channel.confirm()
    channel.publish("q", "m")
    channel.confirmed()
    _dead(channel, 1)


def quorum_max_length(world):
    channel = world.channel()
    channel.queue("dead")
    channel.quorum("q", x_dead_letter_exchange="", x_dead_letter_routing_key="dead", x_max_length=1)
    channel.confirm()
    for n in range(2):
        channel.publish("q", str(n))
    channel.confirmed()
    _dead(channel, 1)


def with_the_messages_own_key(world):
    channel = world.channel()
    channel.exchange("dlx", "topic")
    channel.queue("dead")
    channel.bind("dead", "dlx", "#")
    channel.queue("q", x_dead_letter_exchange="dlx")
    channel.bind("q", "amq.direct", "own.key")
    channel.publish("own.key", "m", "amq.direct")
    channel.until("q", 1)
    channel.reject(channel.get("q", no_ack=False).tag, requeue=False)
    _dead(channel, 1)


def to_nobody(world):
    channel = world.channel()
    channel.queue("q", x_dead_letter_exchange="", x_dead_letter_routing_key="missing")
    channel.publish("q", "m")
    channel.until("q", 1)
    channel.reject(channel.get("q", no_ack=False).tag, requeue=False)
    channel.settled(0.1)
    channel.count("q")


def to_a_missing_exchange(world):
    channel = world.channel()
    channel.queue("q", x_dead_letter_exchange="missing")
    channel.publish("q", "m")
    channel.until("q", 1)
    channel.reject(channel.get("q", no_ack=False).tag, requeue=False)
    channel.settled(0.1)
    channel.count("q")


def twice_of_the_same(world):
    channel = _house(world)
    channel.publish("q", "m")
    for _ in range(2):
        channel.until("q", 1)
        channel.reject(_get(channel, "q", no_ack=False).tag, requeue=False)
        channel.until("dead", 1)
        message = _get(channel, "dead")
        channel.publish("q", message.body.decode(), headers=message.properties.headers)


def through_two_queues(world):
    channel = world.channel()
    channel.queue("dead")
    channel.queue("second", x_dead_letter_exchange="", x_dead_letter_routing_key="dead", x_message_ttl=50)
    channel.queue("q", x_dead_letter_exchange="", x_dead_letter_routing_key="second")
    channel.publish("q", "m")
    channel.until("q", 1)
    channel.reject(channel.get("q", no_ack=False).tag, requeue=False)
    _dead(channel, 1)


def in_a_circle_with_a_rejection(world):
    channel = world.channel()
    channel.queue("wait", x_dead_letter_exchange="", x_dead_letter_routing_key="q", x_message_ttl=50)
    channel.queue("q", x_dead_letter_exchange="", x_dead_letter_routing_key="wait")
    channel.publish("q", "m")
    for _ in range(3):
        channel.until("q", 1)
        message = _get(channel, "q", no_ack=False)
        channel.reject(message.tag, requeue=False)
    channel.until("q", 1)
    _get(channel, "q")


def in_a_circle_of_expirations(world):
    channel = world.channel()
    channel.queue("b", x_dead_letter_exchange="", x_dead_letter_routing_key="a", x_message_ttl=30)
    channel.queue("a", x_dead_letter_exchange="", x_dead_letter_routing_key="b", x_message_ttl=30)
    channel.publish("a", "m")
    channel.settled(0.4)
    channel.count("a")
    channel.count("b")


def into_the_queue_itself(world):
    channel = world.channel()
    channel.queue("q", x_dead_letter_exchange="", x_dead_letter_routing_key="q")
    channel.publish("q", "m")
    channel.until("q", 1)
    channel.reject(channel.get("q", no_ack=False).tag, requeue=False)
    channel.settled(0.1)
    channel.until("q", 1)
    _get(channel, "q")


def of_copies(world):
    from wire import As

    channel = _house(world)
    channel.queue("copy")
    channel.publish("q", "m", headers={"CC": As("A", [As("S", "copy")]), "BCC": As("A", [As("S", "hidden")])})
    channel.until("q", 1)
    channel.reject(channel.get("q", no_ack=False).tag, requeue=False)
    channel.settled(0.1)
    channel.until("dead", 1)
    _get(channel, "dead")
    channel.drain("copy")


def of_copies_with_their_own_keys(world):
    from wire import As

    channel = world.channel()
    channel.exchange("dlx", "direct")
    channel.queue("dead")
    channel.bind("dead", "dlx", "copy")
    channel.queue("q", x_dead_letter_exchange="dlx")
    channel.publish("q", "m", headers={"CC": As("A", [As("S", "copy")])})
    channel.until("q", 1)
    channel.reject(channel.get("q", no_ack=False).tag, requeue=False)
    channel.settled(0.1)
    channel.count("dead")


def purged_and_deleted_are_not_dead(world):
    channel = _house(world)
    channel.publish("q", "m")
    channel.until("q", 1)
    channel.purge("q")
    channel.publish("q", "m")
    channel.until("q", 1)
    channel.delete_queue("q")
    channel.settled(0.1)
    channel.count("dead")


def acknowledged_are_not_dead(world):
    channel = _house(world)
    channel.publish("q", "m")
    channel.until("q", 1)
    channel.ack(channel.get("q", no_ack=False).tag)
    channel.settled(0.1)
    channel.count("dead")


def a_client_that_forges_its_deaths(world):
    channel = _house(world)
    channel.publish("q", "m", headers={"x-death": "mine", "x-first-death-reason": "mine"})
    channel.until("q", 1)
    channel.reject(channel.get("q", no_ack=False).tag, requeue=False)
    _dead(channel, 1)


# -- limits --------------------------------------------------------------------------------------------------------------


def _fill(world, count, body="x", **arguments):
    channel = world.channel()
    channel.queue("q", **arguments)
    channel.confirm()
    for n in range(count):
        channel.publish("q", f"{body}{n}")
    channel.confirmed()
    channel.settled(0.05)
    channel.drain("q")


def limit_drop_head(world):
    _fill(world, 5, x_max_length=2)


def limit_drop_head_named(world):
    _fill(world, 5, x_max_length=2, x_overflow="drop-head")


def limit_reject_publish(world):
    _fill(world, 5, x_max_length=2, x_overflow="reject-publish")


def limit_of_zero(world):
    _fill(world, 2, x_max_length=0)


def limit_of_zero_that_rejects(world):
    _fill(world, 2, x_max_length=0, x_overflow="reject-publish")


def limit_in_bytes(world):
    _fill(world, 3, "xx", x_max_length_bytes=5)


def limit_in_bytes_counts_bodies_only(world):
    channel = world.channel()
    channel.queue("q", x_max_length_bytes=10)
    channel.publish("q", "12345", headers={"long": "x" * 500})
    channel.publish("q", "67890", headers={"long": "x" * 500})
    channel.settled(0.05)
    channel.count("q")


def limit_in_bytes_smaller_than_one_message(world):
    _fill(world, 2, "xxxxxxxxxx", x_max_length_bytes=5)


def limit_in_bytes_that_rejects(world):
    _fill(world, 4, "xx", x_max_length_bytes=5, x_overflow="reject-publish")


def limit_reject_publish_dlx(world):
    channel = _house(world, x_max_length=1, x_overflow="reject-publish-dlx")
    channel.confirm()
    for n in range(3):
        channel.publish("q", str(n))
    channel.confirmed()
    _dead(channel, 2)
    channel.drain("q")


def limit_reject_publish_without_confirms(world):
    channel = world.channel()
    channel.queue("q", x_max_length=1, x_overflow="reject-publish")
    for n in range(3):
        channel.publish("q", str(n))
    channel.settled(0.05)
    channel.drain("q")


def limit_counts_what_is_ready_only(world):
    channel = world.channel()
    channel.queue("q", x_max_length=2)
    channel.publish("q", "0")
    channel.publish("q", "1")
    channel.until("q", 2)
    channel.get("q", no_ack=False)
    channel.publish("q", "2")
    channel.settled(0.05)
    channel.count("q")
    channel.close()
    channel.settled(0.05)
    channel.drain("q")


def limit_of_two_queues_where_one_is_full(world):
    channel = world.channel()
    channel.queue("full", x_max_length=0, x_overflow="reject-publish")
    channel.queue("q")
    channel.exchange("x", "fanout")
    channel.bind("full", "x")
    channel.bind("q", "x")
    channel.confirm()
    channel.publish("k", "m", "x")
    channel.confirmed()
    channel.settled(0.05)
    channel.count("q")


def limit_reject_publish_in_a_transaction(world):
    channel = world.channel()
    channel.queue("q", x_max_length=1, x_overflow="reject-publish")
    channel.tx()
    channel.publish("q", "0")
    channel.publish("q", "1")
    channel.commit()
    channel.settled(0.05)
    channel.count("q")


def quorum_limit_drop_head(world):
    channel = world.channel()
    channel.quorum("q", x_max_length=2)
    channel.confirm()
    for n in range(5):
        channel.publish("q", str(n))
    channel.confirmed()
    channel.until("q", 2)
    channel.drain("q")


def a_full_dead_letter_queue(world):
    channel = world.channel()
    channel.queue("dead", x_max_length=1, x_overflow="reject-publish")
    channel.queue("q", x_dead_letter_exchange="", x_dead_letter_routing_key="dead")
    for n in range(2):
        channel.publish("q", str(n))
    channel.until("q", 2)
    for _ in range(2):
        channel.reject(channel.get("q", no_ack=False).tag, requeue=False)
    channel.settled(0.1)
    channel.count("dead")
    channel.count("q")
