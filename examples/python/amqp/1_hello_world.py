"""Hello world: one message through one queue."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))
from hub import amqp, done, unique

queue = unique("hello")

with amqp() as sender:
    channel = sender.channel()
    channel.queue_declare(queue)
    channel.basic_publish(exchange="", routing_key=queue, body="Hello, harbour!")

received = []

with amqp() as receiver:
    channel = receiver.channel()
    assert channel.queue_declare(queue, passive=True).method.message_count == 1

    def on_message(channel, method, properties, body):
        received.append(body)
        channel.stop_consuming()

    channel.basic_consume(queue, on_message, auto_ack=True)
    channel.start_consuming()
    assert channel.queue_delete(queue).method.message_count == 0

assert received == [b"Hello, harbour!"], received
done(f"received {received[0].decode()!r} from queue {queue}")
