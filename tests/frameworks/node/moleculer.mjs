// Moleculer: two nodes that find each other, calls with balancing, events to all and to groups.

import { ServiceBroker } from "moleculer"
import { RUN, check, done, until, url } from "./_broker.mjs"

const events = []
const options = { namespace: RUN, transporter: { type: "AMQP", options: { url: url(), eventTimeToLive: 5000, heartbeatTimeToLive: 5000 } }, logger: false }
const one = new ServiceBroker({ ...options, nodeID: `one-${RUN}` })
const nodes = [one]
for (const id of ["two", "three"]) {
  const node = new ServiceBroker({ ...options, nodeID: `${id}-${RUN}` })
  node.createService({
    name: "math",
    actions: {
      add: ({ params }) => ({ sum: params.a + params.b, by: id }),
      fail: () => {
        throw new Error("as it should")
      },
    },
    events: { "user.*": (context) => events.push([id, context.eventName, context.params]) },
  })
  nodes.push(node)
}
await Promise.all(nodes.map((node) => node.start()))
await one.waitForServices("math", 15000)
await until("both nodes", () => one.registry.getServiceList({ withActions: true }).filter((s) => s.name === "math").length === 2)
const answers = await Promise.all(Array.from({ length: 20 }, (_, n) => one.call("math.add", { a: n, b: 1 })))
check("calls", answers.map((answer) => answer.sum), Array.from({ length: 20 }, (_, n) => n + 1))
check("both nodes had some", new Set(answers.map((answer) => answer.by)).size, 2)
check("errors come back", await one.call("math.fail").catch((error) => error.message), "as it should")
one.broadcast("user.created", { id: 1 })
await until("an event for all", () => events.length === 2)
one.emit("user.deleted", { id: 2 })
await until("an event for one of a group", () => events.filter(([, event]) => event === "user.deleted").length === 1)
await Promise.all(nodes.map((node) => node.stop()))
done()
