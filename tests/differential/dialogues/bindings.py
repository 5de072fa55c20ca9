"""Bindings of every exchange type, exchange-to-exchange, alternate and internal exchanges."""

from wire import As


def _routes(world, kind, bindings, keys, **exchange):
    """Queues bound with keys; which of them a message with each key reaches."""
    channel = world.channel()
    channel.exchange("x", kind, **exchange)
    for at, key in enumerate(bindings):
        channel.queue(f"q{at}")
        channel.bind(f"q{at}", "x", key)
    for key in keys:
        channel.publish(key, key, "x", mandatory=True)
        channel.settled()
    channel.settled(0.05)
    for at, key in enumerate(bindings):
        found = []
        before = len(world.trace)
        while (message := channel.get(f"q{at}")) is not None:
            found.append(message.body.decode())
        del world.trace[before:]
        world.say(f"{key!r}: {found}")


def direct(world):
    _routes(world, "direct", ["a", "b", "", "a"], ["a", "b", "", "c", "A"])


def fanout(world):
    _routes(world, "fanout", ["a", ""], ["a", "x.y", ""])


def topic_stars(world):
    _routes(world, "topic", ["*", "a.*", "*.b", "a.*.c", "*.*"], ["a", "a.b", "a.b.c", "b", "a.x.c", "a.b.c.d"])


def topic_hashes(world):
    _routes(world, "topic", ["#", "a.#", "#.b", "a.#.c", "#.#"], ["a", "a.b", "a.c", "a.b.c", "", "b", "a.x.y.c"])


def topic_mixed(world):
    _routes(world, "topic", ["*.#", "#.*", "#.*.#", "*.#.*", "a.*.#"], ["a", "a.b", "a.b.c", ""])


def topic_empty_words(world):
    _routes(world, "topic", ["", ".", "a.", ".a", "a..b", "*.a", "a.*", "..", "a.#", "#", "*"], ["", ".", "a.", ".a", "a..b", "a", ".."])


def topic_special_characters(world):
    _routes(world, "topic", ["a*.b", "*a", "a#", "##", "**", "a/b", "+"], ["a*.b", "xa.b", "xa", "a#", "ab", "##", "**", "a/b", "+", "*", "#"])


def topic_words_that_begin_with_a_dollar(world):
    _routes(world, "topic", ["#", "*", "$a", "$a.#"], ["$a", "$a.b"])


def topic_long_key(world):
    channel = world.channel()
    channel.exchange("x", "topic")
    channel.queue("q")
    channel.bind("q", "x", "#")
    channel.publish(".".join("abcdefghij" * 12), "m", "x")
    channel.until("q", 1)
    channel.drain("q")


def _headers(world, bindings, messages):
    channel = world.channel()
    channel.exchange("x", "headers")
    for at, arguments in enumerate(bindings):
        channel.queue(f"q{at}")
        channel.bind(f"q{at}", "x", "", **arguments)
    for at, headers in enumerate(messages):
        channel.publish("", str(at), "x", mandatory=True, headers=headers)
        channel.settled()
    channel.settled(0.05)
    for at, arguments in enumerate(bindings):
        found, before = [], len(world.trace)
        while (message := channel.get(f"q{at}")) is not None:
            found.append(message.body.decode())
        del world.trace[before:]
        world.say(f"{arguments!r}: {found}")


def headers_all(world):
    _headers(world, [{"x_match": "all", "a": "1", "b": "2"}, {"a": "1"}, {"x_match": "all"}],
             [{"a": "1", "b": "2"}, {"a": "1"}, {"a": "1", "b": "2", "c": "3"}, {}, {"a": "2", "b": "2"}, None])


def headers_any(world):
    _headers(world, [{"x_match": "any", "a": "1", "b": "2"}, {"x_match": "any"}, {"x_match": "any", "a": "1"}],
             [{"a": "1", "b": "9"}, {"b": "2"}, {"c": "3"}, {}, None, {"a": "9"}])


