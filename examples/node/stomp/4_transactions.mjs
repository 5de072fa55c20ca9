// STOMP transactions: SENDs and ACKs that take effect together, or not at all.

import assert from "node:assert/strict";
import { deleteQueues, stomp, unique } from "../hub.mjs";

const accounts = unique("accounts");
const audit = unique("audit");
const reader = await stomp();
const inbox = await reader.listen(`/queue/${accounts}`);
const bank = await stomp();

const transfer = bank.begin();
const inTransfer = { transaction: transfer.id };
bank.publish({ destination: `/queue/${accounts}`, body: "debit 10", headers: inTransfer });
bank.publish({ destination: `/queue/${accounts}`, body: "credit 10", headers: inTransfer });
await bank.sendConfirmed(`/queue/${accounts}`, "outside of the transaction");
assert.equal((await inbox.next()).body, "outside of the transaction", "what is not committed is not seen");
transfer.commit();
assert.deepEqual((await inbox.take(2)).map((frame) => frame.body), ["debit 10", "credit 10"]);

const mistake = bank.begin();
bank.publish({ destination: `/queue/${accounts}`, body: "never happened", headers: { transaction: mistake.id } });
mistake.abort();
await inbox.noneFor(200);
await reader.deactivate();

// One transaction acknowledges a message and sends its result.
await bank.sendConfirmed(`/queue/${accounts}`, "job");
const worker = await stomp();
const jobs = await worker.listen(`/queue/${accounts}`, { ack: "client-individual" });
const job = await jobs.next();
const work = worker.begin();
job.ack({ transaction: work.id });
worker.publish({ destination: `/queue/${audit}`, body: "job done", headers: { transaction: work.id } });
work.commit();
const checker = await stomp();
const results = await checker.listen(`/queue/${audit}`);
assert.equal((await results.next()).body, "job done");
await worker.deactivate();
const left = await checker.listen(`/queue/${accounts}`);
await left.noneFor(200);
await checker.deactivate();
await bank.deactivate();
await deleteQueues(accounts, audit);

console.log("one transaction committed, one aborted, and an ACK together with a SEND");
