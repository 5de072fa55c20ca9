// rabbitmq-client: its consumers and publishers with topology of their own, retries, RPC client (which is direct reply-to).

import { Connection, ConsumerStatus } from "rabbitmq-client"
import { RUN, check, directReplyTo, done, relay, until, url } from "./_broker.mjs"

const name = `rc-${RUN}`
const line = await relay()
const rabbit = new Connection({ url: url(line.port), retryLow: 100, retryHigh: 500 })
rabbit.on("error", () => {})
await rabbit.onConnect()
const got = []
const consumer = rabbit.createConsumer(
  {
    queue: name,
    queueOptions: { autoDelete: true },
    qos: { prefetchCount: 2 },
    exchanges: [{ exchange: `${name}-x`, type: "topic", autoDelete: true }],
    queueBindings: [{ exchange: `${name}-x`, routingKey: "a.*" }],
    concurrency: 2,
  },
  async (message) => {
    got.push([message.body.n, message.redelivered])
    if (message.body.n === 3 && !message.redelivered) return ConsumerStatus.REQUEUE
    return ConsumerStatus.ACK
  },
)
consumer.on("error", () => {})
await new Promise((resolve) => consumer.once("ready", resolve))
const publisher = rabbit.createPublisher({ confirm: true, maxAttempts: 3 })
for (let n = 0; n < 5; n += 1) await publisher.send({ exchange: `${name}-x`, routingKey: "a.b", headers: { n } }, { n })
await until("five messages and one again", () => got.length === 6)
check("the refused one came again", got.filter(([n]) => n === 3), [[3, false], [3, true]])
let returned
publisher.on("basic.return", (message) => (returned = message.replyCode))
await publisher.send({ exchange: `${name}-x`, routingKey: "nobody", mandatory: true }, "x")
await until("a return", () => returned === 312)
line.cut()
await publisher.send({ exchange: `${name}-x`, routingKey: "a.c" }, { n: 99 }).catch(() => {})
await until("the consumer is there again", async () => {
  if (got.some(([n]) => n === 100)) return true
  await publisher.send({ exchange: `${name}-x`, routingKey: "a.c", mandatory: false }, { n: 100 }).catch(() => {})
  return false
})
if (await directReplyTo()) {
  const server = rabbit.createConsumer({ queue: `${name}-rpc`, queueOptions: { autoDelete: true } }, async (message, reply) => {
    await reply(`hello ${message.body}`)
  })
  await new Promise((resolve) => server.once("ready", resolve))
  const client = rabbit.createRPCClient({ confirm: true })
  const answers = await Promise.all(["a", "b", "c"].map((word) => client.send(`${name}-rpc`, word)))
  check("RPC", answers.map((answer) => answer.body), ["hello a", "hello b", "hello c"])
  await client.close()
  await server.close()
}
await consumer.close()
await publisher.close()
await rabbit.close()
line.close()
done()
