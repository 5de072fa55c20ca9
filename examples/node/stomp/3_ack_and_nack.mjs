// STOMP acknowledgements: client-individual, client (cumulative), NACK, and a connection lost before the ACK.

import assert from "node:assert/strict";
import { deleteQueues, stomp, unique } from "../hub.mjs";

const queue = unique("jobs");
const destination = `/queue/${queue}`;
const boss = await stomp();
for (const body of ["one", "two", "three"]) await boss.sendConfirmed(destination, body);

// client-individual: each message is acknowledged on its own; NACK returns it to the queue.
let worker = await stomp();
let inbox = await worker.listen(destination, { ack: "client-individual" });
const [one, two, three] = await inbox.take(3);
assert.deepEqual([one.body, two.body, three.body], ["one", "two", "three"]);
three.ack();
two.nack();
const again = await inbox.next();
assert.equal(again.body, "two");
assert.equal(again.headers.redelivered, "true");
await worker.confirmed((receipt) => again.ack({ receipt }));
worker.hangUp(); // `one` was never acknowledged

// client: an ACK also acknowledges all earlier messages of the subscription.
worker = await stomp();
inbox = await worker.listen(destination, { ack: "client" });
const back = await inbox.next();
assert.equal(back.body, "one");
assert.equal(back.headers.redelivered, "true");
for (const body of ["four", "five", "six"]) await boss.sendConfirmed(destination, body);
const frames = [back, ...(await inbox.take(3))];
assert.deepEqual(frames.map((frame) => frame.body), ["one", "four", "five", "six"]);
await worker.confirmed((receipt) => frames[2].ack({ receipt }));
worker.hangUp();

worker = await stomp();
inbox = await worker.listen(destination, { ack: "client-individual" });
const six = await inbox.next();
assert.equal(six.body, "six");
await worker.confirmed((receipt) => six.ack({ receipt }));
await inbox.noneFor(200);
await worker.deactivate();
await boss.deactivate();
await deleteQueues(queue);

console.log("ACK, cumulative ACK, NACK and redelivery after a lost connection");
