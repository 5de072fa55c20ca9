// STOMP queues: receipts, headers that need escaping, any bytes in the body; in STOMP 1.0, 1.1 and 1.2.

import assert from "node:assert/strict";
import { deleteQueues, stomp, unique } from "../hub.mjs";

for (const version of ["1.0", "1.1", "1.2"]) {
  const queue = unique("parcels");
  const destination = `/queue/${queue}`;
  const client = await stomp(version);
  assert.equal(client.connectedVersion, version);
  // The receipt shows that the broker has the message, so it can be sent before there is a consumer.
  await client.sendConfirmed(destination, "größer als ein Wort", { "content-type": "text/plain;charset=utf-8" });
  const note = version === "1.2" ? "a:b\nc" : "plain"; // stompjs escapes in 1.2 only
  await client.sendConfirmed(destination, Buffer.from([0, 255, 10, 0]), { note, persistent: "true" });

  const inbox = await client.listen(destination);
  const [text, bytes] = await inbox.take(2);
  assert.equal(text.body, "größer als ein Wort");
  assert.equal(text.headers["content-type"], "text/plain;charset=utf-8");
  assert.equal(text.headers.destination, destination);
  assert.deepEqual([...bytes.binaryBody], [0, 255, 10, 0]);
  assert.equal(bytes.headers.note, note);
  assert.notEqual(text.headers["message-id"], bytes.headers["message-id"]);
  await client.deactivate();
  await deleteQueues(queue);
}

console.log("text and bytes through a queue with STOMP 1.0, 1.1 and 1.2");
