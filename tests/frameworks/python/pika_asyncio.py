"""pika's connection in asyncio: callbacks for confirms, returns, cancels and closes."""

import asyncio

import pika
from pika.adapters.asyncio_connection import AsyncioConnection

from _broker import HOST, PORT, RUN, check, done

name = f"pika-asyncio-{RUN}"


async def main():
    loop = asyncio.get_running_loop()

    def future():
        return loop.create_future()

    opened = future()
    connection = AsyncioConnection(
        pika.ConnectionParameters(HOST, PORT), on_open_callback=opened.set_result,
        on_open_error_callback=lambda _, error: opened.set_exception(error),
    )
    await asyncio.wait_for(opened, 10)
    ready = future()
    connection.channel(on_open_callback=ready.set_result)
    channel = await asyncio.wait_for(ready, 10)

    async def call(method, *arguments, **options):
        answer = future()
        method(*arguments, callback=answer.set_result, **options)
        return await asyncio.wait_for(answer, 10)

    await call(channel.queue_declare, name, exclusive=True)
    await call(channel.exchange_declare, f"{name}-x", "topic", auto_delete=True)
    await call(channel.queue_bind, name, f"{name}-x", "a.*.#")
    confirms, returns, bodies, all_in = [], [], [], future()

    def confirmed(frame):
        confirms.append((type(frame.method).__name__, frame.method.delivery_tag, frame.method.multiple))
        last = max(tag for _, tag, _ in confirms)
        if last == 11 and not all_in.done() and sum(1 for _ in confirms) and complete():
            all_in.set_result(None)

    def complete():
        acked = set()
        for _, tag, multiple in confirms:
            acked |= set(range(1, tag + 1)) if multiple else {tag}
        return acked == set(range(1, 12))

    await call(channel.confirm_delivery, confirmed)
    channel.add_on_return_callback(lambda _, method, __, body: returns.append((method.reply_code, body)))
    for n in range(10):
        channel.basic_publish(f"{name}-x", "a.b.c", b"%d" % n)
    channel.basic_publish(f"{name}-x", "b", b"nobody", mandatory=True)
    await asyncio.wait_for(all_in, 10)
    check("all are confirmed", {word for word, _, _ in confirms}, {"Ack"})
    check("the unroutable one came back", returns, [(312, b"nobody")])

    got = future()

    def on_message(ch, method, _, body):
        bodies.append(body)
        if len(bodies) == 10:
            ch.basic_ack(method.delivery_tag, multiple=True)
            got.set_result(None)

    await call(channel.basic_qos, prefetch_count=20)
    tag = channel.basic_consume(name, on_message)
    await asyncio.wait_for(got, 10)
    check("in their order", bodies, [b"%d" % n for n in range(10)])
    cancelled = future()
    channel.add_on_cancel_callback(cancelled.set_result)
    channel.queue_delete(name)
    frame = await asyncio.wait_for(cancelled, 10)
    check("a deleted queue cancels its consumer", frame.method.consumer_tag, tag)

    closed = future()
    channel.add_on_close_callback(lambda _, reason: closed.set_result(reason))
    channel.queue_declare(name, passive=True)
    reason = await asyncio.wait_for(closed, 10)
    check("the channel closes with a code", (reason.reply_code, "no queue" in reason.reply_text), (404, True))
    ended = future()
    connection.add_on_close_callback(lambda _, reason: ended.set_result(reason))
    connection.close()
    await asyncio.wait_for(ended, 10)
    check("the connection closes in order", connection.is_closed)


asyncio.run(main())
done()