def headers_with_x(world):
    _headers(world, [{"x_match": "all-with-x", "x_a": "1", "b": "2"}, {"x_match": "any-with-x", "x_a": "1", "b": "2"},
                     {"x_match": "all", "x_a": "1", "b": "2"}, {"x_match": "any", "x_a": "1", "b": "2"}],
             [{"x-a": "1", "b": "2"}, {"x-a": "1"}, {"b": "2"}, {"x-a": "9", "b": "2"}, {"c": "1"}])


def headers_types(world):
    _headers(world, [{"a": As("I", 5)}, {"a": As("S", "5")}, {"a": As("l", 5)}, {"a": As("t", 1)}, {"a": As("V")}, {"a": As("d", 5.0)}],
             [{"a": As("I", 5)}, {"a": As("S", "5")}, {"a": As("l", 5)}, {"a": As("b", 5)}, {"a": As("t", 1)}, {"a": As("V")},
              {"a": As("d", 5.0)}, {"a": As("T", 5)}])


def headers_void_asks_for_the_name(world):
    _headers(world, [{"x_match": "all", "a": As("V")}, {"x_match": "any", "a": As("V"), "b": "1"}],
             [{"a": "anything"}, {"a": As("V")}, {"b": "1"}, {}])


def headers_nested(world):
    table, other = As("F", {"k": As("S", "v")}), As("F", {"k": As("S", "w")})
    _headers(world, [{"a": table}, {"a": As("A", [As("I", 1), As("I", 2)])}],
             [{"a": table}, {"a": other}, {"a": As("A", [As("I", 1), As("I", 2)])}, {"a": As("A", [As("I", 2), As("I", 1)])}])


def headers_bogus_match(world):
    channel = world.channel()
    channel.exchange("x", "headers")
    channel.queue("q")
    channel.bind("q", "x", "", x_match="bogus")
    channel.bind("q", "x", "", x_match=5)


def headers_ignore_the_key(world):
    channel = world.channel()
    channel.queue("q")
    channel.bind("q", "amq.headers", "k", a="1")
    channel.bind("q", "amq.match", "", a="1")
    channel.publish("other", "1", "amq.headers", headers={"a": "1"})
    channel.publish("k", "2", "amq.headers", headers={"a": "2"}, mandatory=True)
    channel.publish("", "3", "amq.match", headers={"a": "1"})
    channel.until("q", 2)
    channel.drain("q")


def the_same_binding_twice_is_one(world):
    channel = world.channel()
    channel.queue("q")
    channel.bind("q", "amq.direct", "twice")
    channel.bind("q", "amq.direct", "twice")
    channel.publish("twice", exchange="amq.direct")
    channel.until("q", 1)
    channel.unbind("q", "amq.direct", "twice")
    channel.publish("twice", exchange="amq.direct", mandatory=True)
    channel.settled()


def two_bindings_bring_one_copy(world):
    channel = world.channel()
    channel.exchange("x", "topic")
    channel.queue("q")
    channel.bind("q", "x", "a.*")
    channel.bind("q", "x", "*.b")
    channel.publish("a.b", exchange="x")
    channel.settled(0.05)
    channel.until("q", 1)


def arguments_make_another_binding(world):
    channel = world.channel()
    channel.queue("q")
    channel.bind("q", "amq.direct", "args", foo=1)
    channel.bind("q", "amq.direct", "args")
    channel.unbind("q", "amq.direct", "args", foo=1)
    channel.publish("args", exchange="amq.direct", mandatory=True)
    channel.until("q", 1)
    channel.unbind("q", "amq.direct", "args")
    channel.publish("args", exchange="amq.direct", mandatory=True)
    channel.settled()


def what_is_missing(world):
    channel = world.channel()
    channel.queue("q")
    channel.bind("q", "missing", "k")
    channel.bind("missing", "amq.direct", "k")
    channel.bind("missing", "missing", "k")
    channel.unbind("q", "missing", "k")
    channel.unbind("missing", "amq.direct", "k")
    channel.unbind("q", "amq.direct", "never")
    channel.exchange_bind("missing", "amq.direct", "k")
    channel.exchange_bind("amq.direct", "missing", "k")
    channel.exchange_unbind("missing", "amq.direct", "k")


