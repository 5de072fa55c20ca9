// The address of the broker, and the calls that every program in this folder needs.
//
// Not a client library: the connections made here are plain amqplib, MQTT.js and @stomp/stompjs objects. What this file
// adds is the address from the environment, an inbox to wait on, and time limits: no call blocks for longer than
// TIMEOUT, and a program that has not finished after LIMIT is ended.

import { randomBytes } from "node:crypto";
import net from "node:net";

const TIMEOUT = 8_000;
const LIMIT = 20_000;
const DEFAULTS = { AMQP: "127.0.0.1:5672", MQTT: "127.0.0.1:1883", STOMP: "127.0.0.1:61613" };
const LOGIN = { username: "guest", password: "guest" };

setTimeout(() => {
  console.error(`not finished after ${LIMIT / 1000} s`);
  process.exit(1);
}, LIMIT).unref();

/** Host and port of one of the three listeners, e.g. CROSSDOCK_AMQP=127.0.0.1:5672. */
export function address(protocol) {
  const [, host, port] = /^(.*):(\d+)$/.exec(process.env[`CROSSDOCK_${protocol}`] ?? DEFAULTS[protocol]);
  return { host: host || "127.0.0.1", port: Number(port) };
}

/** A name that no other run uses, made of characters that mean the same in every protocol. */
export function unique(prefix) {
  return `${prefix}-${randomBytes(4).toString("hex")}`;
}

export function sleep(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Messages as they arrived. `next()` waits, `noneFor()` makes sure that nothing more comes. */
export class Inbox {
  #messages = [];
  #waiting = [];

  put(message) {
    const waiting = this.#waiting.shift();
    if (waiting) waiting(message);
    else this.#messages.push(message);
  }

  async next(ms = TIMEOUT) {
    if (this.#messages.length > 0) return this.#messages.shift();
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiting.splice(this.#waiting.indexOf(waiting), 1);
        reject(new Error(`no message within ${ms} ms`));
      }, ms);
      const waiting = (message) => {
        clearTimeout(timer);
        resolve(message);
      };
      this.#waiting.push(waiting);
    });
  }

  async take(count) {
    const messages = [];
    while (messages.length < count) messages.push(await this.next());
    return messages;
  }

  async noneFor(ms) {
    await sleep(ms);
    if (this.#messages.length > 0) throw new Error(`unexpected message: ${JSON.stringify(this.#messages[0])}`);
  }
}

// AMQP 0-9-1 ---------------------------------------------------------------------------------------------------------

/** An amqplib connection. */
export async function amqp() {
  const { default: amqplib } = await import("amqplib");
  const { host, port } = address("AMQP");
  return amqplib.connect({ protocol: "amqp", hostname: host, port, ...LOGIN }, { timeout: TIMEOUT });
}

/** Starts a consumer; its deliveries arrive in the inbox that is returned, `inbox.tag` is the consumer tag. */
export async function consume(channel, queue, options = {}) {
  const inbox = new Inbox();
  const { consumerTag } = await channel.consume(queue, (delivery) => inbox.put(delivery), options);
  inbox.tag = consumerTag;
  return inbox;
}

/** STOMP and MQTT clients cannot delete a queue; AMQP clients can. */
export async function deleteQueues(...names) {
  const connection = await amqp();
  const channel = await connection.createChannel();
  for (const name of names) await channel.deleteQueue(name);
  await connection.close();
}

// MQTT ---------------------------------------------------------------------------------------------------------------

/** A connected MQTT.js client; messages arrive in `client.inbox` as {topic, payload, packet}. */
export async function mqtt(version = 5, options = {}) {
  const { default: mqttjs } = await import("mqtt");
  const { host, port } = address("MQTT");
  const client = mqttjs.connect({
    protocol: "mqtt",
    host,
    port,
    protocolVersion: version,
    clientId: unique("example"),
    reconnectPeriod: 0,
    connectTimeout: TIMEOUT,
    ...LOGIN,
    ...options,
  });
  client.inbox = new Inbox();
  client.on("message", (topic, payload, packet) => client.inbox.put({ topic, payload, packet }));
  const connack = await new Promise((resolve, reject) => {
    client.once("connect", resolve);
    client.once("error", reject);
  });
  client.sessionPresent = connack.sessionPresent;
  return client;
}

// STOMP --------------------------------------------------------------------------------------------------------------

/** The part of a WebSocket that @stomp/stompjs uses, over a plain TCP connection. */
class TcpSocket {
  static CONNECTING = 0;
  static OPEN = 1;
  static CLOSING = 2;
  static CLOSED = 3;
  readyState = TcpSocket.CONNECTING;

  constructor({ host, port }) {
    this.url = `tcp://${host}:${port}`;
    this.socket = net.connect(port, host);
    this.socket.on("connect", () => {
      this.readyState = TcpSocket.OPEN;
      this.onopen?.();
    });
    this.socket.on("data", (chunk) => this.onmessage?.({ data: new Uint8Array(chunk).buffer }));
    this.socket.on("error", (error) => this.onerror?.(error));
    this.socket.on("close", () => {
      this.readyState = TcpSocket.CLOSED;
      this.onclose?.({ code: 1000, reason: "" });
    });
  }

  send(data) {
    this.socket.write(typeof data === "string" ? data : new Uint8Array(data));
  }

  close() {
    this.readyState = TcpSocket.CLOSING;
    this.socket.end();
  }

  terminate() {
    this.socket.destroy();
  }
}

/** A @stomp/stompjs client whose calls can be waited for; MESSAGE frames of `listen` arrive in the inbox it returns. */
export async function stomp(version = "1.2", options = {}) {
  const { Client, Versions } = await import("@stomp/stompjs");
  const client = new Client({
    webSocketFactory: () => new TcpSocket(address("STOMP")),
    stompVersions: new Versions([version]),
    connectHeaders: { login: LOGIN.username, passcode: LOGIN.password, host: "/" },
    heartbeatIncoming: 0,
    heartbeatOutgoing: 0,
    reconnectDelay: 0,
    ...options,
  });

  /** Makes a call that takes a receipt, and waits for the receipt. */
  client.confirmed = (call) =>
    new Promise((resolve, reject) => {
      const receipt = unique("receipt");
      client.onStompError = (frame) => reject(new Error(`${frame.headers.message}: ${frame.body}`));
      client.onWebSocketClose = () => reject(new Error("the connection was lost before the receipt came"));
      client.watchForReceipt(receipt, resolve);
      call(receipt);
    });

  /** SEND, and wait until the broker has the message. */
  client.sendConfirmed = (destination, body, headers = {}) =>
    client.confirmed((receipt) => {
      const content = typeof body === "string" ? { body } : { binaryBody: body };
      client.publish({ destination, ...content, headers: { ...headers, receipt } });
    });

  /** SUBSCRIBE, and wait until the broker has done so. */
  client.listen = async (destination, headers = {}) => {
    const inbox = new Inbox();
    await client.confirmed((receipt) => {
      inbox.subscription = client.subscribe(destination, (frame) => inbox.put(frame), { ...headers, receipt });
    });
    return inbox;
  };

  /** Ends the connection without DISCONNECT. */
  client.hangUp = () => client.webSocket.terminate();

  await new Promise((resolve, reject) => {
    client.onConnect = resolve;
    client.onStompError = (frame) => reject(new Error(frame.headers.message));
    client.onWebSocketError = reject;
    client.activate();
  });
  return client;
}
