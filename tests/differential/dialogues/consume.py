"""Consumers: modes, priorities, prefetch, single active ones, cancels, gets."""


def _filled(world, count=3, **options):
    channel = world.channel()
    channel.queue("q", **options)
    for n in range(count):
        channel.publish("q", str(n))
    channel.until("q", count)
    return channel


def a_missing_queue(world):
    channel = world.channel()
    channel.consume("missing")
    channel.get("missing")


def without_acknowledgement(world):
    channel = _filled(world)
    channel.consume("q", no_ack=True)
    channel.take(3)
    channel.close()
    channel.count("q")


def with_acknowledgement(world):
    channel = _filled(world)
    channel.consume("q")
    for message in channel.take(3):
        channel.ack(message.tag)
    channel.settled()
    channel.close()
    channel.count("q")


def what_is_not_acknowledged_comes_back(world):
    channel = _filled(world)
    channel.consume("q")
    channel.ack(channel.take(3)[0].tag)
    channel.settled()
    channel.close()
    channel.until("q", 2)
    channel.drain("q")


def what_a_lost_connection_had_comes_back(world):
    channel = _filled(world)
    reader = world.channel()
    reader.consume("q")
    reader.take(3)
    reader.connection.drop()
    channel.until("q", 3)
    channel.drain("q")


def a_tag_of_the_brokers_own(world):
    channel = _filled(world, 1)
    channel.consume("q", "")
    channel.take(1)


def a_tag_that_is_taken(world):
    channel = _filled(world, 0)
    channel.consume("q", "same")
    channel.consume("q", "same")
    channel.connection.rest(0.3)


def tags_are_of_a_channel(world):
    channel = _filled(world, 0)
    channel.consume("q", "same")
    other = channel.connection.channel(2)
    other.consume("q", "same")


def a_cancel(world):
    channel = _filled(world, 2)
    channel.qos(1)
    channel.consume("q")
    first = channel.take(1)[0]
    channel.cancel()
    channel.ack(first.tag)
    channel.nothing()
    channel.count("q")


def a_cancel_of_an_unknown_tag(world):
    channel = world.channel()
    channel.cancel("unknown")


def a_cancel_twice(world):
    channel = _filled(world, 0)
    channel.consume("q")
    channel.cancel()
    channel.cancel()


def a_cancel_keeps_what_was_delivered(world):
    channel = _filled(world, 2)
    channel.consume("q")
    messages = channel.take(2)
    channel.cancel()
    channel.count("q")
    channel.nack(messages[0].tag)
    channel.until("q", 1)
    channel.ack(messages[1].tag)
    channel.drain("q")


def exclusive(world):
    channel, other = _filled(world, 0), world.channel()
    channel.consume("q", exclusive=True)
    other.consume("q")
    other.get("q")
    channel.cancel()
    other.consume("q")
    channel.consume("q", "d", exclusive=True)


def no_local(world):
    channel = _filled(world, 0)
    channel.consume("q", no_local=True)
    channel.publish("q", "mine")
    channel.take()


def priorities(world):
    low, high = _filled(world, 0), world.channel()
    low.consume("q", "low", x_priority=1)
    high.qos(2)
    high.consume("q", "high", x_priority=5)
    for n in range(4):
        low.publish("q", str(n))
    low.settled()
    high.take(2)
    low.take(2)


def priority_of_none_is_zero(world):
    plain, below = _filled(world, 0), world.channel()
    below.consume("q", "below", x_priority=-1)
    plain.consume("q", "plain")
    plain.publish("q", "m")
    plain.take(1)
    below.nothing()


def priority_as_text(world):
    channel = _filled(world, 0)
    channel.consume("q", x_priority="high")


def turns_are_taken(world):
    one = _filled(world, 0)
    two = one.connection.channel(2)
    one.consume("q", "one", no_ack=True)
    two.consume("q", "two", no_ack=True)
    for n in range(6):
        one.publish("q", str(n))
        one.settled(0.02)
    one.take(3)
    two.take(3)


