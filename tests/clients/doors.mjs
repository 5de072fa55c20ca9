// The doors of Crossdock with real clients of Node and of the browser; doors.py starts this with what it has to know in
// CROSSDOCK_DOORS, and counts the lines. Words behind the name choose cases, as there.
//
// amqplib, MQTT.js, @stomp/stompjs and ws are taken from CROSSDOCK_NODE (a folder with node_modules; default:
// examples/node of this repository, after `npm ci`). The browser is Chromium, headless: it loads a page from a small
// server in here, with the browser builds of MQTT.js and @stomp/stompjs, and the page posts what it found.

import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";

const { ports, password, authority, certificates, messages: MESSAGES } = JSON.parse(process.env.CROSSDOCK_DOORS);
const FOLDER = process.env.CROSSDOCK_NODE ?? fileURLToPath(new URL("../../examples/node", import.meta.url));
const require = createRequire(path.join(FOLDER, "doors.js"));
const TIMEOUT = 10_000;
const LIMIT = 60_000;
const LARGE = 1 << 20;
const ca = readFileSync(authority);
const PLANT = { username: "plant", password };
const WRONG = { username: "guarded", password: "wrong" };

/** What TLS needs in Node: the authority to trust, and the certificate to show, if any. */
const trusting = (certificate) => ({ ca, rejectUnauthorized: true, servername: "localhost", ...pair(certificate) });

function pair(name) {
  if (!name) return {};
  const [cert, key] = certificates[name].map((file) => readFileSync(file));
  return { cert, key };
}

const unique = (prefix) => `${prefix}-${randomBytes(4).toString("hex")}`;
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** The promise, or an error that names what did not come in time. */
function within(promise, what, ms = TIMEOUT) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what}: not within ${ms} ms`)), ms);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

function inOrder(got, want) {
  if (got.length !== want.length) throw new Error(`${got.length} of ${want.length} messages`);
  const at = got.findIndex((body, number) => body !== want[number]);
  if (at >= 0) throw new Error(`message ${at} is not the one that was sent: ${got[at].slice(0, 60)}`);
}

const bodies = (count = MESSAGES, size = 0) =>
  Array.from({ length: count }, (_, number) => `message ${number}`.padEnd(size, "."));

async function refused(call) {
  let client;
  try {
    client = await call();
  } catch (error) {
    return String(error.message ?? error);
  }
  await client.end?.();
  throw new Error("it was let in");
}

// amqplib ------------------------------------------------------------------------------------------------------------

function amqp(listener, certificate, login) {
  const amqplib = require("amqplib");
  const address = { protocol: "amqps", hostname: "localhost", port: ports[listener], ...login };
  const options = { ...trusting(certificate), timeout: TIMEOUT };
  if (!login) options.credentials = amqplib.credentials.external();
  return within(amqplib.connect(address, options), "AMQP connection");
}

async function amqpMessages(connection) {
  const channel = await connection.createConfirmChannel();
  const { queue } = await channel.assertQueue("", { exclusive: true });
  const [want, got] = [bodies(), []];
  for (const body of want) channel.sendToQueue(queue, Buffer.from(body), { persistent: true });
  await within(channel.waitForConfirms(), "confirms");
  const all = new Promise((resolve) => {
    channel.consume(queue, (delivery) => {
      got.push(delivery.content.toString());
      channel.ack(delivery);
      if (got.length === want.length) resolve();
    });
  });
  await within(all, "messages");
  inOrder(got, want);
  await connection.close();
}

async function amqplibPasswordAndExternal() {
  await amqpMessages(await amqp("tls", null, PLANT));
  await amqpMessages(await amqp("strict", "device"));
  await amqpMessages(await amqp("newest", "stranger", PLANT));
}

async function amqplibRefused() {
  for (const told of [await refused(() => amqp("tls", "stranger")), await refused(() => amqp("tls", null, WRONG))]) {
    if (!/403|ACCESS[-_]REFUSED/.test(told)) throw new Error(`told: ${told}`);
  }
  await refused(() => amqp("tls", null));
  await refused(() => amqp("strict", null, PLANT));
  await refused(() => amqp("strict", "foreign"));
}

// MQTT.js ------------------------------------------------------------------------------------------------------------

function mqtt(url, { certificate, ...options } = {}) {
  const { connect } = require("mqtt");
  const secure = url.startsWith("mqtts") || url.startsWith("wss");
  // `wsOptions` is what MQTT.js hands to ws.
  const tls = secure ? { ...trusting(certificate), wsOptions: trusting(certificate) } : {};
  const client = connect(url, {
    clientId: unique("mqttjs"),
    reconnectPeriod: 0,
    connectTimeout: TIMEOUT,
    ...tls,
    ...options,
  });
  const open = new Promise((resolve, reject) => {
    client.once("connect", () => resolve(client));
    client.once("error", reject);
    client.once("close", () => reject(new Error("closed before CONNACK")));
  });
  return within(open, "MQTT connection").catch((error) => {
    client.end(true);
    throw error;
  });
}

/** `count` messages to the client itself, which reads them while it sends. */
async function mqttMessages(client, count, size, qos = 1) {
  const topic = `${unique("clients")}/mqttjs`;
  const [want, got] = [bodies(count, size), []];
  const all = new Promise((resolve) => {
    client.on("message", (_, payload) => {
      got.push(payload.toString());
      if (got.length === want.length) resolve();
    });
  });
  await client.subscribeAsync(topic, { qos });
  // MQTT.js does not keep to the Receive Maximum of the broker (64), for which MQTT 5 ends the connection.
  const window = qos === 0 || client.options.protocolVersion === 4 ? want.length : 50;
  for (let at = 0; at < want.length; at += window) {
    const sent = want.slice(at, at + window).map((body) => client.publishAsync(topic, body, { qos }));
    await within(Promise.all(sent), "acknowledgements", 2 * TIMEOUT);
  }
  await within(all, "messages", 2 * TIMEOUT);
  inOrder(got, want);
  client.removeAllListeners("message");
}

async function mqttJsOverTls() {
  for (const protocolVersion of [4, 5]) {
    for (const [listener, options] of [
      ["tls", PLANT],
      ["strict", { certificate: "device" }],
      ["newest", { certificate: "device", username: "device" }],
    ]) {
      const client = await mqtt(`mqtts://localhost:${ports[listener]}`, { ...options, protocolVersion });
      await mqttMessages(client);
      await client.endAsync();
    }
  }
}

