// Builds NAME.wasm: one file of all modules, then a component of it.
import { componentize } from '@bytecodealliance/componentize-js'
import { build } from 'esbuild'
import { writeFile } from 'node:fs/promises'

await build({ entryPoints: ['transform.js'], bundle: true, format: 'esm', outfile: 'build/transform.js', external: ['crossdock:*'] })
const { component } = await componentize({
  sourcePath: 'build/transform.js',
  witPath: 'wit',
  // A transform that uses the log or metrics is of the world transform-with-grants, one that uses kv of transform-with-kv,
  // and one that uses all of them of transform-with-all.
  worldName: 'transform',
  // A transform has no network; what it prints goes to the broker's log.
  disableFeatures: ['http', 'fetch-event']
})
await writeFile('NAME.wasm', component)
