"""Topics: `*` stands for one word, `#` for any number of words; a queue gets a message once however many keys match."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))
from hub import amqp, done, take, unique

exchange = unique("topic-logs")
bindings = {
    "one city": ["*.rotterdam.*"],
    "everything in Europe": ["europe.#"],
    "alarms": ["#.alarm"],
    "twice the same": ["europe.*.alarm", "#"],
}
sent = ["europe.rotterdam.crane", "europe.rotterdam.alarm", "asia.busan.alarm", "europe", "alarm", "asia.busan.dock.7.crane"]
expected = {
    "one city": ["europe.rotterdam.crane", "europe.rotterdam.alarm"],
    "everything in Europe": ["europe.rotterdam.crane", "europe.rotterdam.alarm", "europe"],
    "alarms": ["europe.rotterdam.alarm", "asia.busan.alarm", "alarm"],
    "twice the same": sent,
}

with amqp() as connection:
    channel = connection.channel()
    channel.exchange_declare(exchange, "topic")
    queues = {}
    for name, keys in bindings.items():
        queues[name] = channel.queue_declare("", exclusive=True).method.queue
        for key in keys:
            channel.queue_bind(queues[name], exchange, key)
    for key in sent:
        channel.basic_publish(exchange, key, key)
    for name, keys in expected.items():
        received = [method.routing_key for method, _, _ in take(channel, queues[name], len(keys))]
        assert received == keys, (name, received)
        assert channel.queue_declare(queues[name], passive=True).method.message_count == 0, name
    channel.exchange_delete(exchange)

done(f"{len(sent)} keys matched {len(queues)} sets of bindings as they should")
