"""STOMP topics: every subscriber gets a copy, `*` stands for one word and `#` for any number of words."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))
from hub import Stomp, done, unique

root = unique("news")
publisher, everything, sports = Stomp(), Stomp("1.1"), Stomp()
everything.subscribe(f"/topic/{root}.#", "all")
sports.subscribe(f"/topic/{root}.*.sports", "s1")
sports.subscribe(f"/topic/{root}.local.#", "s2")

sent = ["local.sports", "world.sports", "world.politics", "local.weather.today"]
for topic in sent:
    publisher.send(f"/topic/{root}.{topic}", topic)

received = everything.inbox.take(len(sent))
assert [frame.body for frame in received] == sent
assert [frame.headers["destination"] for frame in received] == [f"/topic/{root}.{topic}" for topic in sent]
assert {frame.headers["subscription"] for frame in received} == {"all"}

pairs = sorted((frame.headers["subscription"], frame.body) for frame in sports.inbox.take(4))
assert pairs == [("s1", "local.sports"), ("s1", "world.sports"), ("s2", "local.sports"), ("s2", "local.weather.today")], pairs

sports.confirmed(sports.connection.unsubscribe, "s1")
publisher.send(f"/topic/{root}.world.sports", "later")
assert everything.inbox.next().body == "later"
sports.inbox.none_for(0.2)
for client in (publisher, everything, sports):
    client.close()

done(f"{len(sent)} messages under /topic/{root} to subscribers with wildcards")
