// STOMP heart-beats: both sides send them, and an idle connection stays open.

import assert from "node:assert/strict";
import { sleep, stomp, unique } from "../hub.mjs";

let beats = 0;
let lost = false;
const client = await stomp("1.2", {
  heartbeatIncoming: 400,
  heartbeatOutgoing: 400,
  onHeartbeatReceived: () => (beats += 1),
  onHeartbeatLost: () => (lost = true),
});
const topic = `/topic/${unique("quiet")}`;
const inbox = await client.listen(topic);
await sleep(2_200);
assert.ok(client.connected);
assert.ok(!lost);
assert.ok(beats >= 2, `${beats} heart-beats`);
await client.sendConfirmed(topic, "still here");
assert.equal((await inbox.next()).body, "still here");
await client.deactivate();

console.log(`${beats} heart-beats in 2.2 s of silence`);
