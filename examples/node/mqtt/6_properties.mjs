// MQTT 5: properties of messages, options of subscriptions, and a message that expires.

import assert from "node:assert/strict";
import { mqtt, sleep, unique } from "../hub.mjs";

const root = unique("weather");
const publisher = await mqtt();
const subscriber = await mqtt();
await subscriber.subscribeAsync(`${root}/#`, {
  qos: 1,
  nl: true,
  rap: true,
  properties: { subscriptionIdentifier: 42 },
});

const properties = {
  contentType: "application/json",
  payloadFormatIndicator: true,
  messageExpiryInterval: 60,
  userProperties: { unit: ["celsius", "kelvin"], place: "Zürich" },
};
await publisher.publishAsync(`${root}/temp`, '{"value": 28.5}', { qos: 1, retain: true, properties });
const { packet } = await subscriber.inbox.next();
assert.equal(packet.properties.contentType, "application/json");
assert.equal(packet.properties.payloadFormatIndicator, true);
assert.ok(packet.properties.messageExpiryInterval >= 58 && packet.properties.messageExpiryInterval <= 60);
assert.deepEqual({ ...packet.properties.userProperties }, properties.userProperties);
assert.equal(packet.properties.subscriptionIdentifier, 42);
assert.ok(packet.retain, "retain as published was asked for");
await publisher.publishAsync(`${root}/temp`, "", { qos: 1, retain: true });
assert.equal((await subscriber.inbox.next()).payload.length, 0);

await subscriber.publishAsync(`${root}/own`, "no local", { qos: 1 });
await publisher.publishAsync(`${root}/marker`, "", { qos: 1 });
assert.equal((await subscriber.inbox.next()).topic, `${root}/marker`, "no local: own messages do not come back");

const clientId = unique("sleeper");
let sleeper = await mqtt(5, { clientId, properties: { sessionExpiryInterval: 60 } });
await sleeper.subscribeAsync(`${root}/news`, { qos: 1 });
await sleeper.endAsync();
await publisher.publishAsync(`${root}/news`, "stale", { qos: 1, properties: { messageExpiryInterval: 1 } });
await publisher.publishAsync(`${root}/news`, "fresh", { qos: 1, properties: { messageExpiryInterval: 3600 } });
await sleep(2_200); // brokers may count whole seconds
sleeper = await mqtt(5, { clientId, clean: false, properties: { sessionExpiryInterval: 0 } });
assert.equal((await sleeper.inbox.next()).payload.toString(), "fresh", "an expired message is not delivered");
for (const client of [publisher, subscriber, sleeper]) await client.endAsync();

console.log("properties, subscription options and message expiry as MQTT 5 has them");
