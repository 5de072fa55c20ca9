// MQTT 5 request and response: Response Topic, Correlation Data, User Properties.

import assert from "node:assert/strict";
import { mqtt, unique } from "../hub.mjs";

const service = unique("service");
const replies = unique("replies");

const responder = await mqtt();
responder.on("message", (_topic, payload, { properties }) => {
  responder.publish(properties.responseTopic, String(Number(payload) ** 2), {
    qos: 1,
    properties: { correlationData: properties.correlationData, userProperties: { "answered-by": "squares" } },
  });
});
await responder.subscribeAsync(service, { qos: 1 });

const requester = await mqtt();
await requester.subscribeAsync(replies, { qos: 1 });
for (let number = 1; number <= 5; number += 1) {
  await requester.publishAsync(service, String(number), {
    qos: 1,
    properties: {
      responseTopic: replies,
      correlationData: Buffer.from([0, number, 255]),
      contentType: "text/plain",
      userProperties: { hop: ["1", "2"] },
    },
  });
}
for (let n = 1; n <= 5; n += 1) {
  const { payload, packet } = await requester.inbox.next();
  const [zero, number, last] = packet.properties.correlationData;
  assert.deepEqual([zero, last], [0, 255]);
  assert.equal(Number(payload), number ** 2);
  assert.equal(packet.properties.userProperties["answered-by"], "squares");
}
await requester.endAsync();
await responder.endAsync();

console.log(`5 requests answered on ${replies}`);
