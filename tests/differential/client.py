"""What dialogues are written with: connections and channels that keep a trace of all that a broker answers.

A call writes its request and waits for the answer; what comes before the answer is written down, too. A channel or
connection that the broker closed is opened again by the next call on it, so that a dialogue may go on after a refusal.
"""

import time

from pika import frame, spec

from wire import PATIENCE, PROTOCOL_HEADER, As, Gone, Message, Wire, method_text, shown

ASYNCHRONOUS = (spec.Basic.Deliver, spec.Basic.Return, spec.Basic.Ack, spec.Basic.Nack, spec.Basic.Cancel)
CAPABILITIES = {
    name: True
    for name in ("publisher_confirms", "consumer_cancel_notify", "basic.nack", "connection.blocked", "authentication_failure_close")
}
UNTIL = 6.0  # seconds for something that comes about by itself


class Channel:
    def __init__(self, connection, number):
        self.connection, self.number = connection, number
        self.open, self.confirming, self.published = False, False, 0
        self.inbox, self.outcomes = [], {}

    # -- the machine below -------------------------------------------------------------------------------------------

    def say(self, text):
        self.connection.say(text)

    def ready(self):
        """Opens what is not open."""
        self.connection.ready()
        if not self.open and self.connection.wire is not None:
            self.open, self.confirming, self.published = True, False, 0
            self.inbox, self.outcomes = [], {}
            self.connection.wire.send(self.number, spec.Channel.Open())
            answer = self.next(PATIENCE)
            self.open = isinstance(answer, spec.Channel.OpenOk)
            if not self.open:
                self.say(f"no channel: {type(answer).__name__}")

    def next(self, patience):
        """The next frame on this channel: a method, or a message with its content. None: nothing came; a refusal is
        answered and written down."""
        try:
            while True:
                found = self.connection.wire.frame(patience)
                if found is None:
                    return None
                if isinstance(found, frame.Method) and found.channel_number == 0:
                    self.connection.ended(found.method)
                    return found.method
                if found.channel_number != self.number:
                    other = self.connection.channels[found.channel_number]
                    other.keep(other.whole(found))
                    continue
                return self.whole(found)
        except Gone:
            self.say("connection closed without a word")
            self.connection.gone()
            return None

    def whole(self, found):
        method = found.method
        if isinstance(method, spec.Channel.Close):
            self.say(f"channel.close {method.reply_code} {shown(method.reply_text)} ({method.class_id}, {method.method_id})")
            self.open = False
            self.connection.wire.send(self.number, spec.Channel.CloseOk())
            return method
        if not spec.has_content(method.INDEX):
            return method
        header = self.connection.wire.frame()
        body = b""
        while len(body) < header.body_size:
            body += self.connection.wire.frame().fragment
        return Message(method, header.properties, body)

    def keep(self, found):
        """Something that comes by itself: writes it down, or puts it into the inbox."""
        if isinstance(found, (spec.Basic.Ack, spec.Basic.Nack)):
            word = "ack" if isinstance(found, spec.Basic.Ack) else "nack"
            tags = [found.delivery_tag]
            if found.multiple:
                tags = [tag for tag in range(1, found.delivery_tag + 1) if tag not in self.outcomes]
            self.outcomes.update({tag: word for tag in tags})
        elif isinstance(found, Message) and isinstance(found.method, spec.Basic.Deliver):
            self.inbox.append(found)
        elif isinstance(found, spec.Basic.Cancel):
            self.say(f"cancelled {shown(found.consumer_tag)}")
        elif isinstance(found, Message):
            self.say(str(found))
        elif found is not None and not isinstance(found, (spec.Channel.Close, spec.Connection.Close)):
            self.say(f"by itself: {method_text(found)}")

    def call(self, method, *content):
        """Sends a method, waits for its answer and writes it down. The answer, or None after a refusal."""
        self.send(method, *content)
        while self.open:
            answer = self.next(PATIENCE)
            if answer is None:
                if self.open:
                    self.say(f"no answer to {method.NAME}")
                return None
            core = answer.method if isinstance(answer, Message) else answer
            if isinstance(core, (spec.Channel.Close, spec.Connection.Close)):
                return None
            if isinstance(core, ASYNCHRONOUS):
                self.keep(answer)
                continue
            self.say(str(answer) if isinstance(answer, Message) else method_text(answer))
            return answer
        return None

    def send(self, method, *content):
        """Sends a method that has no answer."""
        self.ready()
        if not self.open:
            return
        try:
            self.connection.wire.send(self.number, method, *content)
        except Gone:
            self.say("connection closed without a word")
            self.connection.gone()

    # -- topology ----------------------------------------------------------------------------------------------------

    def queue(self, name="", passive=False, durable=False, exclusive=False, auto_delete=False, **arguments):
        self.connection.world.names.add(("queue", name))
        arguments = {key.replace("_", "-"): value for key, value in arguments.items()}
        declare = spec.Queue.Declare(0, name, passive, durable, exclusive, auto_delete, False, arguments)
        answer = self.call(declare)
        return answer.queue if answer else None

    def quorum(self, name, **arguments):
        return self.queue(name, durable=True, x_queue_type="quorum", **arguments)

    def count(self, name):
        """Writes down how many messages and consumers a queue has."""
        self.queue(name, passive=True)

    def until(self, name, messages):
        """Waits until a queue has so many messages ready, and writes down how many there are."""
        self.ready()
        until = time.monotonic() + UNTIL
        while True:
            self.connection.wire.send(self.number, spec.Queue.Declare(0, name, True))
            answer = self.next(PATIENCE)
            while isinstance(answer, ASYNCHRONOUS) or isinstance(answer, Message):
                self.keep(answer)
                answer = self.next(PATIENCE)
            if not isinstance(answer, spec.Queue.DeclareOk):
                return
            if answer.message_count == messages or time.monotonic() > until:
                return self.say(f"{shown(name)} has {answer.message_count}")
            time.sleep(0.02)

    def exchange(self, name, kind="direct", passive=False, durable=False, auto_delete=False, internal=False, **arguments):
        self.connection.world.names.add(("exchange", name))
        arguments = {key.replace("_", "-"): value for key, value in arguments.items()}
        self.call(spec.Exchange.Declare(0, name, kind, passive, durable, auto_delete, internal, False, arguments))

    def bind(self, queue, exchange, key="", **arguments):
        self.call(spec.Queue.Bind(0, queue, exchange, key, False, named(arguments)))

    def unbind(self, queue, exchange, key="", **arguments):
        self.call(spec.Queue.Unbind(0, queue, exchange, key, named(arguments)))

    def exchange_bind(self, destination, source, key="", **arguments):
        self.call(spec.Exchange.Bind(0, destination, source, key, False, named(arguments)))

    def exchange_unbind(self, destination, source, key="", **arguments):
        self.call(spec.Exchange.Unbind(0, destination, source, key, False, named(arguments)))

    def delete_queue(self, name, if_unused=False, if_empty=False):
        self.call(spec.Queue.Delete(0, name, if_unused, if_empty, False))

    def delete_exchange(self, name, if_unused=False):
        self.call(spec.Exchange.Delete(0, name, if_unused, False))

    def purge(self, name):
        self.call(spec.Queue.Purge(0, name, False))

    # -- messages ----------------------------------------------------------------------------------------------------

    def publish(self, key, body="m", exchange="", mandatory=False, immediate=False, **properties):
        body = body.encode() if isinstance(body, str) else body
        self.published += 1
        publish = spec.Basic.Publish(0, exchange, key, mandatory, immediate)
        self.send(publish, spec.BasicProperties(**properties), body)

    def confirm(self):
        self.call(spec.Confirm.Select(False))
        self.confirming, self.published, self.outcomes = True, 0, {}

    def confirmed(self):
        """Waits for the outcome of all that was published, and writes it down."""
        until = time.monotonic() + PATIENCE
        while self.open and len(self.outcomes) < self.published and time.monotonic() < until:
            self.keep(self.next(0.5))
        self.say("confirmed " + " ".join(f"{tag}:{self.outcomes[tag]}" for tag in sorted(self.outcomes)))

    def settled(self, wait=0.04):
        """Waits until the broker has seen all that was sent on this channel; what comes until then is written down."""
        self.ready()
        if wait:
            time.sleep(wait)
        # It asks for what is so anyway, and is answered behind all that came before.
        self.connection.wire.send(self.number, spec.Channel.Flow(True))
        while self.open:
            answer = self.next(PATIENCE)
            if answer is None or isinstance(answer, spec.Channel.FlowOk):
                return
            self.keep(answer)

    def refused(self):
        """Waits for the refusal of what was sent, and writes it down; `taken` if there is none."""
        before = len(self.connection.world.trace)
        self.settled(0.05)
        if self.open and len(self.connection.world.trace) == before:
            self.say("taken")

    def consume(self, queue, tag="c", no_ack=False, exclusive=False, no_local=False, **arguments):
        arguments = {key.replace("_", "-"): value for key, value in arguments.items()}
        self.call(spec.Basic.Consume(0, queue, tag, no_local, no_ack, exclusive, False, arguments))

    def cancel(self, tag="c"):
        self.call(spec.Basic.Cancel(tag, False))

    def take(self, count=1):
        """Waits for so many deliveries, writes them down and gives them back."""
        until = time.monotonic() + UNTIL
        self.ready()
        while self.open and len(self.inbox) < count and time.monotonic() < until:
            self.keep(self.next(0.5))
        taken, self.inbox = self.inbox[:count], self.inbox[count:]
        for message in taken:
            self.say(str(message))
        if len(taken) < count:
            self.say(f"{len(taken)} deliveries instead of {count}")
        return taken

    def nothing(self, wait=0.15):
        """Writes down what is delivered in a while although nothing should be."""
        self.settled(wait)
        for message in self.inbox:
            self.say(f"late: {message}")
        self.inbox = []

    def get(self, queue, no_ack=True):
        answer = self.call(spec.Basic.Get(0, queue, no_ack))
        return answer if isinstance(answer, Message) else None

    def drain(self, queue):
        """Gets all messages of a queue."""
        for _ in range(100):
            if self.get(queue) is None:
                break

    def ack(self, tag, multiple=False):
        self.send(spec.Basic.Ack(tag, multiple))

    def nack(self, tag, multiple=False, requeue=True):
        self.send(spec.Basic.Nack(tag, multiple, requeue))

    def reject(self, tag, requeue=True):
        self.send(spec.Basic.Reject(tag, requeue))

    def recover(self, requeue=True):
        self.call(spec.Basic.Recover(requeue))

    def qos(self, count=0, size=0, everything=False):
        self.call(spec.Basic.Qos(size, count, everything))

    def tx(self):
        self.call(spec.Tx.Select())

    def commit(self):
        self.call(spec.Tx.Commit())

    def rollback(self):
        self.call(spec.Tx.Rollback())

    def flow(self, active):
        self.call(spec.Channel.Flow(active))

    def close(self):
        if self.open and self.connection.wire is not None:
            self.call(spec.Channel.Close(200, "", 0, 0))
            self.open = False


