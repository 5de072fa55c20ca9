// Where the broker is, and what every program here does: a time limit, names of its own, one line at the end.

import assert from "node:assert/strict"
import crypto from "node:crypto"
import net from "node:net"
import amqplib from "amqplib"

const [host, port] = (process.env.CROSSDOCK_AMQP ?? "127.0.0.1:5672").split(":")
export const HOST = host
export const PORT = Number(port)
export const url = (at = PORT) => `amqp://guest:guest@${host}:${at}/%2F`
export const RUN = crypto.randomBytes(4).toString("hex") // part of every name, so that runs do not meet
let checks = 0

const limit = setTimeout(() => {
  console.error("not done within the time limit")
  process.exit(1)
}, 1000 * Number(process.env.CROSSDOCK_LIMIT ?? 55))

// Ends the program when something is not as it should be.
export function check(what, found, expected = true) {
  assert.deepEqual(found, expected, `${what}: ${JSON.stringify(found)} instead of ${JSON.stringify(expected)}`)
  checks += 1
}

export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms))

// Waits for something.
export async function until(what, condition, seconds = 15) {
  const end = Date.now() + 1000 * seconds
  while (!(await condition())) {
    if (Date.now() > end) throw new Error(`${what}: not within ${seconds} s`)
    await sleep(20)
  }
  checks += 1
}

// Whether the broker announces direct reply-to; cases that need it are left out aloud where it does not.
export async function directReplyTo() {
  const connection = await amqplib.connect(url())
  const has = connection.connection.serverProperties.capabilities.direct_reply_to === true
  await connection.close()
  if (!has) console.log("left out: cases of direct reply-to, which the broker does not announce")
  return has
}

// Passes octets on to the broker, until it cuts all connections.
export async function relay() {
  const sockets = new Set()
  const server = net.createServer((near) => {
    const far = net.connect(PORT, HOST)
    for (const [from, to] of [[near, far], [far, near]]) {
      sockets.add(from)
      from.on("error", () => {}).on("close", () => to.destroy()).pipe(to)
    }
  })
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve))
  const cut = () => {
    for (const socket of sockets) socket.destroy()
    sockets.clear()
  }
  return { port: server.address().port, cut, close: () => (cut(), server.close()) }
}

export function done() {
  clearTimeout(limit)
  console.log(`${checks} checks`)
  process.exit(0)
}

process.on("unhandledRejection", (error) => {
  console.error(error)
  process.exit(1)
})
