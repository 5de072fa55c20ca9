// Hello world: one message through one queue.

import assert from "node:assert/strict";
import { amqp, consume, unique } from "../hub.mjs";

const queue = unique("hello");

const sender = await amqp();
const outgoing = await sender.createChannel();
await outgoing.assertQueue(queue, { durable: false });
outgoing.sendToQueue(queue, Buffer.from("Hello, harbour!"));
await outgoing.close();
await sender.close();

const receiver = await amqp();
const channel = await receiver.createChannel();
assert.equal((await channel.checkQueue(queue)).messageCount, 1);
const inbox = await consume(channel, queue, { noAck: true });
const message = await inbox.next();
assert.equal(message.content.toString(), "Hello, harbour!");
await channel.deleteQueue(queue);
await receiver.close();

console.log(`received '${message.content}' from queue ${queue}`);