async function mqttJsRefused() {
  const url = `mqtts://localhost:${ports.tls}`;
  for (const protocolVersion of [4, 5]) {
    for (const options of [{ certificate: "stranger" }, { certificate: "device", username: "guarded" }, WRONG]) {
      const told = await refused(() => mqtt(url, { ...options, protocolVersion }));
      if (!/[Nn]ot authorized|Bad [Uu]ser|Connection refused/.test(told)) throw new Error(`told: ${told}`);
    }
  }
  await refused(() => mqtt(`mqtts://localhost:${ports.strict}`, PLANT));
  await refused(() => mqtt(`wss://localhost:${ports.wss}/mqtt`, WRONG));
}

async function mqttJsOverWebSocket() {
  const urls = [
    ...["/", "/ws", "/mqtt"].map((p) => `ws://localhost:${ports.ws}${p}`),
    `wss://localhost:${ports.wss}/mqtt`,
  ];
  for (const url of urls) {
    for (const protocolVersion of [4, 5]) {
      const client = await mqtt(url, { ...PLANT, protocolVersion });
      await mqttMessages(client);
      await mqttMessages(client, 8, LARGE);
      await mqttMessages(client, 5_000, 0, 0);
      await client.endAsync();
    }
  }
  const client = await mqtt(`wss://localhost:${ports.wss}/mqtt`, { certificate: "device" });
  await mqttMessages(client, 10, 0, 2);
  await client.endAsync();
}

/** Pings keep a silent connection; a session outlives a connection that is cut. */
async function mqttJsPingAndReconnect() {
  const session = { clientId: unique("mqttjs"), clean: false, keepalive: 1, reconnectPeriod: 100, protocolVersion: 4 };
  const client = await mqtt(`wss://localhost:${ports.wss}/mqtt`, { ...PLANT, ...session });
  let [closed, pings, got] = [0, 0, []];
  client.on("close", () => (closed += 1));
  client.on("packetreceive", (packet) => (pings += packet.cmd === "pingresp"));
  client.on("message", (_, payload) => got.push(payload.toString()));
  const topic = `${unique("clients")}/reconnect`;
  await client.subscribeAsync(topic, { qos: 1 });
  await sleep(3_500);
  if (closed || pings < 2) throw new Error(`${closed} closes, ${pings} PINGRESP in 3.5 s`);
  for (let round = 0; round < 5; round += 1) {
    const again = new Promise((resolve) => client.once("connect", resolve));
    client.stream.destroy();
    const other = await mqtt(`ws://localhost:${ports.ws}/mqtt`, PLANT);
    await other.publishAsync(topic, `round ${round}`, { qos: 1 });
    await other.endAsync();
    const connack = await within(again, "reconnect");
    if (!connack.sessionPresent) throw new Error("the session is gone");
  }
  for (let tries = 0; got.length < 5 && tries < 100; tries += 1) await sleep(50);
  inOrder(
    got,
    bodies(5).map((_, round) => `round ${round}`),
  );
  await client.endAsync();
}