def named(arguments):
    return {key.replace("_", "-"): value for key, value in arguments.items()}


class Connection:
    def __init__(self, world, user="guest", password="guest", vhost="/"):
        self.world, self.user, self.password, self.vhost = world, user, password, vhost
        self.wire, self.channels = None, {}

    def say(self, text):
        self.world.say(text)

    def channel(self, number=1):
        channel = self.channels[number] = Channel(self, number)
        return channel

    def gone(self):
        self.wire.close()
        self.wire = None
        for channel in self.channels.values():
            channel.open = False

    def ended(self, method):
        """A method on channel 0."""
        if isinstance(method, spec.Connection.Close):
            self.say(f"connection.close {method.reply_code} {shown(method.reply_text)} ({method.class_id}, {method.method_id})")
            try:
                self.wire.send(0, spec.Connection.CloseOk())
            except Gone:
                pass
            self.gone()
        else:
            self.say(f"on channel 0: {method_text(method)}")

    def ready(self):
        if self.wire is None:
            self.log_in(quiet=True)

    def log_in(self, quiet=False, **options):
        """Start, tune and open; what comes is written down unless it is the usual."""
        self.start(quiet, **options)
        if self.wire is None:
            return False
        tune = self.expect(spec.Connection.Tune, quiet)
        if tune is None:
            return False
        frame_max = options.get("frame_max", tune.frame_max)
        self.wire.frame_max = frame_max or 131072
        channel_max = options.get("channel_max", tune.channel_max)
        self.wire.send(0, spec.Connection.TuneOk(channel_max, frame_max, options.get("heartbeat", 0)))
        self.wire.send(0, spec.Connection.Open(self.vhost))
        return self.expect(spec.Connection.OpenOk, quiet) is not None

    def start(self, quiet=False, mechanism="PLAIN", response=None, capabilities=None, locale="en_US", **_):
        self.wire = Wire(self.world.port)
        self.wire.write(PROTOCOL_HEADER)
        started = self.expect(spec.Connection.Start, True)
        if started is None:
            return
        properties = {"capabilities": CAPABILITIES if capabilities is None else capabilities}
        if response is None:
            response = f"\0{self.user}\0{self.password}"
        self.wire.send(0, spec.Connection.StartOk(properties, mechanism, response, locale))

    def expect(self, kind, quiet):
        """The method that should come next on channel 0; None where another one came, or the connection ended."""
        try:
            found = self.wire.frame(15)
        except Gone:
            self.say("connection closed without a word")
            self.gone()
            return None
        method = getattr(found, "method", None)
        if method is None:
            self.say(f"no answer, or another: {found}")
            return None
        if isinstance(method, spec.Connection.Close):
            self.ended(method)
            return None
        if not quiet or not isinstance(method, kind):
            self.say(method_text(method))
        return method if isinstance(method, kind) else None

    def rest(self, patience=4):
        """Writes down all that comes until the connection ends."""
        while self.wire is not None:
            try:
                found = self.wire.frame(patience)
            except Gone:
                self.say("connection closed")
                return self.gone()
            except (KeyError, ValueError) as error:
                self.say(f"unreadable: {error}")
                return self.gone()
            if found is None:
                return self.say("still open")
            if isinstance(found, frame.ProtocolHeader):
                self.say(f"protocol header {found.major}-{found.minor}-{found.revision}")
            elif isinstance(found, frame.Method) and found.channel_number == 0:
                self.ended(found.method)
            elif isinstance(found, frame.Method):
                self.say(f"on {found.channel_number}: {method_text(found.method)}")

    def close(self):
        """An orderly end; nothing is written down."""
        if self.wire is None:
            return
        try:
            self.wire.send(0, spec.Connection.Close(200, "", 0, 0))
            until = time.monotonic() + 3
            while time.monotonic() < until:
                found = self.wire.frame(1)
                if isinstance(getattr(found, "method", None), spec.Connection.CloseOk):
                    break
        except Gone:
            pass
        if self.wire is not None:
            self.gone()

    def drop(self):
        """Ends the socket without a word."""
        self.gone()


class World:
    """One broker, as one dialogue sees it."""

    def __init__(self, port):
        self.port, self.trace, self.names, self.connections = port, [], set(), []

    def say(self, text):
        self.trace.append(str(text))

    def connection(self, *arguments, **options):
        connection = Connection(self, *arguments, **options)
        self.connections.append(connection)
        return connection

    def channel(self):
        """A channel on a connection of its own."""
        return self.connection().channel()

    def clean(self):
        """Ends connections and deletes what was declared."""
        for connection in self.connections:
            connection.close()
        rest, self.trace = self.trace, []
        channel = self.channel()
        for kind, name in self.names:
            if not name or name.startswith("amq."):
                continue
            for _ in range(50):
                del self.trace[:]
                if kind == "queue":
                    channel.delete_queue(name)
                else:
                    channel.delete_exchange(name)
                if not any("RESOURCE_LOCKED" in line for line in self.trace):
                    break
                time.sleep(0.05)
        channel.connection.close()
        self.trace = rest


__all__ = ["As", "Channel", "Connection", "World"]
