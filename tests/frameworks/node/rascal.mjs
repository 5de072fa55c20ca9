// Rascal: topology from a configuration, publications with confirms, subscriptions with its recovery strategies.

import Rascal from "rascal"
import { HOST, PORT, RUN, check, done, until } from "./_broker.mjs"

const x = `rascal-${RUN}`
const config = Rascal.withDefaultConfig({
  vhosts: {
    "/": {
      connection: { hostname: HOST, port: PORT, user: "guest", password: "guest", management: { url: "http://127.0.0.1:1" } },
      exchanges: { [`${x}-in`]: { type: "topic" }, [`${x}-dead`]: { type: "direct" }, [`${x}-delay`]: { type: "topic" } },
      queues: {
        [`${x}-q`]: { options: { arguments: { "x-dead-letter-exchange": `${x}-dead`, "x-dead-letter-routing-key": "dead" } } },
        [`${x}-dead-q`]: {},
        [`${x}-wait`]: { options: { arguments: { "x-message-ttl": 200, "x-dead-letter-exchange": `${x}-in` } } },
      },
      bindings: [`${x}-in[a.#] -> ${x}-q`, `${x}-dead[dead] -> ${x}-dead-q`, `${x}-delay[#] -> ${x}-wait`],
      publications: { in: { exchange: `${x}-in` }, delay: { exchange: `${x}-delay` } },
      subscriptions: { q: { queue: `${x}-q`, prefetch: 5 }, dead: { queue: `${x}-dead-q` } },
    },
  },
})
const broker = await Rascal.BrokerAsPromised.create(config)
broker.on("error", () => {})
const got = []
const dead = []
const subscription = await broker.subscribe("q")
subscription.on("message", (message, content, ackOrNack) => {
  got.push([content.n, message.fields.redelivered])
  if (content.n === 1) ackOrNack(new Error("no"))
  else if (content.n === 2 && got.filter(([n]) => n === 2).length < 3) {
    ackOrNack(new Error("again"), [{ strategy: "republish", defer: 50, attempts: 5 }, { strategy: "nack" }])
  } else if (content.n === 3 && !message.fields.redelivered) ackOrNack(new Error("back"), { strategy: "nack", requeue: true })
  else ackOrNack()
})
subscription.on("error", () => {})
const letters = await broker.subscribe("dead")
letters.on("message", (message, content, ackOrNack) => {
  dead.push([content.n, message.properties.headers["x-death"][0].reason])
  ackOrNack()
})
let confirmed = 0
for (let n = 0; n < 5; n += 1) {
  const publication = await broker.publish("in", { n }, "a.b")
  publication.on("success", () => (confirmed += 1))
}
await until("five confirms", () => confirmed === 5)
await until("a dead letter", () => dead.length === 1)
check("the one that was refused", dead, [[1, "rejected"]])
await until("republished twice", () => got.filter(([n]) => n === 2).length === 3)
await until("requeued once", () => got.filter(([n]) => n === 3).length === 2)
let returned
const lost = await broker.publish("in", { n: 9 }, { routingKey: "nobody", options: { mandatory: true } })
lost.on("return", (message) => (returned = message.fields.replyCode))
await until("a return", () => returned === 312)
await broker.publish("delay", { n: 7 }, "a.later")
await until("a message that waited", () => got.some(([n]) => n === 7))
await broker.nuke()
done()
