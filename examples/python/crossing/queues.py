"""One queue, three protocols: AMQP queue q, STOMP /queue/q, MQTT $q/q; each message goes to one consumer."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))
from hub import Stomp, amqp, bye, done, mqtt, publish, subscribe, take, unique

queue = unique("orders")
stomp, device = Stomp(), mqtt()

with amqp() as connection:
    channel = connection.channel()
    channel.queue_declare(queue, durable=True)

    # Into the queue with each protocol, out of it with AMQP.
    channel.basic_publish("", queue, "from AMQP")
    stomp.send(f"/queue/{queue}", "from STOMP")
    publish(device, f"$q/{queue}", "from MQTT", 1)
    bodies = sorted(body.decode() for _, _, body in take(channel, queue, 3))
    assert bodies == ["from AMQP", "from MQTT", "from STOMP"], bodies

    # Out of the queue with MQTT.
    subscribe(device, f"$q/{queue}", 1)
    channel.basic_publish("", queue, "for MQTT")
    message = device.inbox.next()
    assert message.payload == b"for MQTT"
    device.unsubscribe(f"$q/{queue}")
    bye(device)

    # Out of the queue with STOMP.
    stomp.subscribe(f"/queue/{queue}", ack="client-individual")
    channel.basic_publish("", queue, "for STOMP")
    frame = stomp.inbox.next()
    assert frame.body == "for STOMP"
    stomp.confirmed(stomp.connection.ack, frame.headers["ack"])

    # An AMQP and a STOMP consumer compete: every message reaches exactly one of them.
    rest = []
    channel.basic_consume(queue, lambda _ch, _method, _properties, body: rest.append(body.decode()), auto_ack=True)
    sent = [f"job {number}" for number in range(20)]
    for body in sent:
        channel.basic_publish("", queue, body)
    theirs = []
    while len(rest) + len(theirs) < len(sent):
        connection.process_data_events(time_limit=0.1)
        while not stomp.inbox.empty():
            frame = stomp.inbox.next()
            theirs.append(frame.body)
            stomp.connection.ack(frame.headers["ack"])
    assert sorted(rest + theirs) == sorted(sent)
    assert rest and theirs, (rest, theirs)
    stomp.close()
    assert channel.queue_delete(queue).method.message_count == 0

done(f"queue {queue} written and read with AMQP, STOMP and MQTT; {len(rest)} + {len(theirs)} jobs shared")