def prefetch_of_a_consumer(world):
    channel = _filled(world, 5)
    channel.qos(2)
    channel.consume("q", "a")
    messages = channel.take(2)
    channel.nothing()
    channel.consume("q", "b")
    channel.take(2)
    channel.nothing()
    channel.ack(messages[0].tag)
    channel.take(1)
    channel.nothing()


def prefetch_of_a_channel(world):
    channel = _filled(world, 6)
    channel.qos(3, everything=True)
    channel.consume("q", "a")
    messages = channel.take(3)
    channel.consume("q", "b")
    channel.nothing()
    channel.ack(messages[1].tag, multiple=True)
    channel.settled(0.05)
    world.say(f"{len(channel.inbox)} more")
    channel.inbox = []
    channel.nothing()


def prefetch_of_both_kinds(world):
    channel = _filled(world, 6)
    channel.qos(2)
    channel.qos(3, everything=True)
    channel.consume("q", "a")
    channel.take(2)
    channel.consume("q", "b")
    channel.take(1)
    channel.nothing()


def prefetch_changed_for_later_consumers(world):
    channel = _filled(world, 6)
    channel.qos(1)
    channel.consume("q", "a")
    channel.take(1)
    channel.qos(3)
    channel.nothing()
    channel.consume("q", "b")
    channel.take(3)
    channel.nothing()


def prefetch_in_bytes(world):
    channel = world.channel()
    channel.qos(0, size=1000)
    channel.connection.rest(0.3)


def prefetch_does_not_bind_no_ack(world):
    channel = _filled(world, 5)
    channel.qos(1)
    channel.consume("q", no_ack=True)
    channel.take(5)


def prefetch_does_not_bind_gets(world):
    channel = _filled(world, 3)
    channel.qos(1, everything=True)
    for _ in range(3):
        channel.get("q", no_ack=False)


def gets_count_down(world):
    channel = _filled(world, 3)
    channel.drain("q")


def a_get_beside_consumers(world):
    channel = _filled(world, 3)
    channel.qos(1)
    channel.consume("q")
    channel.take(1)
    channel.get("q")
    channel.get("q")


def a_get_that_is_not_acknowledged(world):
    channel = _filled(world, 1)
    channel.get("q", no_ack=False)
    channel.get("q", no_ack=False)
    channel.close()
    channel.until("q", 1)
    channel.get("q")


def single_active(world):
    one = _filled(world, 0, x_single_active_consumer=True)
    two = one.connection.channel(2)
    one.consume("q", "one")
    two.consume("q", "two")
    for n in range(3):
        one.publish("q", str(n))
    messages = one.take(3)
    two.nothing()
    one.ack(messages[-1].tag, multiple=True)
    one.settled()
    one.cancel("one")
    one.publish("q", "3")
    two.take(1)


def single_active_and_exclusive(world):
    channel = _filled(world, 0, x_single_active_consumer=True)
    channel.consume("q", exclusive=True)


def single_active_of_a_quorum_queue(world):
    one = world.channel()
    one.quorum("q", x_single_active_consumer=True)
    two = one.connection.channel(2)
    one.consume("q", "one")
    two.consume("q", "two")
    one.publish("q", "0")
    one.ack(one.take(1)[0].tag)
    one.settled()
    one.close()
    other = world.channel()
    other.publish("q", "1")
    two.take(1)


def the_numbers_of_deliveries(world):
    channel = _filled(world, 4)
    channel.get("q", no_ack=False)
    channel.consume("q", no_ack=True)
    channel.take(3)
    channel.publish("q", "4")
    channel.take(1)


def a_queue_deleted_under_a_consumer_and_declared_again(world):
    channel = _filled(world, 1)
    channel.consume("q")
    channel.take(1)
    channel.delete_queue("q")
    channel.settled(0.1)
    channel.queue("q")
    channel.consume("q")


