// MQTT persistent sessions: subscriptions and QoS 1 and 2 messages wait for a client that is away.

import assert from "node:assert/strict";
import { mqtt, unique } from "../hub.mjs";

for (const version of [4, 5]) {
  const topic = unique("orders");
  const kept = { clientId: unique("kiosk"), clean: false };
  if (version === 5) kept.properties = { sessionExpiryInterval: 300 };

  let kiosk = await mqtt(version, kept);
  assert.equal(kiosk.sessionPresent, false);
  await kiosk.subscribeAsync(topic, { qos: 2 });
  await kiosk.endAsync();

  const shop = await mqtt(version);
  for (let number = 0; number < 10; number += 1) await shop.publishAsync(topic, String(number), { qos: 1 + (number % 2) });

  kiosk = await mqtt(version, kept);
  assert.equal(kiosk.sessionPresent, true, "the broker remembers the session");
  const messages = await kiosk.inbox.take(10);
  // QoS 2 messages are handed to the program after their handshake, so QoS 1 messages may overtake them.
  const numbers = (qos) => messages.filter(({ packet }) => packet.qos === qos).map(({ payload }) => Number(payload));
  assert.deepEqual(numbers(1), [0, 2, 4, 6, 8]);
  assert.deepEqual(numbers(2), [1, 3, 5, 7, 9]);
  await kiosk.endAsync();

  kiosk = await mqtt(version, { clientId: kept.clientId, clean: true }); // a clean start ends the old session
  assert.equal(kiosk.sessionPresent, false);
  await shop.publishAsync(topic, "nobody subscribes any more", { qos: 1 });
  await kiosk.inbox.noneFor(300);
  await kiosk.endAsync();
  await shop.endAsync();
}

console.log("10 messages waited for a client that was away, with MQTT 3.1.1 and 5");
