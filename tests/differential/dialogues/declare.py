"""Declarations: names, flags, passive ones, and which of two declarations are the same (every argument)."""

from wire import As


def queue_named_by_the_broker(world):
    channel = world.channel()
    name = channel.queue("", exclusive=True)
    world.say(name.startswith("amq.gen-"))
    channel.publish(name, "m")
    channel.get(name)


def the_last_declared_queue_is_meant_by_an_empty_name(world):
    channel = world.channel()
    channel.queue("q")
    channel.bind("", "amq.direct", "k")
    channel.bind("", "amq.direct", "")
    channel.publish("k", exchange="amq.direct")
    channel.publish("q", exchange="amq.direct")
    channel.publish("", exchange="amq.direct")
    channel.until("q", 2)
    channel.get("")
    channel.purge("")
    channel.consume("")
    channel.cancel()
    channel.delete_queue("")
    channel.count("q")


def an_empty_name_without_a_declared_queue(world):
    world.channel().bind("", "amq.direct", "k")
    world.channel().get("")
    world.channel().consume("")
    world.channel().purge("")


def passive_declare_of_a_missing_queue(world):
    world.channel().queue("missing", passive=True)


def passive_declare_compares_nothing(world):
    channel = world.channel()
    channel.queue("q", durable=True)
    channel.queue("q", passive=True, x_message_ttl=5)


def passive_declare_counts(world):
    channel = world.channel()
    channel.queue("q")
    channel.publish("q")
    channel.until("q", 1)
    channel.consume("q", no_ack=False)
    channel.take()
    channel.count("q")


def reserved_queue_names(world):
    channel = world.channel()
    channel.queue("amq.mine")
    channel.queue("amq.gen-mine", passive=True)
    channel.queue("AMQ.mine")


def reserved_exchange_names(world):
    channel = world.channel()
    channel.exchange("amq.mine")
    channel.exchange("amq.direct", durable=True)
    channel.exchange("amq.direct", durable=False)
    channel.exchange("amq.direct", "topic", durable=True)
    channel.exchange("", passive=True)
    channel.exchange("", durable=True)


def the_brokers_own_exchanges(world):
    channel = world.channel()
    for name in ("direct", "fanout", "topic", "headers", "match"):
        channel.exchange(f"amq.{name}", passive=True)


def passive_declare_of_a_missing_exchange(world):
    world.channel().exchange("missing", passive=True)


def an_unknown_exchange_type(world):
    world.channel().exchange("x", "bogus")


def an_empty_exchange_type(world):
    world.channel().exchange("x", "")


def a_queue_of_another_connection(world):
    owner, other = world.channel(), world.channel()
    owner.queue("q", exclusive=True)
    other.queue("q", exclusive=True)
    other.queue("q", passive=True)
    other.get("q")
    other.consume("q")
    other.purge("q")
    other.bind("q", "amq.direct", "k")
    other.delete_queue("q")
    other.publish("q", "anybody may")
    other.settled()
    owner.until("q", 1)


def an_exclusive_queue_ends_with_its_connection(world):
    owner = world.channel()
    owner.queue("q", exclusive=True)
    owner.connection.close()
    channel = world.channel()
    channel.queue("q", exclusive=False)


def names_with_odd_characters(world):
    channel = world.channel()
    for name in ("with space", "a/b", "ü", "a" * 255, "%", "#", "*.#", "tab\there"):
        channel.queue(name)
        channel.publish(name, "m")
        channel.until(name, 1)


def an_exchange_in_use_under_another_type(world):
    channel = world.channel()
    channel.exchange("x", "direct")
    channel.exchange("x", "fanout")
    channel.exchange("x", "direct")


def auto_delete_queue_goes_with_its_last_consumer(world):
    channel = world.channel()
    channel.queue("q", auto_delete=True)
    channel.count("q")
    channel.consume("q", "a")
    channel.consume("q", "b")
    channel.cancel("a")
    channel.count("q")
    channel.cancel("b")
    channel.settled(0.1)
    channel.count("q")


def auto_delete_queue_goes_with_its_channel(world):
    channel = world.channel()
    channel.queue("q", auto_delete=True)
    channel.consume("q")
    channel.close()
    channel.settled(0.2)
    channel.count("q")


def auto_delete_exchange_goes_with_its_last_binding(world):
    channel = world.channel()
    channel.queue("q")
    channel.exchange("x", auto_delete=True)
    channel.exchange("x", passive=True)
    channel.bind("q", "x", "a")
    channel.bind("q", "x", "b")
    channel.unbind("q", "x", "a")
    channel.exchange("x", passive=True)
    channel.unbind("q", "x", "b")
    channel.exchange("x", passive=True)


def auto_delete_exchange_goes_with_the_last_queue(world):
    channel = world.channel()
    channel.queue("q")
    channel.exchange("x", auto_delete=True)
    channel.bind("q", "x", "a")
    channel.delete_queue("q")
    channel.exchange("x", passive=True)


