"""Request and reply across protocols: an MQTT 5 requester, answered by an AMQP server and by a STOMP service.

The requester's Correlation Data is sixteen arbitrary bytes, which neither AMQP's nor STOMP's correlation id can hold
as they are; the responders copy what they see, and the requester gets its own bytes back.
"""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))
import secrets
import threading

import pika
from hub import Stomp, amqp, bye, done, mqtt, publish, subscribe, unique

service, replies = unique("service"), unique("replies")

# The AMQP server of the RPC tutorial, except that its queue is bound to the topic exchange.
server = amqp()
channel = server.channel()
queue = channel.queue_declare("", exclusive=True).method.queue
channel.queue_bind(queue, "amq.topic", f"{service}.square")


def answer_with_amqp(channel, method, request, body):
    reply = pika.BasicProperties(correlation_id=request.correlation_id)
    channel.basic_publish("", request.reply_to, str(int(body) ** 2), reply)
    channel.basic_ack(method.delivery_tag)


channel.basic_consume(queue, answer_with_amqp)
amqp_thread = threading.Thread(target=channel.start_consuming, daemon=True)
amqp_thread.start()

clerk = Stomp()
clerk.subscribe(f"/topic/{service}.double")


def answer_with_stomp():
    for _ in range(3):
        request = clerk.inbox.next()
        correlation = {"correlation-id": request.headers["correlation-id"]}
        clerk.send(request.headers["reply-to"], str(int(request.body) * 2), correlation)


stomp_thread = threading.Thread(target=answer_with_stomp, daemon=True)
stomp_thread.start()

requester = mqtt(5)
subscribe(requester, replies, 1)
expected = {}
for number in (1, 2, 3):
    for operation, result in (("square", number**2), ("double", number * 2)):
        correlation = secrets.token_bytes(15) + b"\x00"
        expected[correlation] = result
        publish(
            requester, f"{service}/{operation}", str(number), 1, ResponseTopic=replies, CorrelationData=correlation
        )
answers = {reply.properties.CorrelationData: int(reply.payload) for reply in requester.inbox.take(6)}
assert answers == expected, (answers, expected)

stomp_thread.join()
clerk.close()
server.add_callback_threadsafe(channel.stop_consuming)
amqp_thread.join()
server.close()
bye(requester)
done("3 MQTT requests answered by an AMQP server, 3 by a STOMP service")
