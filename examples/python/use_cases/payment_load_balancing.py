"""Load balancing: payments shared by a pool of gateways; a prefetch of 10 keeps a slow gateway from hoarding.

One gateway, a process of its own, is killed with ten payments in its hands: the others make them, marked as redelivered.
"""

import json
import subprocess
import threading
import time
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))
import pika
from hub import TIMEOUT, amqp, done, unique

queue = unique("payment-queue")
PREFETCH = 10
transactions = [f"T{number}" for number in range(200)]


# A gateway that takes its ten payments and makes none.
BROKEN = f"""
import sys
from hub import amqp
channel = amqp().channel()
channel.basic_qos(prefetch_count={PREFETCH})
channel.basic_consume(sys.argv[1], lambda *_: None)
channel.start_consuming()
"""


class Gateway:
    """One consumer on a connection and a thread of its own; `delay` is how long a payment takes it."""

    def __init__(self, delay):
        self.delay, self.done, self.again = delay, [], 0
        self.connection = amqp()
        self.channel = self.connection.channel()
        self.channel.basic_qos(prefetch_count=PREFETCH)
        self.channel.basic_consume(queue, self.pay)
        self.thread = threading.Thread(target=self.channel.start_consuming, daemon=True)

    def pay(self, channel, method, _properties, body):
        time.sleep(self.delay)
        self.done.append(json.loads(body)["transaction_id"])
        self.again += method.redelivered
        channel.basic_ack(method.delivery_tag)

    def stop(self):
        self.connection.add_callback_threadsafe(self.channel.stop_consuming)
        self.thread.join(TIMEOUT)
        self.connection.close()


with amqp() as connection:
    channel = connection.channel()
    channel.queue_declare(queue, durable=True)
    gateways = [Gateway(0.001), Gateway(0.001), Gateway(0.05)]
    broken = subprocess.Popen([sys.executable, "-c", BROKEN, queue], cwd=Path(__file__).resolve().parents[1])
    persistent = pika.BasicProperties(content_type="application/json", delivery_mode=pika.DeliveryMode.Persistent)
    for transaction in transactions:
        payment = {"transaction_id": transaction, "amount": 49.99, "currency": "USD"}
        channel.basic_publish("", queue, json.dumps(payment), persistent)
    # The gateways have not started yet: each holds ten payments, the others wait in the queue.
    deadline = time.monotonic() + TIMEOUT
    waiting = len(transactions) - PREFETCH * (len(gateways) + 1)
    while channel.queue_declare(queue, durable=True, passive=True).method.message_count != waiting:
        assert time.monotonic() < deadline, "each gateway must hold its prefetch and no more"
        time.sleep(0.02)

    broken.kill()
    broken.wait()
    for gateway in gateways:
        gateway.thread.start()
    while sum(len(gateway.done) for gateway in gateways) < len(transactions):
        time.sleep(0.02)
    shares = [len(gateway.done) for gateway in gateways]
    for gateway in gateways:
        gateway.stop()

    paid = sorted((transaction for gateway in gateways for transaction in gateway.done), key=lambda name: int(name[1:]))
    assert paid == transactions, "every payment once"
    again = sum(gateway.again for gateway in gateways)
    assert again == PREFETCH, f"what the broken gateway held was made by others: {again}"
    assert shares[2] < min(shares[:2]), f"the slow gateway gets less: {shares}"
    assert channel.queue_delete(queue).method.message_count == 0

done(f"{len(paid)} payments shared {shares[0]} / {shares[1]} / {shares[2]} (the last gateway is slow), {again} of them after a break")
