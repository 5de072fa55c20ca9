// amqp-connection-manager: set-up again after the network broke, publishes that wait for the connection.

import amqp from "amqp-connection-manager"
import { RUN, check, done, relay, until, url } from "./_broker.mjs"

const name = `manager-${RUN}`
const line = await relay()
const connection = amqp.connect([url(line.port)], { heartbeatIntervalInSeconds: 2, reconnectTimeInSeconds: 0.2 })
let connects = 0
let breaks = 0
connection.on("connect", () => (connects += 1))
connection.on("disconnect", () => (breaks += 1))
const got = []
const channel = connection.createChannel({
  json: true,
  setup: async (ch) => {
    await ch.assertQueue(name, { durable: true })
    await ch.prefetch(10)
    await ch.consume(name, (message) => {
      got.push(JSON.parse(message.content.toString()).n)
      ch.ack(message)
    })
  },
})
await channel.waitForConnect()
for (let n = 0; n < 10; n += 1) await channel.sendToQueue(name, { n }, { persistent: true })
await until("ten messages", () => got.length === 10)
line.cut()
await until("the break is seen", () => breaks === 1)
// They wait for the new connection.
await Promise.all(Array.from({ length: 10 }, (_, n) => channel.sendToQueue(name, { n: 10 + n })))
await until("ten more after the break", () => new Set(got).size === 20)
check("it was broken and is whole", [connects >= 2, breaks >= 1], [true, true])
await channel.deleteQueue(name)
await channel.close()
await connection.close()
line.close()
done()
