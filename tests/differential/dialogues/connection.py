"""How connections begin and end: headers, logins, tuning, virtual hosts, channels, frames."""

import struct

from pika import frame, spec

from wire import As, Wire, method_frame, raw_frame


def _raw(world):
    connection = world.connection()
    connection.wire = Wire(world.port)
    return connection


def header_of_0_9(world):
    connection = _raw(world)
    connection.wire.write(b"AMQP\x01\x01\x00\x09")
    world.say(connection.wire.frame().__class__.__name__)


def header_of_a_later_version(world):
    connection = _raw(world)
    connection.wire.write(b"AMQP\x00\x02\x00\x00")
    connection.rest()


def header_of_http(world):
    connection = _raw(world)
    connection.wire.write(b"GET / HTTP/1.1\r\n\r\n")
    connection.rest()


def what_start_offers(world):
    connection = _raw(world)
    connection.wire.write(b"AMQP\x00\x00\x09\x01")
    start = connection.wire.frame().method
    world.say(f"version {start.version_major}-{start.version_minor} {start.mechanisms} {start.locales}")
    properties = start.server_properties
    world.say(f"product {properties['product'].value}")
    capabilities = properties["capabilities"].value
    for name in sorted(capabilities):
        if name == "direct_reply_to":
            continue  # the dialogues of direct reply-to say whether it is there
        world.say(f"capability {name} {capabilities[name]!r}")


def tune_offers(world):
    connection = world.connection()
    connection.log_in()


def wrong_password(world):
    world.connection(password="wrong").log_in()


def unknown_user(world):
    world.connection("nobody", "x").log_in()


def empty_password(world):
    world.connection(password="").log_in()


def wrong_password_of_a_client_that_cannot_be_told(world):
    world.connection(password="wrong").log_in(capabilities={})


def unknown_mechanism(world):
    world.connection().log_in(mechanism="BOGUS")


def external_without_a_certificate(world):
    world.connection().log_in(mechanism="EXTERNAL", response="")


def amqplain(world):
    pieces = []
    from pika import data

    data.encode_table(pieces, {"LOGIN": "guest", "PASSWORD": "guest"})
    connection = world.connection()
    world.say(connection.log_in(mechanism="AMQPLAIN", response=b"".join(pieces)[4:]))


def amqplain_with_a_wrong_password(world):
    pieces = []
    from pika import data

    data.encode_table(pieces, {"LOGIN": "guest", "PASSWORD": "no"})
    world.connection().log_in(mechanism="AMQPLAIN", response=b"".join(pieces)[4:])


def another_locale(world):
    world.say(world.connection().log_in(locale="de_DE"))


def vhost_that_is_not_there(world):
    world.connection(vhost="nowhere").log_in()


def vhost_with_an_empty_name(world):
    world.connection(vhost="").log_in()


def vhost_that_the_user_may_not_enter(world):
    world.connection("bob", "bob", "other").log_in()


def vhosts_have_queues_of_their_own(world):
    here, there = world.connection().channel(), world.connection(vhost="other").channel()
    here.queue("q")
    there.queue("q", passive=True)
    there.queue("q", exclusive=True)
    there.publish("q", "there")
    there.until("q", 1)
    here.count("q")
    here.drain("q")


def frame_max_below_the_least(world):
    connection = world.connection()
    connection.log_in(frame_max=4095)


def frame_max_above_what_was_offered(world):
    connection = world.connection()
    connection.log_in(frame_max=131073)


def frame_max_of_none(world):
    connection = world.connection()
    world.say(connection.log_in(frame_max=0))
    channel = connection.channel()
    channel.queue("q")


def channel_max_above_what_was_offered(world):
    world.connection().log_in(channel_max=65000)


def channel_max_of_none(world):
    connection = world.connection()
    connection.log_in(channel_max=0)
    connection.channel(2047).queue("q")


def channel_above_channel_max(world):
    connection = world.connection()
    connection.log_in(channel_max=5)
    connection.channel(5).queue("q")
    connection.channel(6).queue("q")


def the_least_frame_carries_a_large_body(world):
    connection = world.connection()
    connection.log_in(frame_max=4096)
    channel = connection.channel()
    channel.queue("q")
    channel.publish("q", "x" * 20000)
    channel.drain("q")


