// Topics: `*` stands for one word, `#` for any number of words; a queue gets a message once however many keys match.

import assert from "node:assert/strict";
import { amqp, consume, unique } from "../hub.mjs";

const exchange = unique("topic-logs");
const sent = ["europe.rotterdam.crane", "europe.rotterdam.alarm", "asia.busan.alarm", "europe", "alarm", "asia.busan.dock.7.crane"];
const cases = [
  { keys: ["*.rotterdam.*"], expected: ["europe.rotterdam.crane", "europe.rotterdam.alarm"] },
  { keys: ["europe.#"], expected: ["europe.rotterdam.crane", "europe.rotterdam.alarm", "europe"] },
  { keys: ["#.alarm"], expected: ["europe.rotterdam.alarm", "asia.busan.alarm", "alarm"] },
  { keys: ["europe.*.alarm", "#"], expected: sent },
];

const connection = await amqp();
const channel = await connection.createChannel();
await channel.assertExchange(exchange, "topic", { durable: false });
for (const one of cases) {
  const { queue } = await channel.assertQueue("", { exclusive: true });
  for (const key of one.keys) await channel.bindQueue(queue, exchange, key);
  one.inbox = await consume(channel, queue, { noAck: true });
}
for (const key of sent) channel.publish(exchange, key, Buffer.from(key));
for (const { keys, expected, inbox } of cases) {
  const received = (await inbox.take(expected.length)).map((message) => message.fields.routingKey);
  assert.deepEqual(received, expected, keys.join(" "));
}
await channel.deleteExchange(exchange);
for (const { inbox } of cases) await inbox.noneFor(50);
await connection.close();

console.log(`${sent.length} keys matched ${cases.length} sets of bindings as they should`);
