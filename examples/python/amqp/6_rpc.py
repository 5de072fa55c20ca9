"""RPC: requests through a queue, replies through an exclusive queue, matched by correlation id."""

import sys
import threading
import uuid
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))
import pika
from hub import TIMEOUT, amqp, done, unique

queue = unique("rpc-queue")


class Squares:
    """The server: answers every number with its square, in a thread of its own."""

    def __init__(self):
        self.connection = amqp()
        self.channel = self.connection.channel()
        self.channel.queue_declare(queue, auto_delete=True)
        self.channel.basic_qos(prefetch_count=1)
        self.channel.basic_consume(queue, self.answer)
        self.thread = threading.Thread(target=self.channel.start_consuming, daemon=True)
        self.thread.start()

    def answer(self, channel, method, request, body):
        reply = pika.BasicProperties(correlation_id=request.correlation_id)
        channel.basic_publish("", request.reply_to, str(int(body) ** 2), reply)
        channel.basic_ack(method.delivery_tag)

    def stop(self):
        self.connection.add_callback_threadsafe(self.channel.stop_consuming)
        self.thread.join(TIMEOUT)
        self.connection.close()


class Client:
    def __init__(self):
        self.connection = amqp()
        self.channel = self.connection.channel()
        self.replies = {}
        self.reply_queue = self.channel.queue_declare("", exclusive=True).method.queue
        self.channel.basic_consume(self.reply_queue, self.on_reply, auto_ack=True)

    def on_reply(self, _channel, _method, properties, body):
        self.replies[properties.correlation_id] = int(body)

    def request(self, number):
        correlation_id = str(uuid.uuid4())
        properties = pika.BasicProperties(reply_to=self.reply_queue, correlation_id=correlation_id)
        self.channel.basic_publish("", queue, str(number), properties)
        return correlation_id

    def result(self, correlation_id):
        while correlation_id not in self.replies:
            self.connection.process_data_events(time_limit=1)
        return self.replies.pop(correlation_id)


server, client = Squares(), Client()
asked = {client.request(number): number for number in range(1, 11)}
answers = {number: client.result(correlation_id) for correlation_id, number in asked.items()}
assert answers == {number: number**2 for number in range(1, 11)}, answers
client.connection.close()
server.stop()
done(f"{len(answers)} requests answered through {queue}")
