// Routing: a direct exchange, several binding keys per queue, and mandatory messages that come back.

import assert from "node:assert/strict";
import { once } from "node:events";
import { amqp, consume, unique } from "../hub.mjs";

const exchange = unique("direct-logs");

const connection = await amqp();
const channel = await connection.createConfirmChannel();
await channel.assertExchange(exchange, "direct", { durable: false });
const { queue: pager } = await channel.assertQueue("", { exclusive: true });
const { queue: archive } = await channel.assertQueue("", { exclusive: true });
await channel.bindQueue(pager, exchange, "error");
for (const severity of ["info", "warning", "error"]) await channel.bindQueue(archive, exchange, severity);

for (const severity of ["info", "error", "warning", "error"]) {
  channel.publish(exchange, severity, Buffer.from(`${severity} line`), { mandatory: true });
}
const returned = once(channel, "return");
channel.publish(exchange, "debug", Buffer.from("debug line"), { mandatory: true });
const [message] = await returned;
assert.equal(message.fields.replyCode, 312);
assert.equal(message.content.toString(), "debug line");
await channel.waitForConfirms();

const keys = async (queue, count) => {
  const inbox = await consume(channel, queue, { noAck: true });
  const received = (await inbox.take(count)).map((delivery) => delivery.fields.routingKey);
  await channel.cancel(inbox.tag);
  return received;
};
assert.deepEqual(await keys(pager, 2), ["error", "error"]);
assert.deepEqual(await keys(archive, 4), ["info", "error", "warning", "error"]);

await channel.unbindQueue(pager, exchange, "error");
channel.publish(exchange, "error", Buffer.from("archive only"));
assert.equal((await keys(archive, 1))[0], "error");
assert.equal(await channel.get(pager), false);
await channel.deleteExchange(exchange);
await connection.close();

console.log("pager got 2, archive got 4, 'debug' came back with 312");
