// What becomes of each message. `node --test` tests it without a broker.
//
// `handle` returns one of these: { tag: 'replace', val: patch }, the message with a patch; { tag: 'emit', val: [{ address:
// 'queue:urgent', delayMs: undefined, patch }] }, any number of messages instead of it, each to an address of its own or to
// undefined, where the route sends (the step has to name such an address in its `destinations`); { tag: 'keep' },
// { tag: 'drop', val: why }, { tag: 'reject', val: why }, { tag: 'retry-after-ms', val: 1000n }.
//
// What more a module can do, the route's step has to grant, and build.js has to name another world:
//
//   import { write } from 'crossdock:transform/log@1.0.0'       // grants = ["log"]: write('warn', 'no price')
//   import { count } from 'crossdock:transform/metrics@1.0.0'   // grants = ["metrics"]: count('items', 3n)
//   import * as kv from 'crossdock:transform/kv@1.0.0'          // grants = ["kv"]: kv.set('last', bytes), kv.get('last')
import { reshape } from './reshape.js'

const CHUNK = 1 << 20
let options = {}

function bodyOf (message) {
  const body = new Uint8Array(Number(message.len()))
  for (let size = 0; size < body.length;) {
    const part = message.read(BigInt(size), CHUNK)
    body.set(part, size)
    size += part.length
  }
  return body
}

// The names are those of the contract, wit/crossdock-transform.wit; what is thrown is its error.
export function init (config) {
  options = JSON.parse(config)
  const unknown = Object.keys(options).find(name => name !== 'add')
  if (unknown) throw `there is no option ${unknown}; the only one is add`
}

export function handle (m) {
  let body
  try {
    body = reshape(bodyOf(m), options)
  } catch (error) {
    // The message's fault: it is not tried again, and goes where the route's on_error says.
    throw error.message
  }
  const set = [['reshaped-by', { tag: 'text', val: 'NAME' }]]
  return { tag: 'replace', val: { set, remove: [], contentType: 'application/json', body } }
}
