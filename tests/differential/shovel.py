#!/usr/bin/env python3
"""RabbitMQ's own plugins beside Crossdock: its Shovel moves messages to Crossdock and back, its federation reads an
exchange of Crossdock. Every message arrives once, with its headers.

    tests/differential/shovel.py CROSSDOCK [--messages N]

Needs pika, and Debian's rabbitmq-server, which brings both plugins; brokers.py starts it in a folder of its own.
"""

import argparse
import sys
import time
from pathlib import Path

import pika

sys.path.insert(0, str(Path(__file__).resolve().parent))

import brokers  # noqa: E402

MESSAGES = 20_000
# Through the exchange: a link takes them one by one.
FEDERATED = 2_000
# A key that tells whether the link is there.
TRIAL = "trial"
# Seconds that nothing may arrive for.
PATIENCE = 60


def uri(port):
    return f"amqp://guest:guest@127.0.0.1:{port}"


def parameters(rabbitmq, crossdock):
    """What RabbitMQ is told to move, as a part of its definitions."""

    def shovel(name, source, queue, target, to):
        return {
            "component": "shovel",
            "name": name,
            "vhost": "/",
            "value": {
                "src-protocol": "amqp091", "src-uri": uri(source), "src-queue": queue,
                "dest-protocol": "amqp091", "dest-uri": uri(target), "dest-queue": to,
                "ack-mode": "on-confirm", "reconnect-delay": 1,
            },
        }

    upstream = {"uri": uri(crossdock), "exchange": "plants", "reconnect-delay": 1}
    return {
        "parameters": [
            shovel("there", rabbitmq, "out", crossdock, "shovelled"),
            shovel("back", crossdock, "shovelled", rabbitmq, "home"),
            {"component": "federation-upstream", "name": "crossdock", "vhost": "/", "value": upstream},
        ],
        "policies": [
            {
                "vhost": "/", "name": "plants", "pattern": "^plants$", "apply-to": "exchanges",
                "definition": {"federation-upstream": "crossdock"}, "priority": 0,
            }
        ],
    }


def channel(port):
    connection = pika.BlockingConnection(pika.URLParameters(f"{uri(port)}/%2F"))
    return connection, connection.channel()


def publish(port, exchange, messages):
    """Each with a number, in its body and in a header; all of them are confirmed."""
    connection, there = channel(port)
    there.confirm_delivery()
    for number, key in messages:
        properties = pika.BasicProperties(delivery_mode=2, headers={"number": number}, message_id=str(number))
        there.basic_publish(exchange, key, str(number).encode(), properties, mandatory=True)
    connection.close()


def arrived(port, queue, count):
    """The numbers that come to that queue, until there are so many or nothing comes any more."""
    connection, there = channel(port)
    there.basic_qos(prefetch_count=500)
    numbers, wrong = [], []
    for method, properties, body in there.consume(queue, inactivity_timeout=PATIENCE):
        if method is None:
            break
        number = int(body)
        headers = properties.headers or {}
        if headers.get("number") != number or properties.message_id != str(number) or properties.delivery_mode != 2:
            wrong.append((number, headers, properties.message_id))
        numbers.append(number)
        there.basic_ack(method.delivery_tag)
        if len(set(numbers)) == count:
            break
    # What comes behind the last one would be there twice.
    time.sleep(1)
    there.cancel()
    left = there.queue_declare(queue, passive=True).method.message_count
    connection.close()
    return numbers, wrong, left


def check(what, count, found):
    numbers, wrong, left = found
    missing = sorted(set(range(count)) - set(numbers))
    twice = len(numbers) - len(set(numbers)) + left
    print(f"{what}: {len(numbers)} of {count} arrived, {len(missing)} are missing, {twice} came twice, {len(wrong)} are changed")
    for sample in (missing[:5], wrong[:5]):
        if sample:
            print(f"    as {sample}")
    return not missing and not twice and not wrong


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("crossdock")
    arguments.add_argument("--messages", type=int, default=MESSAGES)
    options = arguments.parse_args()
    with brokers.folder() as folder:
        ours = brokers.crossdock(str(Path(options.crossdock).resolve()), folder)
        theirs = None
        try:
            ours.wait()
            theirs = brokers.rabbitmq(
                folder, plugins=["rabbitmq_shovel", "rabbitmq_federation"], more=lambda port: parameters(port, ours.port)
            )
            theirs.wait()
            for port, queues in ((theirs.port, ("out", "home", "garden")), (ours.port, ("shovelled",))):
                connection, there = channel(port)
                for queue in queues:
                    there.queue_declare(queue, durable=True)
                if port == theirs.port:
                    there.exchange_declare("plants", "topic", durable=True)
                    there.queue_bind("garden", "plants", "plant.#")
                    # The link asks for what is bound here.
                    there.queue_declare("trials", durable=True)
                    there.queue_bind("trials", "plants", TRIAL)
                connection.close()
            publish(theirs.port, "", ((number, "out") for number in range(options.messages)))
            good = check("shovelled there and back", options.messages, arrived(theirs.port, "home", options.messages))
            wait_for_link(ours.port)
            publish(ours.port, "plants", ((number, f"plant.{number}") for number in range(FEDERATED)))
            good &= check("federated", FEDERATED, arrived(theirs.port, "garden", FEDERATED))
        finally:
            for broker in (theirs, ours):
                if broker:
                    broker.stop()
    return 0 if good else 1


def wait_for_link(port):
    """Until the link has bound what it reads: a mandatory message has somewhere to go then."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        connection, there = channel(port)
        try:
            there.exchange_declare("plants", "topic", durable=True, passive=True)
            there.confirm_delivery()
            there.basic_publish("plants", TRIAL, b"", mandatory=True)
            return
        except (pika.exceptions.UnroutableError, pika.exceptions.AMQPError):
            time.sleep(0.5)
        finally:
            if connection.is_open:
                connection.close()
    sys.exit("RabbitMQ's federation has not bound a queue to exchange 'plants' of Crossdock")


if __name__ == "__main__":
    sys.exit(main())
