// What becomes of each message. `node --test` tests it without a broker.
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
