// RPC without a reply queue: direct reply-to, as clients of RabbitMQ use it.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { amqp, unique } from "../hub.mjs";

const queue = unique("direct-queue");
const pseudoQueue = "amq.rabbitmq.reply-to";

// The server answers every number with its square, wherever the request says.
const server = await amqp();
const work = await server.createChannel();
await work.assertQueue(queue, { durable: false, autoDelete: true });
await work.consume(queue, (request) => {
  const { replyTo, correlationId } = request.properties;
  assert(replyTo.startsWith(`${pseudoQueue}.`), replyTo);
  work.sendToQueue(replyTo, Buffer.from(String(Number(request.content) ** 2)), { correlationId });
  work.ack(request);
});

const client = await amqp();
const channel = await client.createChannel();
const waiting = new Map();
await channel.consume(
  pseudoQueue,
  (reply) => {
    waiting.get(reply.properties.correlationId)(Number(reply.content));
    waiting.delete(reply.properties.correlationId);
  },
  { noAck: true },
);

function square(number) {
  return new Promise((resolve) => {
    const correlationId = randomUUID();
    waiting.set(correlationId, resolve);
    channel.sendToQueue(queue, Buffer.from(String(number)), { correlationId, replyTo: pseudoQueue });
  });
}

const numbers = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10];
const answers = await Promise.all(numbers.map(square));
assert.deepEqual(answers, numbers.map((number) => number ** 2));
await client.close();
await server.close();

console.log(`${answers.length} requests answered without a reply queue`);