def a_frame_larger_than_frame_max(world):
    connection = world.connection()
    connection.log_in(frame_max=4096)
    channel = connection.channel()
    channel.queue("q")
    wire = connection.wire
    wire.write(method_frame(1, spec.Basic.Publish(0, "", "q")))
    wire.write(frame.Header(1, 6000, spec.BasicProperties()).marshal() + raw_frame(3, 1, b"x" * 6000))
    connection.rest()


def a_frame_without_its_end(world):
    channel = world.channel()
    channel.queue("q")
    channel.connection.wire.write(raw_frame(1, 1, method_frame(1, spec.Queue.Declare(0, "q2"))[7:-1], b"\x00"))
    channel.connection.rest()


def a_frame_of_an_unknown_type(world):
    channel = world.channel()
    channel.queue("q")
    channel.connection.wire.write(raw_frame(9, 1, b"abc"))
    channel.connection.rest()


def an_unknown_method(world):
    channel = world.channel()
    channel.queue("q")
    channel.connection.wire.write(raw_frame(1, 1, struct.pack(">HH", 50, 99)))
    channel.connection.rest()


def an_unknown_class(world):
    channel = world.channel()
    channel.queue("q")
    channel.connection.wire.write(raw_frame(1, 1, struct.pack(">HH", 77, 10)))
    channel.connection.rest()


def a_method_that_ends_too_early(world):
    channel = world.channel()
    channel.queue("q")
    channel.connection.wire.write(raw_frame(1, 1, struct.pack(">HHHB", 50, 10, 0, 20) + b"abc"))
    channel.connection.rest()


def a_body_without_a_publish(world):
    channel = world.channel()
    channel.queue("q")
    channel.connection.wire.write(raw_frame(3, 1, b"abc"))
    channel.connection.rest()


def a_header_without_a_publish(world):
    channel = world.channel()
    channel.queue("q")
    channel.connection.wire.write(frame.Header(1, 3, spec.BasicProperties()).marshal())
    channel.connection.rest()


def a_method_between_publish_and_header(world):
    channel = world.channel()
    channel.queue("q")
    publish = method_frame(1, spec.Basic.Publish(0, "", "q"))
    channel.connection.wire.write(publish + method_frame(1, spec.Queue.Declare(0, "q", True)))
    channel.connection.rest()


def a_body_longer_than_announced(world):
    channel = world.channel()
    channel.queue("q")
    octets = method_frame(1, spec.Basic.Publish(0, "", "q")) + frame.Header(1, 2, spec.BasicProperties()).marshal()
    channel.connection.wire.write(octets + frame.Body(1, b"abc").marshal())
    channel.connection.rest()


def a_header_of_another_class(world):
    channel = world.channel()
    channel.queue("q")
    octets = method_frame(1, spec.Basic.Publish(0, "", "q"))
    payload = struct.pack(">HHQH", 60 + 10, 0, 0, 0)
    channel.connection.wire.write(octets + raw_frame(2, 1, payload))
    channel.connection.rest()


def a_method_on_a_channel_that_is_not_open(world):
    channel = world.channel()
    channel.queue("q")
    channel.connection.wire.write(method_frame(7, spec.Queue.Declare(0, "q", True)))
    channel.connection.rest()


def a_channel_opened_twice(world):
    channel = world.channel()
    channel.queue("q")
    channel.connection.wire.write(method_frame(1, spec.Channel.Open()))
    channel.connection.rest()


def a_connection_method_on_a_channel(world):
    channel = world.channel()
    channel.queue("q")
    channel.connection.wire.write(method_frame(1, spec.Connection.Open("/")))
    channel.connection.rest()


def a_channel_method_on_channel_0(world):
    channel = world.channel()
    channel.queue("q")
    channel.connection.wire.write(method_frame(0, spec.Queue.Declare(0, "q", True)))
    channel.connection.rest()


def open_sent_twice(world):
    channel = world.channel()
    channel.queue("q")
    channel.connection.wire.write(method_frame(0, spec.Connection.Open("/")))
    channel.connection.rest()


def closing_a_channel_and_opening_it_again(world):
    channel = world.channel()
    channel.queue("q", auto_delete=True)
    channel.close()
    channel.count("q")