def a_durable_queue_is_exclusive(world):
    channel = world.channel()
    channel.queue("q", durable=True, exclusive=True)
    channel.queue("q", durable=False, exclusive=True)


def no_wait_declarations_say_nothing(world):
    from pika import spec

    channel = world.channel()
    channel.send(spec.Queue.Declare(0, "q", False, False, False, False, True))
    channel.send(spec.Queue.Bind(0, "q", "amq.direct", "k", True))
    channel.send(spec.Exchange.Declare(0, "x", "fanout", False, False, False, False, True))
    world.names.update({("queue", "q"), ("exchange", "x")})
    channel.settled()
    channel.publish("k", exchange="amq.direct")
    channel.until("q", 1)
    channel.exchange("x", passive=True)


def no_wait_declaration_that_is_refused(world):
    from pika import spec

    channel = world.channel()
    channel.queue("q")
    channel.send(spec.Queue.Declare(0, "q", False, True, False, False, True))
    channel.refused()


# -- the same queue again: (name, first declaration, second one) ---------------------------------------------------------

QUORUM = {"durable": True, "x_queue_type": "quorum"}
TWICE = {
    "durable": ({"durable": True}, {}),
    "exclusive": ({"exclusive": True}, {}),
    "not_exclusive": ({}, {"exclusive": True}),
    "auto_delete": ({}, {"auto_delete": True}),
    "ttl_of_another_number": ({"x_message_ttl": 1000}, {"x_message_ttl": 2000}),
    "ttl_of_another_type": ({"x_message_ttl": As("I", 60000)}, {"x_message_ttl": As("l", 60000)}),
    "ttl_of_a_short_type": ({"x_message_ttl": As("s", 6000)}, {"x_message_ttl": As("I", 6000)}),
    "ttl_and_none": ({"x_message_ttl": 1000}, {}),
    "none_and_ttl": ({}, {"x_message_ttl": 1000}),
    "expires_and_none": ({"x_expires": 60000}, {}),
    "expires_of_another_number": ({"x_expires": 60000}, {"x_expires": 60001}),
    "max_length_and_none": ({"x_max_length": 5}, {}),
    "none_and_max_length": ({}, {"x_max_length": 5}),
    "max_length_of_another_type": ({"x_max_length": As("b", 5)}, {"x_max_length": As("l", 5)}),
    "max_length_bytes_and_none": ({"x_max_length_bytes": 5}, {}),
    "max_priority_and_none": ({"x_max_priority": 5}, {}),
    "max_priority_of_another_number": ({"x_max_priority": 5}, {"x_max_priority": 6}),
    "overflow_and_none": ({"x_overflow": "drop-head"}, {}),
    "none_and_overflow": ({}, {"x_overflow": "reject-publish"}),
    "another_overflow": ({"x_overflow": "drop-head"}, {"x_overflow": "reject-publish"}),
    "dlx_and_none": ({"x_dead_letter_exchange": "d"}, {}),
    "another_dlx": ({"x_dead_letter_exchange": "d"}, {"x_dead_letter_exchange": "e"}),
    "dlx_key_and_none": ({"x_dead_letter_exchange": "d", "x_dead_letter_routing_key": "k"}, {"x_dead_letter_exchange": "d"}),
    "single_active_and_none": ({"x_single_active_consumer": True}, {}),
    "single_active_false_and_none": ({"x_single_active_consumer": False}, {}),
    "queue_mode": ({"x_queue_mode": "lazy"}, {}),
    "queue_version": ({"x_queue_version": 1}, {}),
    "queue_version_2": ({"x_queue_version": 1}, {"x_queue_version": 2}),
    "leader_locator": ({"x_queue_leader_locator": "client-local"}, {}),
    "master_locator": ({"x_queue_master_locator": "client-local"}, {}),
    "type_classic_and_none": ({"x_queue_type": "classic"}, {}),
    "none_and_type_classic": ({}, {"x_queue_type": "classic"}),
    "type_quorum_and_none": (QUORUM, {"durable": True}),
    "type_classic_and_quorum": ({"durable": True}, QUORUM),
    "quorum_delivery_limit": ({**QUORUM, "x_delivery_limit": 5}, QUORUM),
    "quorum_and_none_delivery_limit": (QUORUM, {**QUORUM, "x_delivery_limit": 5}),
    "quorum_group_size": ({**QUORUM, "x_quorum_initial_group_size": 1}, QUORUM),
    "quorum_dead_letter_strategy": ({**QUORUM, "x_dead_letter_strategy": "at-most-once"}, QUORUM),
    "an_unknown_argument": ({"x_whatever": 5}, {}),
    "another_unknown_argument": ({"foo": "a"}, {"foo": "b"}),
    "the_same_arguments_in_another_order": (
        {"x_message_ttl": 5000, "x_max_length": 5}, {"x_max_length": 5, "x_message_ttl": 5000},
    ),
}


def _twice(first, second):
    def dialogue(world):
        channel = world.channel()
        channel.queue("q", **first)
        channel.queue("q", **second)

    return dialogue


