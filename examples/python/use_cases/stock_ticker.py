"""Real-time stock prices: one feed, and subscribers that choose symbols; apps by MQTT, a dashboard by STOMP, analytics
by AMQP. New subscribers join while the feed runs, and the feed does not know any of them."""

import json
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))
from hub import Stomp, amqp, bye, done, mqtt, publish, subscribe, take, unique

root = unique("stock")


def quote(symbol, price):
    update = {"symbol": symbol, "price": price, "volume": 150000, "timestamp": "2025-07-30T17:32:00Z"}
    publish(feed, f"{root}/{symbol}", json.dumps(update), 1, ContentType="application/json")


feed = mqtt()
app = mqtt(3)
subscribe(app, f"{root}/AAPL", 1)
dashboard = Stomp()
dashboard.subscribe(f"/topic/{root}.*")

with amqp() as connection:
    channel = connection.channel()
    analytics = channel.queue_declare("", exclusive=True).method.queue
    channel.queue_bind(analytics, "amq.topic", f"{root}.#")

    quote("AAPL", 189.50)
    quote("MSFT", 335.25)
    latecomer = mqtt()
    subscribe(latecomer, f"{root}/+", 1)
    quote("AAPL", 189.75)

    prices = [json.loads(message.payload)["price"] for message in app.inbox.take(2)]
    assert prices == [189.50, 189.75], prices
    frames = dashboard.inbox.take(3)
    assert [json.loads(frame.body)["symbol"] for frame in frames] == ["AAPL", "MSFT", "AAPL"]
    assert {frame.headers["content-type"] for frame in frames} == {"application/json"}
    updates = [json.loads(body) for _, _, body in take(channel, analytics, 3)]
    assert [update["price"] for update in updates] == [189.50, 335.25, 189.75], updates
    assert json.loads(latecomer.inbox.next().payload)["price"] == 189.75
    app.inbox.none_for(0.1)

dashboard.close()
bye(feed, app, latecomer)
done("3 prices to a phone app (MQTT), a dashboard (STOMP), analytics (AMQP) and a latecomer (MQTT)")