def the_default_exchange_takes_no_bindings(world):
    channel = world.channel()
    channel.queue("q")
    channel.bind("q", "", "k")
    channel.unbind("q", "", "q")
    channel.exchange_bind("", "amq.direct", "k")
    channel.exchange_bind("amq.direct", "", "k")


def exchange_to_exchange(world):
    channel = world.channel()
    channel.exchange("source", "topic")
    channel.exchange("middle", "direct")
    channel.queue("q")
    channel.exchange_bind("middle", "source", "a.#")
    channel.bind("q", "middle", "a.b")
    channel.publish("a.b", "through", "source", mandatory=True)
    channel.publish("a.c", "lost", "source", mandatory=True)
    channel.settled(0.05)
    channel.drain("q")
    channel.exchange_unbind("middle", "source", "a.#")
    channel.publish("a.b", "not bound", "source", mandatory=True)
    channel.settled()


def exchanges_in_a_circle(world):
    channel = world.channel()
    channel.exchange("a", "fanout")
    channel.exchange("b", "fanout")
    channel.queue("q")
    channel.exchange_bind("b", "a")
    channel.exchange_bind("a", "b")
    channel.exchange_bind("a", "a")
    channel.bind("q", "b")
    channel.publish("k", exchange="a")
    channel.settled(0.05)
    channel.drain("q")


def two_ways_bring_one_copy(world):
    channel = world.channel()
    channel.exchange("a", "fanout")
    channel.exchange("b", "fanout")
    channel.queue("q")
    channel.exchange_bind("b", "a")
    channel.bind("q", "b")
    channel.bind("q", "a")
    channel.publish("k", exchange="a")
    channel.settled(0.05)
    channel.drain("q")


def alternate_exchange(world):
    channel = world.channel()
    channel.exchange("ae", "fanout")
    channel.exchange("x", "direct", alternate_exchange="ae")
    channel.queue("q")
    channel.queue("rest")
    channel.bind("q", "x", "k")
    channel.bind("rest", "ae")
    channel.publish("k", "bound", "x", mandatory=True)
    channel.publish("other", "not bound", "x", mandatory=True)
    channel.settled(0.05)
    channel.drain("q")
    channel.drain("rest")


def alternate_exchange_without_a_queue(world):
    channel = world.channel()
    channel.exchange("ae", "fanout")
    channel.exchange("x", "direct", alternate_exchange="ae")
    channel.publish("other", "not bound", "x", mandatory=True)
    channel.settled()


def alternate_exchange_that_is_missing(world):
    channel = world.channel()
    channel.exchange("x", "direct", alternate_exchange="missing")
    channel.publish("other", "not bound", "x", mandatory=True)
    channel.settled()


def alternate_exchanges_in_a_circle(world):
    channel = world.channel()
    channel.exchange("a", "direct", alternate_exchange="b")
    channel.exchange("b", "direct", alternate_exchange="a")
    channel.publish("k", "not bound", "a", mandatory=True)
    channel.settled()


def internal_exchange(world):
    channel = world.channel()
    channel.exchange("inside", "fanout", internal=True)
    channel.exchange("outside", "fanout")
    channel.queue("q")
    channel.bind("q", "inside")
    channel.exchange_bind("inside", "outside")
    channel.publish("k", "by the door", "outside", mandatory=True)
    channel.settled(0.05)
    channel.drain("q")
    channel.publish("k", "by the window", "inside")
    channel.refused()


def the_default_exchange_knows_every_queue(world):
    channel = world.channel()
    channel.queue("q")
    channel.publish("q", "m", mandatory=True)
    channel.publish("Q", "m", mandatory=True)
    channel.settled(0.05)
    channel.drain("q")