def flow_stops_deliveries(world):
    from pika import spec

    channel = _filled(world, 0)
    channel.consume("q", no_ack=True)
    channel.connection.wire.send(1, spec.Channel.Flow(False))
    found = channel.next(2)
    world.say(type(getattr(found, "method", found)).__name__ if not channel.open else found.__class__.__name__)


def quorum_consumer(world):
    channel = world.channel()
    channel.quorum("q")
    channel.confirm()
    for n in range(3):
        channel.publish("q", str(n))
    channel.confirmed()
    channel.consume("q")
    messages = channel.take(3)
    channel.nack(messages[0].tag, requeue=True)
    channel.take(1)
    channel.ack(messages[2].tag)
    channel.settled()


def priority_queue_order(world):
    channel = world.channel()
    channel.queue("q", x_max_priority=5)
    for n, priority in enumerate((1, 5, 3, None, 9, 0, 5, 1)):
        channel.publish("q", f"{n} of {priority}", priority=priority)
    channel.until("q", 8)
    channel.drain("q")


def priority_queue_and_requeue(world):
    channel = world.channel()
    channel.queue("q", x_max_priority=5)
    channel.publish("q", "low", priority=1)
    channel.until("q", 1)
    message = channel.get("q", no_ack=False)
    channel.publish("q", "high", priority=4)
    channel.publish("q", "low too", priority=1)
    channel.reject(message.tag)
    channel.until("q", 3)
    channel.drain("q")


def priority_queue_at_its_limit(world):
    channel = world.channel()
    channel.queue("q", x_max_priority=5, x_max_length=2)
    for priority in (5, 1, 3, 2):
        channel.publish("q", str(priority), priority=priority)
    channel.settled(0.05)
    channel.drain("q")


def priority_without_a_priority_queue(world):
    channel = world.channel()
    channel.queue("q")
    for priority in (1, 5, 3):
        channel.publish("q", str(priority), priority=priority)
    channel.until("q", 3)
    channel.drain("q")


def direct_reply_to_needs_a_consumer(world):
    channel = world.channel()
    channel.queue("q")
    channel.publish("q", "m", reply_to="amq.rabbitmq.reply-to")
    channel.refused()


def direct_reply_to_needs_no_ack(world):
    channel = world.channel()
    channel.consume("amq.rabbitmq.reply-to", no_ack=False)


def direct_reply_to_twice(world):
    channel = world.channel()
    channel.consume("amq.rabbitmq.reply-to", "a", no_ack=True)
    channel.consume("amq.rabbitmq.reply-to", "b", no_ack=True)


def direct_reply_to(world):
    requester, responder = world.channel(), world.channel()
    responder.queue("q")
    requester.consume("amq.rabbitmq.reply-to", no_ack=True)
    requester.publish("q", "question", reply_to="amq.rabbitmq.reply-to", correlation_id="7")
    requester.settled()
    responder.until("q", 1)
    question = responder.get("q")
    if question is None:
        return
    responder.publish(question.properties.reply_to, "answer", correlation_id="7")
    requester.take(1)
    responder.settled()


def direct_reply_to_a_requester_that_is_gone(world):
    requester, responder = world.channel(), world.channel()
    responder.queue("q")
    requester.consume("amq.rabbitmq.reply-to", no_ack=True)
    requester.publish("q", "question", reply_to="amq.rabbitmq.reply-to")
    requester.settled()
    responder.until("q", 1)
    question = responder.get("q")
    requester.close()
    if question is None:
        return
    responder.publish(question.properties.reply_to, "answer", mandatory=True)
    responder.settled(0.05)


def direct_reply_to_is_no_queue(world):
    channel = world.channel()
    channel.queue("amq.rabbitmq.reply-to", passive=True)
    channel.queue("amq.rabbitmq.reply-to")
    channel.delete_queue("amq.rabbitmq.reply-to")
    channel.consume("amq.rabbitmq.reply-to", no_ack=True)
    channel.queue("amq.rabbitmq.reply-to", passive=True)
    channel.cancel()
