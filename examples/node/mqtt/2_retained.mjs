// MQTT retained messages: the last value of a topic, sent to clients that subscribe later.

import assert from "node:assert/strict";
import { mqtt, unique } from "../hub.mjs";

for (const version of [4, 5]) {
  const root = unique("valve");
  const publisher = await mqtt(version);
  for (const state of ["opening", "open"]) {
    await publisher.publishAsync(`${root}/1/state`, state, { qos: 1, retain: true });
  }
  await publisher.publishAsync(`${root}/2/state`, "closed", { qos: 1, retain: true });

  const late = await mqtt(version);
  await late.subscribeAsync(`${root}/#`, { qos: 1 });
  const messages = await late.inbox.take(2);
  const values = Object.fromEntries(messages.map(({ topic, payload }) => [topic, payload.toString()]));
  assert.deepEqual(values, { [`${root}/1/state`]: "open", [`${root}/2/state`]: "closed" });
  assert.ok(messages.every(({ packet }) => packet.retain));

  for (const number of [1, 2]) await publisher.publishAsync(`${root}/${number}/state`, "", { qos: 1, retain: true });
  const last = await mqtt(version);
  await last.subscribeAsync(`${root}/#`, { qos: 1 });
  await publisher.publishAsync(`${root}/marker`, "not retained", { qos: 1 });
  assert.equal((await last.inbox.next()).topic, `${root}/marker`, "a cleared value does not come back");
  for (const client of [publisher, late, last]) await client.endAsync();
}

console.log("last values kept, found by wildcard and cleared, with MQTT 3.1.1 and 5");