// @stomp/stompjs -----------------------------------------------------------------------------------------------------

async function stomp(url, { certificate, headers = { login: "plant", passcode: password }, ...options } = {}) {
  const { Client } = require("@stomp/stompjs");
  const { WebSocket } = require("ws");
  const client = new Client({
    webSocketFactory: () => new WebSocket(url, ["v12.stomp"], url.startsWith("wss") ? trusting(certificate) : {}),
    connectHeaders: headers,
    reconnectDelay: 0,
    heartbeatIncoming: 0,
    heartbeatOutgoing: 0,
    ...options,
  });
  const open = new Promise((resolve, reject) => {
    client.onConnect = () => resolve(client);
    client.onStompError = (frame) => reject(new Error(frame.headers.message));
    client.onWebSocketError = (event) => reject(new Error(event.message ?? "WebSocket error"));
    client.onWebSocketClose = () => reject(new Error("closed before CONNECTED"));
    client.activate();
  });
  await within(open, "STOMP connection").catch((error) => {
    client.deactivate({ force: true });
    throw error;
  });
  client.onWebSocketClose = () => {};
  client.end = () => client.deactivate();
  return client;
}

/** `count` messages through a queue, sent while they are read. */
async function stompThrough(client, count = MESSAGES, size = 0) {
  const destination = `/queue/${unique("stompjs")}`;
  const [want, got] = [bodies(count, size), []];
  let subscription;
  const all = new Promise((resolve, reject) => {
    client.onStompError = (frame) => reject(new Error(frame.headers.message));
    subscription = client.subscribe(
      destination,
      (frame) => {
        got.push(frame.body);
        frame.ack();
        if (got.length === want.length) resolve();
      },
      { ack: "client-individual" },
    );
  });
  for (const body of want) client.publish({ destination, body });
  await within(all, "messages", 2 * TIMEOUT);
  inOrder(got, want);
  subscription.unsubscribe();
}

async function stompjsOverWebSocket() {
  const urls = [
    ...["/", "/ws", "/stomp"].map((p) => `ws://localhost:${ports.ws}${p}`),
    `wss://localhost:${ports.wss}/stomp`,
  ];
  for (const url of urls) {
    for (const frames of [{}, { forceBinaryWSFrames: true }, { splitLargeFrames: true, maxWebSocketChunkSize: 1000 }]) {
      const client = await stomp(url, frames);
      await stompThrough(client);
      await stompThrough(client, 4, LARGE);
      await stompThrough(client, 2_000);
      await client.end();
    }
  }
  const client = await stomp(`wss://localhost:${ports.wss}/stomp`, { certificate: "device", headers: {} });
  await stompThrough(client);
  await client.end();
}

async function stompjsRefused() {
  const url = `wss://localhost:${ports.wss}/stomp`;
  await refused(() => stomp(url, { headers: { login: "guarded", passcode: "wrong" } }));
  await refused(() => stomp(url, { certificate: "stranger", headers: {} }));
  await refused(() => stomp(url, { certificate: "device", headers: { login: "guarded" } }));
}

async function stompjsHeartBeatAndReconnect() {
  const client = await stomp(`wss://localhost:${ports.wss}/stomp`, {
    heartbeatIncoming: 500,
    heartbeatOutgoing: 500,
    reconnectDelay: 100,
  });
  let closed = 0;
  client.onWebSocketClose = () => (closed += 1);
  await sleep(3_000);
  if (closed) throw new Error("closed although both sent heart-beats");
  for (let round = 0; round < 5; round += 1) {
    const again = new Promise((resolve) => (client.onConnect = resolve));
    client.webSocket.terminate();
    await within(again, "reconnect");
    await stompThrough(client, 10);
  }
  if (closed !== 5) throw new Error(`${closed} closes of 5`);
  client.reconnectDelay = 0;
  await client.end();
}

