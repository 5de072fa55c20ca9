// amqplib: confirms, returns, prefetch, errors of channels, dead letters, RPC by direct reply-to.

import amqplib from "amqplib"
import { RUN, check, directReplyTo, done, until, url } from "./_broker.mjs"

const name = `amqplib-${RUN}`
const connection = await amqplib.connect(url(), { clientProperties: { connection_name: name } })
const channel = await connection.createConfirmChannel()
await channel.assertQueue(`${name}-dead`, { autoDelete: true })
await channel.assertQueue(name, { durable: true, maxPriority: 5, deadLetterExchange: "", deadLetterRoutingKey: `${name}-dead` })
const returned = []
channel.on("return", (message) => returned.push([message.fields.replyCode, message.content.toString()]))
for (const priority of [1, 5, 3]) {
  channel.sendToQueue(name, Buffer.from(`${priority}`), { priority, persistent: true, headers: { deep: { list: [1, null, "x"] } } })
}
channel.sendToQueue(`${name}-missing`, Buffer.from("nobody"), { mandatory: true })
await channel.waitForConfirms()
check("the unroutable one came back", returned, [[312, "nobody"]])

const got = []
await channel.prefetch(1)
const { consumerTag } = await channel.consume(name, (message) => {
  got.push([message.content.toString(), message.fields.redelivered, message.properties.headers.deep])
  if (got.length === 1) channel.nack(message, false, true)
  else if (got.length === 4) channel.reject(message, false)
  else channel.ack(message)
})
await until("four deliveries", () => got.length === 4)
const deep = { list: [1, null, "x"] }
check("by priority, the refused one again", got, [["5", false, deep], ["5", true, deep], ["3", false, deep], ["1", false, deep]])
await channel.cancel(consumerTag)
let dead
await until("a dead letter", async () => (dead = await channel.get(`${name}-dead`, { noAck: true })))
check("it says why", [dead.properties.headers["x-death"][0].reason, dead.properties.headers["x-death"][0].count], ["rejected", 1])

const other = await connection.createChannel()
const closed = new Promise((resolve) => other.on("error", resolve))
await other.checkQueue(`${name}-missing`).catch(() => {})
check("a missing queue closes the channel", (await closed).code, 404)

let cancelled = false
const second = await connection.createChannel()
await second.consume(name, (message) => (cancelled ||= message === null))
await channel.deleteQueue(name)
await until("a deleted queue cancels its consumer", () => cancelled)

if (await directReplyTo()) {
  await channel.assertQueue(`${name}-rpc`, { autoDelete: true })
  await channel.consume(`${name}-rpc`, (message) => {
    const { replyTo, correlationId } = message.properties
    channel.sendToQueue(replyTo, Buffer.from(message.content.toString().toUpperCase()), { correlationId })
    channel.ack(message)
  })
  const requester = await connection.createChannel()
  const answers = {}
  await requester.consume("amq.rabbitmq.reply-to", (m) => (answers[m.properties.correlationId] = m.content.toString()), { noAck: true })
  for (let n = 0; n < 20; n += 1) {
    requester.sendToQueue(`${name}-rpc`, Buffer.from(`q${n}`), { replyTo: "amq.rabbitmq.reply-to", correlationId: `${n}` })
  }
  await until("twenty answers", () => Object.keys(answers).length === 20)
  check("each its own", Object.entries(answers).every(([id, answer]) => answer === `Q${id}`))
}
await connection.close()
done()
