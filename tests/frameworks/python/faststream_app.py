"""FastStream: subscribers, publishers in a chain, manual and negative acknowledgement, request and response."""

import asyncio

from faststream import AckPolicy, FastStream
from faststream.rabbit import ExchangeType, RabbitBroker, RabbitExchange, RabbitMessage, RabbitQueue

from _broker import RUN, URL, check, direct_reply_to, done

DIRECT = direct_reply_to()
name = f"faststream-{RUN}"
broker = RabbitBroker(URL, logger=None)
app = FastStream(broker)
results, refused, finished, again = [], [], asyncio.Event(), asyncio.Event()
exchange = RabbitExchange(f"{name}-x", type=ExchangeType.TOPIC, auto_delete=True)


@broker.subscriber(RabbitQueue(f"{name}-in", routing_key="in.*", auto_delete=True), exchange)
@broker.publisher(f"{name}-out")
async def double(number: int) -> int:
    return number * 2


@broker.subscriber(RabbitQueue(f"{name}-out", auto_delete=True))
async def collect(number: int):
    results.append(number)
    if len(results) == 10:
        finished.set()


@broker.subscriber(RabbitQueue(f"{name}-again", auto_delete=True), ack_policy=AckPolicy.MANUAL)
async def refuse_once(body: str, message: RabbitMessage):
    refused.append(message.raw_message.redelivered)
    if message.raw_message.redelivered:
        await message.ack()
        again.set()
    else:
        await message.nack()


@broker.subscriber(RabbitQueue(f"{name}-rpc", auto_delete=True))
async def greet(word: str) -> str:
    return f"hello {word}"


async def main():
    await broker.start()
    for n in range(10):
        await broker.publish(n, exchange=exchange, routing_key="in.a", headers={"n": n}, correlation_id=str(n))
    await asyncio.wait_for(finished.wait(), 10)
    check("a chain of subscribers", sorted(results), [n * 2 for n in range(10)])
    await broker.publish("x", queue=f"{name}-again")
    await asyncio.wait_for(again.wait(), 10)
    check("what was refused comes again", refused, [False, True])
    answers = await asyncio.gather(*(broker.request(str(n), queue=f"{name}-rpc", timeout=10) for n in range(10)))
    check("requests", [await answer.decode() for answer in answers], [f"hello {n}" for n in range(10)])
    await broker.stop()


# The broker object subscribes to direct reply-to when it starts, so that without it nothing of FastStream runs.
if DIRECT:
    asyncio.run(main())
done()
