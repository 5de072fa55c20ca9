"""Deletes and purges."""


def a_missing_queue(world):
    channel = world.channel()
    channel.delete_queue("missing")
    channel.purge("missing")


def a_missing_exchange(world):
    world.channel().delete_exchange("missing")


def a_queue_with_messages_says_how_many(world):
    channel = world.channel()
    channel.queue("q")
    channel.publish("q")
    channel.publish("q")
    channel.until("q", 2)
    channel.delete_queue("q")
    channel.count("q")


def a_queue_if_it_is_empty(world):
    channel = world.channel()
    channel.queue("q")
    channel.publish("q")
    channel.until("q", 1)
    channel.delete_queue("q", if_empty=True)
    channel.purge("q")
    channel.delete_queue("q", if_empty=True)


def a_queue_if_it_is_unused(world):
    channel = world.channel()
    channel.queue("q")
    channel.consume("q")
    channel.delete_queue("q", if_unused=True)
    channel.delete_queue("q", if_unused=True)


def a_queue_with_unsettled_messages_if_it_is_empty(world):
    channel = world.channel()
    channel.queue("q")
    channel.publish("q")
    channel.until("q", 1)
    channel.get("q", no_ack=False)
    channel.delete_queue("q", if_empty=True)


def consumers_are_told(world):
    reader, other = world.channel(), world.channel()
    other.queue("q")
    reader.consume("q", "one")
    other.delete_queue("q")
    reader.settled(0.1)


def consumers_that_cannot_be_told(world):
    connection = world.connection()
    connection.log_in(quiet=True, capabilities={})
    reader, other = connection.channel(), world.channel()
    other.queue("q")
    reader.consume("q", "one")
    other.delete_queue("q")
    reader.settled(0.1)


def acknowledging_what_a_deleted_queue_gave(world):
    channel = world.channel()
    channel.queue("q")
    channel.publish("q")
    channel.until("q", 1)
    message = channel.get("q", no_ack=False)
    channel.delete_queue("q")
    channel.ack(message.tag)
    channel.refused()


def an_exchange_if_it_is_unused(world):
    channel = world.channel()
    channel.queue("q")
    channel.exchange("x")
    channel.bind("q", "x", "k")
    channel.delete_exchange("x", if_unused=True)
    channel.unbind("q", "x", "k")
    channel.delete_exchange("x", if_unused=True)


def an_exchange_that_others_lead_to(world):
    channel = world.channel()
    channel.exchange("x")
    channel.exchange("y")
    channel.exchange_bind("x", "y", "k")
    channel.delete_exchange("x", if_unused=True)
    channel.delete_exchange("y", if_unused=True)


def the_brokers_own_exchanges(world):
    channel = world.channel()
    channel.delete_exchange("amq.direct")
    channel.delete_exchange("amq.rabbitmq.trace")
    channel.delete_exchange("")


def a_purge_leaves_what_is_unsettled(world):
    channel = world.channel()
    channel.queue("q")
    for n in range(3):
        channel.publish("q", str(n))
    channel.until("q", 3)
    first = channel.get("q", no_ack=False)
    channel.purge("q")
    channel.reject(first.tag)
    channel.until("q", 1)
    channel.drain("q")


def bindings_go_with_their_queue(world):
    channel = world.channel()
    channel.queue("q")
    channel.bind("q", "amq.direct", "gone")
    channel.delete_queue("q")
    channel.queue("q")
    channel.publish("gone", exchange="amq.direct", mandatory=True)
    channel.settled()
    channel.count("q")


def an_expired_queue_is_gone(world):
    channel = world.channel()
    channel.queue("q", x_expires=150)
    channel.settled(0.4)
    channel.count("q")


def a_queue_that_is_read_does_not_expire(world):
    channel = world.channel()
    channel.queue("q", x_expires=200)
    channel.consume("q")
    channel.settled(0.5)
    channel.count("q")


def a_get_puts_off_the_end(world):
    channel = world.channel()
    channel.queue("q", x_expires=500)
    for _ in range(4):
        channel.settled(0.2)
        channel.get("q")