# -- arguments that are refused, or not ----------------------------------------------------------------------------------

ODD = {
    "ttl_below_zero": {"x_message_ttl": -1},
    "ttl_of_zero": {"x_message_ttl": 0},
    "ttl_as_text": {"x_message_ttl": "5000"},
    "ttl_as_float": {"x_message_ttl": As("d", 5.0)},
    "ttl_too_long": {"x_message_ttl": As("l", 2**40)},
    "ttl_of_49_days": {"x_message_ttl": As("l", 2**32 - 1)},
    "ttl_of_50_days": {"x_message_ttl": As("l", 2**32)},
    "expires_of_zero": {"x_expires": 0},
    "expires_below_zero": {"x_expires": -5},
    "expires_as_text": {"x_expires": "60000"},
    "max_length_below_zero": {"x_max_length": -1},
    "max_length_as_text": {"x_max_length": "5"},
    "max_length_bytes_below_zero": {"x_max_length_bytes": -1},
    "max_priority_of_256": {"x_max_priority": 256},
    "max_priority_of_255": {"x_max_priority": 255},
    "max_priority_of_0": {"x_max_priority": 0},
    "max_priority_below_zero": {"x_max_priority": -1},
    "max_priority_as_text": {"x_max_priority": "5"},
    "overflow_of_none": {"x_overflow": "bogus"},
    "overflow_as_number": {"x_overflow": 5},
    "overflow_dlx": {"x_overflow": "reject-publish-dlx"},
    "mode_of_none": {"x_queue_mode": "bogus"},
    "mode_default": {"x_queue_mode": "default"},
    "version_3": {"x_queue_version": 3},
    "version_as_text": {"x_queue_version": "2"},
    "type_of_none": {"x_queue_type": "bogus"},
    "type_as_number": {"x_queue_type": 5},
    "dlx_as_number": {"x_dead_letter_exchange": 5},
    "dlx_key_without_dlx": {"x_dead_letter_routing_key": "k"},
    "dlx_key_as_number": {"x_dead_letter_exchange": "", "x_dead_letter_routing_key": 5},
    "single_active_as_text": {"x_single_active_consumer": "true"},
    "delivery_limit_on_classic": {"x_delivery_limit": 5},
    "group_size_on_classic": {"x_quorum_initial_group_size": 3},
    "strategy_on_classic": {"x_dead_letter_strategy": "at-least-once"},
    "max_age_on_classic": {"x_max_age": "1D"},
    "max_in_memory_on_classic": {"x_max_in_memory_length": 5},
    "quorum_not_durable": {"x_queue_type": "quorum"},
    "quorum_exclusive": {**QUORUM, "exclusive": True},
    "quorum_auto_delete": {**QUORUM, "auto_delete": True},
    "quorum_max_priority": {**QUORUM, "x_max_priority": 5},
    "quorum_lazy": {**QUORUM, "x_queue_mode": "lazy"},
    "quorum_ttl": {**QUORUM, "x_message_ttl": 1000},
    "quorum_overflow_dlx": {**QUORUM, "x_overflow": "reject-publish-dlx"},
    "quorum_strategy_of_none": {**QUORUM, "x_dead_letter_strategy": "bogus"},
    "quorum_delivery_limit_below_zero": {**QUORUM, "x_delivery_limit": -1},
    "quorum_group_size_of_0": {**QUORUM, "x_quorum_initial_group_size": 0},
    "quorum_single_active": {**QUORUM, "x_single_active_consumer": True},
    "quorum_max_age": {**QUORUM, "x_max_age": "1D"},
}


def _odd(options):
    def dialogue(world):
        world.channel().queue("q", **options)

    return dialogue


# -- the same exchange again ---------------------------------------------------------------------------------------------

EXCHANGES = {
    "durable": ({"durable": True}, {}),
    "auto_delete": ({"auto_delete": True}, {}),
    "internal": ({"internal": True}, {}),
    "not_internal": ({}, {"internal": True}),
    "alternate_and_none": ({"alternate_exchange": "amq.fanout"}, {}),
    "none_and_alternate": ({}, {"alternate_exchange": "amq.fanout"}),
    "another_alternate": ({"alternate_exchange": "amq.fanout"}, {"alternate_exchange": "amq.direct"}),
    "alternate_as_number": ({"alternate_exchange": 5}, {}),
    "an_unknown_argument": ({"foo": 1}, {}),
}


def _exchange_twice(first, second):
    def dialogue(world):
        channel = world.channel()
        channel.exchange("x", **first)
        channel.exchange("x", **second)

    return dialogue


for _name, _pair in TWICE.items():
    globals()[f"same_queue_{_name}"] = _twice(*_pair)
for _name, _options in ODD.items():
    globals()[f"argument_{_name}"] = _odd(_options)
for _name, _pair in EXCHANGES.items():
    globals()[f"same_exchange_{_name}"] = _exchange_twice(*_pair)
