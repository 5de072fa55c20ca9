// Builds NAME.wasm: one file of all modules, then a component of it.
import { componentize } from '@bytecodealliance/componentize-js'
import { build } from 'esbuild'
import { writeFile } from 'node:fs/promises'

await build({ entryPoints: ['transform.js'], bundle: true, format: 'esm', outfile: 'build/transform.js' })
const { component } = await componentize({
  sourcePath: 'build/transform.js',
  witPath: 'wit',
  worldName: 'transform',
  // A transform has no network; what it prints goes to the broker's log.
  disableFeatures: ['http', 'fetch-event']
})
await writeFile('NAME.wasm', component)
