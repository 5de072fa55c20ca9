"""aio-pika: robust connections, confirms, iterators, its patterns Master and RPC, transactions, reconnects."""

import asyncio

import aio_pika
from aio_pika.exceptions import DeliveryError, MessageProcessError, PublishError
from aio_pika.patterns import RPC, Master

from _broker import HOST, PORT, RUN, URL, check, direct_reply_to, done

name = f"aio-{RUN}"
DIRECT = direct_reply_to()


class Relay:
    """Passes octets on to the broker, until it cuts all connections."""

    async def start(self):
        self.writers = []
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    async def serve(self, reader, writer):
        there, back = await asyncio.open_connection(HOST, PORT)
        self.writers += [writer, back]
        await asyncio.gather(self.copy(reader, back), self.copy(there, writer))

    async def copy(self, reader, writer):
        try:
            while octets := await reader.read(65536):
                writer.write(octets)
        except OSError:
            pass
        writer.close()

    def cut(self):
        for writer in self.writers:
            writer.transport.abort()


async def main():
    connection = await aio_pika.connect_robust(URL, timeout=10)
    channel = await connection.channel(on_return_raises=True)
    await channel.set_qos(prefetch_count=10)
    exchange = await channel.declare_exchange(f"{name}-x", aio_pika.ExchangeType.TOPIC)
    queue = await channel.declare_queue(name, auto_delete=True)
    await queue.bind(exchange, "a.#")
    for n in range(5):
        message = aio_pika.Message(b"%d" % n, headers={"n": n}, delivery_mode=2, expiration=60, priority=3, message_id=str(n))
        await exchange.publish(message, "a.b")
    got = []
    async with queue.iterator(timeout=5) as messages:
        async for message in messages:
            async with message.process():
                got.append((message.body, message.headers["n"], message.priority, message.expiration))
            if len(got) == 5:
                break
    check("an iterator", got, [(b"%d" % n, n, 3, 60) for n in range(5)])
    try:
        await exchange.publish(aio_pika.Message(b"x"), "nobody", mandatory=True)
        check("an unroutable message is an error", False)
    except (PublishError, DeliveryError):
        check("an unroutable message is an error", True)

    # process() that fails gives back.
    queue2 = await channel.declare_queue(f"{name}-requeue", auto_delete=True)
    await channel.default_exchange.publish(aio_pika.Message(b"again"), queue2.name)
    message = await queue2.get(timeout=5)
    try:
        async with message.process(requeue=True):
            raise ValueError
    except ValueError:
        pass
    message = await queue2.get(timeout=5)
    check("what failed comes again", (message.body, message.redelivered), (b"again", True))
    await message.ack()
    check("an empty queue", await queue2.get(fail=False), None)

    plain = await connection.channel(publisher_confirms=False)
    async with plain.transaction():
        await plain.default_exchange.publish(aio_pika.Message(b"tx"), queue2.name)
    message = await queue2.get(timeout=5)
    check("a transaction", message.body, b"tx")
    await message.ack()

    # Patterns: a master and its workers, and RPC over queues of its own.
    master = Master(await connection.channel())
    done_tasks, all_done = [], asyncio.Event()

    async def worker(*, task):
        done_tasks.append(task)
        if len(done_tasks) == 5:
            all_done.set()

    await master.create_worker(f"{name}-tasks", worker, auto_delete=True)
    for n in range(5):
        await master.create_task(f"{name}-tasks", {"task": n})
    await asyncio.wait_for(all_done.wait(), 10)
    check("master and worker", sorted(done_tasks), list(range(5)))

    rpc = await RPC.create(await connection.channel())

    async def multiply(*, x, y):
        return x * y

    async def fail():
        raise RuntimeError("as it should")

    await rpc.register(f"{name}.multiply", multiply, auto_delete=True)
    await rpc.register(f"{name}.fail", fail, auto_delete=True)
    answers = await asyncio.gather(*(rpc.call(f"{name}.multiply", {"x": n, "y": 2}) for n in range(20)))
    check("RPC", answers, [n * 2 for n in range(20)])
    try:
        await rpc.call(f"{name}.fail")
        check("RPC brings errors", False)
    except RuntimeError as error:
        check("RPC brings errors", "as it should" in str(error))
    try:
        await asyncio.wait_for(rpc.call(f"{name}.missing", expiration=1), 10)
        check("RPC to nobody fails", False)
    except MessageProcessError as error:
        check("RPC to nobody comes back", "returned" in str(error))

    # The network breaks: consumers and exclusive queues are there again.
    relay = await Relay().start()
    robust = await aio_pika.connect_robust(URL.replace(str(PORT), str(relay.port)), reconnect_interval=0.2)
    channel = await robust.channel()
    exchange = await channel.get_exchange(f"{name}-x")
    received, reconnected = asyncio.Queue(), asyncio.Event()
    temporary = await channel.declare_queue(f"{name}-robust", exclusive=True)
    await temporary.bind(exchange, "robust")
    await temporary.consume(received.put, no_ack=True)
    robust.reconnect_callbacks.add(lambda *_: reconnected.set())
    relay.cut()
    await asyncio.wait_for(reconnected.wait(), 20)
    other = await aio_pika.connect(URL)
    outside = await other.channel()
    target = await outside.get_exchange(f"{name}-x")
    for _ in range(100):
        await target.publish(aio_pika.Message(b"after"), "robust", mandatory=False)
        await asyncio.sleep(0.1)
        if not received.empty():
            break
    check("a robust consumer is there again", (await asyncio.wait_for(received.get(), 5)).body, b"after")

    if DIRECT:
        ch = await other.channel()
        reply = await ch.get_queue("amq.rabbitmq.reply-to", ensure=False)
        answers = asyncio.Queue()
        await reply.consume(answers.put, no_ack=True)
        server = await ch.declare_queue(f"{name}-direct", auto_delete=True)
        request = aio_pika.Message(b"question", reply_to="amq.rabbitmq.reply-to", correlation_id="1")
        await ch.default_exchange.publish(request, server.name)
        question = await server.get(timeout=5, no_ack=True)
        await ch.default_exchange.publish(aio_pika.Message(b"answer", correlation_id="1"), question.reply_to)
        check("direct reply-to", (await asyncio.wait_for(answers.get(), 5)).body, b"answer")
    await outside.exchange_delete(f"{name}-x")
    await other.close()
    await robust.close()
    await connection.close()


asyncio.run(main())
done()
