// MQTT 3.1.1 and 5: the three qualities of service, wildcards, and payloads of any bytes.

import assert from "node:assert/strict";
import { mqtt, unique } from "../hub.mjs";

let received = 0;
for (const version of [4, 5]) { // MQTT.js calls 3.1.1 by its protocol level, 4
  const root = unique("plant");
  const publisher = await mqtt(version);
  const subscriber = await mqtt(version);
  const atMostOnce = await mqtt(version);
  assert.equal((await subscriber.subscribeAsync(`${root}/+/temp`, { qos: 2 }))[0].qos, 2);
  assert.equal((await atMostOnce.subscribeAsync(`${root}/#`, { qos: 0 }))[0].qos, 0);

  const payloads = [Buffer.from("28.5"), Buffer.alloc(0), Buffer.from([0, 255, 0]), Buffer.alloc(100_000, "x")];
  const sent = [0, 1, 2].flatMap((qos) => payloads.map((payload) => ({ qos, payload })));
  for (const { qos, payload } of sent) await publisher.publishAsync(`${root}/oven/temp`, payload, { qos });
  await publisher.publishAsync(`${root}/oven/door/temp`, "two levels are not one", { qos: 1 });

  const messages = await subscriber.inbox.take(sent.length);
  assert.deepEqual(messages.map(({ payload, packet }) => ({ qos: packet.qos, payload })), sent);
  assert.ok(messages.every(({ packet }) => !packet.retain && !packet.dup));
  await subscriber.inbox.noneFor(200);

  const lowered = await atMostOnce.inbox.take(sent.length + 1);
  assert.ok(lowered.every(({ packet }) => packet.qos === 0), "a subscription lowers the quality to its own");
  received += messages.length + lowered.length;
  for (const client of [publisher, subscriber, atMostOnce]) await client.endAsync();
}

console.log(`${received} messages at QoS 0, 1 and 2 with MQTT 3.1.1 and 5`);
