/**
 * Writes dist/weir-agent.mjs, weir.mjs and weir-install.mjs: what an image or npm package ships, because Node runs no TypeScript under
 * node_modules, and a bundle holds less memory (docs/benchmarks.md). What the agent loads only when a setting asks for
 * it lies in files of its own beside them. Run: `npm run bundle`.
 */
import { globSync } from 'node:fs';
import { readFile, rm } from 'node:fs/promises';
import { relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build, type Plugin } from 'esbuild';

const ROOT = fileURLToPath(new URL('..', import.meta.url));

/** Files beside a module (the addon, the BPF object) are found from where the module stands in the checkout. */
const keepPlaces: Plugin = {
  name: 'keep the places of modules',
  setup({ onLoad }) {
    onLoad({ filter: /\/(agent|native)\/.*\.ts$/ }, async ({ path }) => {
      const text = await readFile(path, 'utf8');
      const place = JSON.stringify(`../${relative(ROOT, path)}`);
      return { contents: text.replaceAll('import.meta.url', `new URL(${place}, import.meta.url).href`), loader: 'ts' };
    });
  },
};

// Of an earlier bundle only: the image lies there too.
for (const file of globSync(`${ROOT}/dist/*.mjs*`)) await rm(file, { force: true });
await build({
  absWorkingDir: ROOT,
  entryPoints: { 'weir-agent': 'agent/main.ts', weir: 'agent/cli/main.ts', 'weir-install': 'agent/install/main.ts' },
  outdir: 'dist',
  outExtension: { '.js': '.mjs' },
  bundle: true,
  splitting: true,
  chunkNames: 'part-[hash]',
  platform: 'node',
  target: 'node24',
  format: 'esm',
  minify: true,
  keepNames: true,
  legalComments: 'linked',
  // Fastify and its kin are CommonJS: they ask for Node's own modules by require().
  banner: {
    js: "import { createRequire as createRequireHere } from 'node:module';const require = createRequireHere(import.meta.url);",
  },
  plugins: [keepPlaces],
  logLevel: 'warning',
});
