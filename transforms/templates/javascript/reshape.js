// A JSON object with its keys in upper case, and what the route's `with` adds.
export function reshape (body, options) {
  const document = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(body))
  if (document === null || typeof document !== 'object' || Array.isArray(document)) {
    throw new Error('the body is no JSON object')
  }
  const entries = Object.entries(document).map(([key, value]) => [key.toUpperCase(), value])
  return new TextEncoder().encode(JSON.stringify({ ...Object.fromEntries(entries), ...options.add }))
}