def a_closed_channel_ignores_until_it_hears_close_ok(world):
    connection = world.connection()
    channel = connection.channel()
    channel.ready()
    wire = connection.wire
    wire.write(method_frame(1, spec.Queue.Declare(0, "missing", True)) + method_frame(1, spec.Queue.Declare(0, "q")))
    world.names.add(("queue", "q"))
    world.say(type(wire.frame().method).__name__)
    wire.write(method_frame(1, spec.Channel.CloseOk()))
    channel.open = False
    channel.queue("q", passive=True)


def closing_a_connection(world):
    channel = world.channel()
    channel.ready()
    channel.connection.wire.send(0, spec.Connection.Close(200, "bye", 0, 0))
    world.say(type(channel.connection.wire.frame().method).__name__)


def update_secret_of_a_password_user(world):
    channel = world.channel()
    channel.queue("q")
    channel.connection.wire.send(0, spec.Connection.UpdateSecret(b"guest", "renewed"))
    world.say(type(channel.connection.wire.frame().method).__name__)
    channel.count("q")


def heartbeats_are_sent(world):
    connection = world.connection()
    connection.log_in(heartbeat=1)
    connection.channel().queue("q")
    wire, beats = connection.wire, 0
    wire.socket.settimeout(3)
    while beats < 2:
        wire.buffer += wire.socket.recv(4096)
        used, found = frame.decode_frame(wire.buffer)
        wire.buffer = wire.buffer[used:]
        beats += isinstance(found, frame.Heartbeat)
        wire.write(raw_frame(8, 0, b""))
    world.say("beats came")


def a_heartbeat_on_a_channel(world):
    channel = world.channel()
    channel.queue("q")
    channel.connection.wire.write(raw_frame(8, 1, b""))
    channel.connection.rest(1)


def a_heartbeat_with_a_body(world):
    channel = world.channel()
    channel.queue("q")
    channel.connection.wire.write(raw_frame(8, 0, b"x"))
    channel.connection.rest(1)


def silence_ends_a_connection_with_heartbeats(world):
    connection = world.connection()
    connection.log_in(heartbeat=1)
    connection.rest(6)


def a_user_does_what_he_may(world):
    channel = world.connection("bob", "bob").channel()
    channel.queue("bob.q")
    channel.publish("bob.q", "mine", user_id="bob")
    channel.until("bob.q", 1)
    channel.drain("bob.q")
    channel.exchange("bob.x")
    channel.bind("bob.q", "bob.x", "k")


def a_user_declares_what_he_may_not(world):
    channel = world.connection("bob", "bob").channel()
    channel.queue("his")
    channel.exchange("his")
    channel.queue("bob.q", x_dead_letter_exchange="elsewhere")


def a_user_reads_what_he_may_not(world):
    world.channel().queue("hers")
    channel = world.connection("bob", "bob").channel()
    channel.get("hers")
    channel.consume("hers")
    channel.purge("hers")


def a_user_deletes_what_he_may_not(world):
    world.channel().queue("hers")
    channel = world.connection("bob", "bob").channel()
    channel.delete_queue("hers")


def a_user_binds_what_he_may_not(world):
    world.channel().exchange("hers")
    channel = world.connection("bob", "bob").channel()
    channel.queue("bob.q")
    channel.bind("bob.q", "hers", "k")
    channel.bind("bob.q", "amq.direct", "k")


def a_user_publishes_where_he_may_not(world):
    world.channel().exchange("hers")
    channel = world.connection("bob", "bob").channel()
    channel.confirm()
    channel.publish("k", exchange="hers")
    channel.refused()


def a_user_looks_at_what_he_may_not(world):
    world.channel().queue("hers")
    channel = world.connection("bob", "bob").channel()
    channel.count("hers")
    channel.exchange("amq.direct", passive=True)


def direct_flow_is_answered(world):
    channel = world.channel()
    channel.flow(True)


def stopping_the_flow(world):
    channel = world.channel()
    channel.flow(False)


def the_user_id_is_checked(world):
    channel = world.channel()
    channel.queue("q")
    channel.publish("q", user_id="guest")
    channel.publish("q", user_id="ann")
    channel.refused()
    channel.drain("q")


def client_properties_of_every_type(world):
    properties = {"a": As("I", 1), "b": As("A", [As("t", 1), As("V")]), "c": As("F", {"d": As("T", 5)})}
    connection = world.connection()
    connection.world = world
    world.say(connection.log_in(capabilities=properties))
