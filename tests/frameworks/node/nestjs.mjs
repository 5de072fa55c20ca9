// NestJS microservices: message patterns (RPC by direct reply-to), event patterns, manual acknowledgement.

import "reflect-metadata"
import { Module } from "@nestjs/common"
import { NestFactory } from "@nestjs/core"
import { ClientProxyFactory, Ctx, EventPattern, MessagePattern, Payload, RmqContext, Transport } from "@nestjs/microservices"
import { firstValueFrom, timeout } from "rxjs"
import { RUN, check, directReplyTo, done, until, url } from "./_broker.mjs"

// Servers and clients subscribe to direct reply-to when they connect: without it nothing of NestJS runs.
if (!(await directReplyTo())) done()
const queue = `nest-${RUN}`
const events = []

class Handlers {
  sum(numbers) {
    return numbers.reduce((a, b) => a + b, 0)
  }
  fail() {
    throw new Error("as it should")
  }
  created(event, context) {
    const message = context.getMessage()
    events.push([event, message.fields.redelivered])
    const channel = context.getChannelRef()
    if (event.id === 2 && !message.fields.redelivered) channel.nack(message, false, true)
    else channel.ack(message)
  }
}
// Decorators without their syntax.
const decorate = (name, ...decorators) => {
  const descriptor = Object.getOwnPropertyDescriptor(Handlers.prototype, name)
  for (const decorator of decorators) decorator(Handlers.prototype, name, descriptor)
}
decorate("sum", MessagePattern("sum"))
decorate("fail", MessagePattern("fail"))
decorate("created", EventPattern("user.created"))
for (const name of ["sum", "created"]) Payload()(Handlers.prototype, name, 0)
Ctx()(Handlers.prototype, "created", 1)
Reflect.defineMetadata("design:paramtypes", [Object, RmqContext], Handlers.prototype, "created")
const { Controller } = await import("@nestjs/common")
Controller()(Handlers)
class App {}
Module({ controllers: [Handlers] })(App)

const options = (more) => ({
  transport: Transport.RMQ,
  options: { urls: [url()], queue, queueOptions: { durable: true, autoDelete: true }, ...more },
})
const app = await NestFactory.createMicroservice(App, { ...options({ noAck: false, prefetchCount: 5 }), logger: false })
await app.listen()
const client = ClientProxyFactory.create(options({ persistent: true }))
await client.connect()
for (const id of [1, 2, 3]) await firstValueFrom(client.emit("user.created", { id }), { defaultValue: null })
await until("three events, one of them twice", () => events.length === 4)
check("the refused one came again", events.filter(([event]) => event.id === 2).map(([, again]) => again), [false, true])
const sums = await Promise.all([1, 2, 3].map((n) => firstValueFrom(client.send("sum", [n, n]).pipe(timeout(10000)))))
check("requests", sums, [2, 4, 6])
const failure = await firstValueFrom(client.send("fail", {}).pipe(timeout(10000))).catch((error) => error)
check("errors come back", failure.message, "Internal server error")
await client.close()
await app.close()
done()
