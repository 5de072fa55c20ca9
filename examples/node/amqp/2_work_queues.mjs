// Work queues: durable queue, persistent messages, prefetch 1, acknowledgement after the work.
//
// Two workers share a queue. With prefetch 1 each holds one task at a time; the first one dies with its task
// unfinished, and that task comes back, marked as redelivered.

import assert from "node:assert/strict";
import { amqp, consume, unique } from "../hub.mjs";

const queue = unique("task-queue");
const tasks = [0, 1, 2, 3, 4, 5].map((n) => `task ${n}`);

const boss = await amqp();
const orders = await boss.createChannel();
await orders.assertQueue(queue, { durable: true });
for (const task of tasks) orders.sendToQueue(queue, Buffer.from(task), { persistent: true });
await orders.close();
await boss.close();

async function worker() {
  const connection = await amqp();
  const channel = await connection.createChannel();
  await channel.prefetch(1);
  return { connection, channel, inbox: await consume(channel, queue) };
}

const first = await worker();
assert.equal((await first.inbox.next()).content.toString(), "task 0");
await first.inbox.noneFor(300); // prefetch 1 means one task at a time

const second = await worker();
await first.connection.close(); // its task was never acknowledged
const finished = [];
const redelivered = [];
while (finished.length < tasks.length) {
  const task = await second.inbox.next();
  finished.push(task.content.toString());
  if (task.fields.redelivered) redelivered.push(task.content.toString());
  second.channel.ack(task);
}
assert.deepEqual([...finished].sort(), tasks);
assert.deepEqual(redelivered, ["task 0"]);
await second.channel.deleteQueue(queue);
await second.connection.close();

console.log(`${finished.length} tasks done, '${redelivered[0]}' by the second worker after the first one died`);
