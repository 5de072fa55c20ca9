// MQTT wills: messages that the broker publishes for a client that disconnects without DISCONNECT.

import assert from "node:assert/strict";
import { mqtt, unique } from "../hub.mjs";

for (const version of [4, 5]) {
  const topic = unique("status");
  const watcher = await mqtt(version);
  await watcher.subscribeAsync(topic, { qos: 1 });

  const lost = await mqtt(version, { will: { topic, payload: Buffer.from("lost"), qos: 1, retain: false } });
  lost.stream.destroy();
  const message = await watcher.inbox.next();
  assert.equal(message.payload.toString(), "lost");
  assert.equal(message.packet.qos, 1);

  const polite = await mqtt(version, { will: { topic, payload: Buffer.from("lost"), qos: 1, retain: false } });
  await polite.endAsync();
  await watcher.publishAsync(topic, "marker", { qos: 1 });
  assert.equal((await watcher.inbox.next()).payload.toString(), "marker", "no will after DISCONNECT");
  await watcher.endAsync();
}

console.log("wills sent after a lost connection, not after DISCONNECT, with MQTT 3.1.1 and 5");
