// Publish/subscribe: a fanout exchange and one exclusive, server-named queue per subscriber.

import assert from "node:assert/strict";
import { amqp, consume, unique } from "../hub.mjs";

const exchange = unique("logs");
const lines = ["engine started", "engine stopped"];

async function subscriber() {
  const connection = await amqp();
  const channel = await connection.createChannel();
  await channel.assertExchange(exchange, "fanout", { durable: false, autoDelete: true });
  const { queue } = await channel.assertQueue("", { exclusive: true });
  await channel.bindQueue(queue, exchange, "");
  return { connection, queue, inbox: await consume(channel, queue, { noAck: true }) };
}

const publisher = await amqp();
const channel = await publisher.createChannel();
await channel.assertExchange(exchange, "fanout", { durable: false, autoDelete: true });
channel.publish(exchange, "", Buffer.from("nobody listens yet"));
const subscribers = [await subscriber(), await subscriber()];
assert.notEqual(subscribers[0].queue, subscribers[1].queue, "the server names every queue differently");
for (const line of lines) channel.publish(exchange, "ignored by a fanout exchange", Buffer.from(line));

for (const { connection, inbox } of subscribers) {
  const received = (await inbox.take(lines.length)).map((message) => message.content.toString());
  assert.deepEqual(received, lines);
  await connection.close();
}
await publisher.close();

console.log(`both subscribers of ${exchange} received ${lines.length} lines`);
