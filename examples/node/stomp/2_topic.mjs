// STOMP topics: every subscriber gets a copy, `*` stands for one word and `#` for any number of words.

import assert from "node:assert/strict";
import { stomp, unique } from "../hub.mjs";

const root = unique("news");
const publisher = await stomp();
const reader = await stomp();
const everything = await reader.listen(`/topic/${root}.#`);
const sports = await reader.listen(`/topic/${root}.*.sports`);

const sent = ["local.sports", "world.sports", "world.politics", "local.weather.today"];
for (const topic of sent) await publisher.sendConfirmed(`/topic/${root}.${topic}`, topic);

assert.deepEqual((await everything.take(4)).map((frame) => frame.body), sent);
assert.deepEqual((await sports.take(2)).map((frame) => frame.headers.destination), [
  `/topic/${root}.local.sports`,
  `/topic/${root}.world.sports`,
]);

await reader.confirmed((receipt) => sports.subscription.unsubscribe({ receipt }));
await publisher.sendConfirmed(`/topic/${root}.world.sports`, "later");
assert.equal((await everything.next()).body, "later");
await sports.noneFor(200);
await publisher.deactivate();
await reader.deactivate();

console.log(`${sent.length} messages under /topic/${root} to subscriptions with wildcards`);
