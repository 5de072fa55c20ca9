"""RPC without a reply queue: direct reply-to, as clients of RabbitMQ use it."""

import sys
import uuid
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))
import pika
from hub import amqp, done, take, unique

PSEUDO_QUEUE = "amq.rabbitmq.reply-to"
queue = unique("direct-queue")

with amqp() as client, amqp() as server:
    asking, work = client.channel(), server.channel()
    work.queue_declare(queue, auto_delete=True)
    answers = {}
    asking.basic_consume(
        PSEUDO_QUEUE,
        lambda _channel, _method, properties, body: answers.update({properties.correlation_id: int(body)}),
        auto_ack=True,
    )
    expected = {}
    for number in range(1, 6):
        correlation_id = str(uuid.uuid4())
        expected[correlation_id] = number**2
        properties = pika.BasicProperties(reply_to=PSEUDO_QUEUE, correlation_id=correlation_id)
        asking.basic_publish("", queue, str(number), properties)

    for _, request, body in take(work, queue, 5):
        address = request.reply_to
        assert address.startswith(PSEUDO_QUEUE + "."), address
        # Whoever is going to work long can ask first whether somebody still waits.
        work.queue_declare(address, passive=True)
        reply = pika.BasicProperties(correlation_id=request.correlation_id)
        work.basic_publish("", address, str(int(body) ** 2), reply)
    while len(answers) < 5:
        client.process_data_events(time_limit=1)
    assert answers == expected, (answers, expected)

    # The address ends with its channel, and an answer that nobody waits for comes back.
    asking.close()
    work.confirm_delivery()
    try:
        work.basic_publish("", address, "late", mandatory=True)
        raise AssertionError("nobody should have been there")
    except pika.exceptions.UnroutableError as error:
        assert error.messages[0].method.reply_code == 312

done(f"{len(answers)} requests answered without a reply queue")
