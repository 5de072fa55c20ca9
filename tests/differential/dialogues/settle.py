"""ack, nack, reject and recover, with right, wrong and repeated tags."""


def _holding(world, count=4, **options):
    """A channel that has so many messages, and their tags."""
    channel = world.channel()
    channel.queue("q", **options)
    for n in range(count):
        channel.publish("q", str(n))
    channel.until("q", count)
    channel.consume("q")
    tags = [message.tag for message in channel.take(count)]
    channel.cancel()
    return channel, tags


def ack_one(world):
    channel, tags = _holding(world)
    channel.ack(tags[1])
    channel.settled()
    channel.close()
    channel.until("q", 3)
    channel.drain("q")


def ack_multiple(world):
    channel, tags = _holding(world)
    channel.ack(tags[2], multiple=True)
    channel.settled()
    channel.close()
    channel.until("q", 1)
    channel.drain("q")


def ack_everything(world):
    channel, _ = _holding(world)
    channel.ack(0, multiple=True)
    channel.settled()
    channel.close()
    channel.until("q", 0)


def ack_everything_when_there_is_nothing(world):
    channel = world.channel()
    channel.ack(0, multiple=True)
    channel.refused()


def ack_of_zero(world):
    channel, _ = _holding(world)
    channel.ack(0)
    channel.refused()


def ack_twice(world):
    channel, tags = _holding(world)
    channel.ack(tags[0])
    channel.ack(tags[0])
    channel.refused()
    channel.until("q", 3)


def ack_of_an_unknown_tag(world):
    channel, _ = _holding(world)
    channel.ack(99)
    channel.refused()


def ack_multiple_of_an_unknown_tag(world):
    channel, _ = _holding(world)
    channel.ack(99, multiple=True)
    channel.refused()


def ack_multiple_of_a_settled_tag(world):
    channel, tags = _holding(world)
    channel.ack(tags[2])
    channel.ack(tags[2], multiple=True)
    channel.refused()


def ack_on_another_channel(world):
    channel, tags = _holding(world)
    other = channel.connection.channel(2)
    other.ack(tags[0])
    other.refused()


def ack_of_what_needs_none(world):
    channel = world.channel()
    channel.queue("q")
    channel.publish("q")
    channel.until("q", 1)
    message = channel.get("q", no_ack=True)
    channel.ack(message.tag)
    channel.refused()


def nack_with_requeue(world):
    channel, tags = _holding(world)
    channel.nack(tags[1], requeue=True)
    channel.until("q", 1)
    channel.drain("q")


def nack_without_requeue(world):
    channel, tags = _holding(world)
    channel.nack(tags[1], requeue=False)
    channel.settled()
    channel.close()
    channel.until("q", 3)


def nack_multiple(world):
    channel, tags = _holding(world)
    channel.nack(tags[2], multiple=True, requeue=True)
    channel.until("q", 3)
    channel.drain("q")


def nack_everything(world):
    channel, _ = _holding(world)
    channel.nack(0, multiple=True, requeue=True)
    channel.until("q", 4)
    channel.drain("q")


def nack_of_an_unknown_tag(world):
    channel, _ = _holding(world)
    channel.nack(99)
    channel.refused()


def reject_with_requeue(world):
    channel, tags = _holding(world)
    channel.reject(tags[3], requeue=True)
    channel.reject(tags[0], requeue=True)
    channel.until("q", 2)
    channel.drain("q")


def reject_without_requeue(world):
    channel, tags = _holding(world)
    channel.reject(tags[0], requeue=False)
    channel.settled()
    channel.close()
    channel.until("q", 3)
    channel.drain("q")


def reject_twice(world):
    channel, tags = _holding(world)
    channel.reject(tags[0], requeue=False)
    channel.reject(tags[0], requeue=False)
    channel.refused()


def reject_of_zero(world):
    channel, _ = _holding(world)
    channel.reject(0)
    channel.refused()


def recover_with_requeue(world):
    channel, tags = _holding(world)
    channel.ack(tags[0])
    channel.recover(True)
    channel.until("q", 3)
    channel.drain("q")


def recover_without_requeue(world):
    channel, _ = _holding(world)
    channel.recover(False)
    channel.connection.rest(0.3)


def recover_with_a_consumer(world):
    channel = world.channel()
    channel.queue("q")
    channel.publish("q", "0")
    channel.publish("q", "1")
    channel.until("q", 2)
    channel.consume("q")
    channel.take(2)
    channel.recover(True)
    channel.take(2)


def recover_when_there_is_nothing(world):
    world.channel().recover(True)


def recover_async(world):
    from pika import spec

    channel, _ = _holding(world, 2)
    channel.send(spec.Basic.RecoverAsync(True))
    channel.until("q", 2)


def a_message_requeued_to_its_consumer(world):
    channel = world.channel()
    channel.queue("q")
    channel.publish("q", "0")
    channel.publish("q", "1")
    channel.until("q", 2)
    channel.qos(1)
    channel.consume("q")
    first = channel.take(1)[0]
    channel.nack(first.tag, requeue=True)
    again = channel.take(1)[0]
    channel.ack(again.tag)
    channel.take(1)


def redelivered_in_a_new_connection(world):
    channel, _ = _holding(world, 2)
    channel.connection.close()
    other = world.channel()
    other.until("q", 2)
    other.consume("q")
    other.take(2)


def requeued_in_their_order(world):
    channel, tags = _holding(world, 5)
    channel.publish("q", "later")
    for tag in (tags[3], tags[0], tags[4]):
        channel.nack(tag, requeue=True)
    channel.until("q", 4)
    channel.drain("q")


def quorum_delivery_count(world):
    channel = world.channel()
    channel.quorum("q")
    channel.confirm()
    channel.publish("q", "0")
    channel.confirmed()
    for _ in range(2):
        message = channel.get("q", no_ack=False)
        channel.reject(message.tag, requeue=True)
        channel.until("q", 1)
    channel.get("q")


def quorum_delivery_limit(world):
    channel = world.channel()
    channel.queue("dead")
    channel.quorum("q", x_delivery_limit=1, x_dead_letter_exchange="", x_dead_letter_routing_key="dead")
    channel.confirm()
    channel.publish("q", "0")
    channel.confirmed()
    for _ in range(2):
        message = channel.get("q", no_ack=False)
        channel.reject(message.tag, requeue=True)
        channel.settled(0.1)
    channel.until("dead", 1)
    channel.count("q")


def quorum_ack_multiple(world):
    channel = world.channel()
    channel.quorum("q")
    channel.confirm()
    for n in range(4):
        channel.publish("q", str(n))
    channel.confirmed()
    channel.consume("q")
    messages = channel.take(4)
    channel.ack(messages[2].tag, multiple=True)
    channel.settled()
    channel.close()
    channel.until("q", 1)
    channel.get("q")
