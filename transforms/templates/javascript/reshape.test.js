import assert from 'node:assert/strict'
import test from 'node:test'
import { reshape } from './reshape.js'

const bytes = text => new TextEncoder().encode(text)

test('keys are upper case, and options are added', () => {
  const body = reshape(bytes('{"id": 7}'), { add: { source: 'erp' } })
  assert.deepEqual(JSON.parse(new TextDecoder().decode(body)), { ID: 7, source: 'erp' })
})

test('what is no object is refused', () => {
  for (const body of [bytes('[1]'), bytes('null'), bytes('<item/>'), new Uint8Array([255])]) {
    assert.throws(() => reshape(body, {}))
  }
})
