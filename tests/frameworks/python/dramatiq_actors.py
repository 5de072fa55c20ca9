"""Dramatiq: its delay and dead-letter queues, retries with backoff, priorities, pipelines, messages that died."""

import time

import dramatiq
from dramatiq import Worker
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.middleware import default_middleware

from _broker import RUN, URL, check, done, until

broker = RabbitmqBroker(url=URL, confirm_delivery=True, max_priority=10)
dramatiq.set_broker(broker)
queue = f"dramatiq-{RUN}"
seen, attempts, times = [], [], []


@dramatiq.actor(queue_name=queue, broker=broker)
def note(word):
    seen.append(word)


@dramatiq.actor(queue_name=queue, broker=broker, max_retries=3, min_backoff=50, max_backoff=100)
def flaky():
    attempts.append(time.monotonic())
    if len(attempts) < 3:
        raise RuntimeError("not yet")


@dramatiq.actor(queue_name=queue, broker=broker, max_retries=0)
def hopeless():
    raise RuntimeError("never")


@dramatiq.actor(queue_name=queue, broker=broker)
def later():
    times.append(time.monotonic())


# Declares its queues: queue, queue.DQ (delayed) and queue.XQ (dead).
broker.declare_queue(queue, ensure=True)
note.send_with_options(args=("low",), broker_priority=1)
note.send_with_options(args=("high",), broker_priority=9)
time.sleep(0.2)
worker = Worker(broker, worker_threads=1, worker_timeout=100)
worker.start()
try:
    until("two tasks", lambda: len(seen) == 2)
    check("priorities", seen, ["high", "low"])
    begun = time.monotonic()
    later.send_with_options(delay=500)
    until("a delayed task", lambda: times)
    check("not before its time", times[0] - begun >= 0.45)
    flaky.send()
    until("retries", lambda: len(attempts) == 3)
    hopeless.send()
    until("a dead message is in its queue", lambda: broker.get_queue_message_counts(queue)[2] == 1)
    for n in range(50):
        note.send(n)
    broker.join(queue, timeout=10_000)
    until("fifty tasks", lambda: len(seen) == 52)
    check("each once", sorted(seen[2:]), list(range(50)))
finally:
    worker.stop()
for name in (queue, f"{queue}.DQ", f"{queue}.XQ"):
    broker.channel.queue_delete(name)
broker.close()
done()