// Chromium -----------------------------------------------------------------------------------------------------------

const PAGE = readFileSync(new URL("doors.html", import.meta.url));

const browser = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find((file) =>
  existsSync(file),
);

async function chromium() {
  const builds = {
    "/mqtt.js": path.join(FOLDER, "node_modules/mqtt/dist/mqtt.min.js"),
    "/stomp.js": path.join(FOLDER, "node_modules/@stomp/stompjs/bundles/stomp.umd.min.js"),
  };
  let found;
  const posted = new Promise((resolve) => (found = resolve));
  const server = createServer(async (request, response) => {
    if (request.method === "POST") {
      let text = "";
      for await (const chunk of request) text += chunk;
      found(JSON.parse(text));
      return response.end();
    }
    if (request.url === "/facts") return response.end(JSON.stringify({ ports, password, MESSAGES, LARGE }));
    const file = builds[request.url];
    response.setHeader("content-type", file ? "text/javascript" : "text/html");
    response.end(file ? readFileSync(file) : PAGE);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const profile = mkdtempSync(path.join(tmpdir(), "crossdock-chromium-"));
  const words = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--ignore-certificate-errors",
    `--user-data-dir=${profile}`,
  ];
  const process = spawn(browser, [...words, `http://127.0.0.1:${server.address().port}/`], { stdio: "ignore" });
  const gone = new Promise((resolve) => process.once("exit", resolve));
  try {
    const wrong = await within(posted, "the page's answer", LIMIT - 5_000);
    if (wrong.length) throw new Error(wrong.join("; "));
  } finally {
    process.kill();
    await gone;
    server.close();
    server.closeAllConnections();
    await removed(profile);
  }
}

/** Removes the profile of a browser that has ended. Its other processes end a little later, and write into it until
 * then: a folder that was emptied is not empty any more. */
async function removed(folder) {
  for (let left = 50; ; left--) {
    try {
      return rmSync(folder, { recursive: true, force: true });
    } catch (error) {
      if (left === 0 || !["ENOTEMPTY", "EBUSY"].includes(error.code)) throw error;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
}

// --------------------------------------------------------------------------------------------------------------------

const CASES = [
  ["amqplib password and external", "amqplib", amqplibPasswordAndExternal],
  ["amqplib refused", "amqplib", amqplibRefused],
  ["mqtt.js over tls", "mqtt", mqttJsOverTls],
  ["mqtt.js refused", "mqtt", mqttJsRefused],
  ["mqtt.js over ws and wss", "mqtt", mqttJsOverWebSocket],
  ["mqtt.js ping and reconnect", "mqtt", mqttJsPingAndReconnect],
  ["stompjs over ws and wss", "@stomp/stompjs", stompjsOverWebSocket],
  ["stompjs refused", "@stomp/stompjs", stompjsRefused],
  ["stompjs heart-beat and reconnect", "@stomp/stompjs", stompjsHeartBeatAndReconnect],
  ["chromium over ws and wss", "mqtt", chromium],
];

/** What a case needs and that is not there. */
function missing(name, client) {
  if (name.startsWith("chromium") && !browser) return "chromium";
  try {
    require.resolve(client);
    if (client.startsWith("@stomp")) require.resolve("ws");
  } catch {
    return `${client} (npm ci in examples/node)`;
  }
}

const words = process.argv.slice(2);
const required = process.env.CROSSDOCK_CLIENTS === "required";
let failed = 0;
for (const [name, client, run] of CASES) {
  if (words.length && !words.some((word) => name.includes(word))) continue;
  const lacks = missing(name, client);
  if (lacks) {
    failed += required;
    console.log(`${required ? "FAILED " : "skipped"} ${name.padEnd(44)}          not installed: ${lacks}`);
    continue;
  }
  const started = performance.now();
  const wrong = await within(run(), name, LIMIT).then(
    () => null,
    (error) => error,
  );
  const seconds = ((performance.now() - started) / 1000).toFixed(2).padStart(5);
  failed += wrong !== null;
  console.log(`${wrong ? "FAILED " : "passed "} ${name.padEnd(44)} ${seconds} s  ${wrong?.message ?? ""}`.trimEnd());
}
process.exit(failed ? 1 : 0);
