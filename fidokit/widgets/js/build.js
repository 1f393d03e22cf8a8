// Bundles what the Python package holds: one script and one style sheet a widget, and the script of the report.
// `node build.js` writes them, `--check` fails if one of them is not what the sources give, `--watch` follows the sources,
// and so do open widgets of a kernel that was started with ANYWIDGET_HMR=1.

import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { basename, relative, resolve } from "node:path";
import { build, context } from "esbuild";

const HERE = import.meta.dirname;
const STATIC = resolve(HERE, "../static");
const WIDGETS = ["answers", "mask_overlay", "compare", "errors", "explain"];

/** Not minified: a bundle is committed, and its changes are to be read. */
const SHARED = {
  absWorkingDir: HERE,
  bundle: true,
  charset: "utf8",
  target: "es2022",
  banner: {
    js: "// Written by fidokit/widgets/js/build.js; change the sources there.",
    css: "/* Written by fidokit/widgets/js/build.js; change the sources there. */",
  },
};

const BUILDS = [
  {
    ...SHARED,
    entryPoints: WIDGETS.flatMap((name) => [`src/${name}.js`, `src/${name}.css`]),
    format: "esm",
    outdir: STATIC,
  },
  { ...SHARED, entryPoints: ["src/report.js"], format: "iife", outfile: resolve(HERE, "../../report/report.js") },
];

/** Path and text of every bundle, as the sources give it. */
async function bundles() {
  const results = await Promise.all(BUILDS.map((options) => build({ ...options, write: false })));
  return results.flatMap(({ outputFiles }) => outputFiles.map(({ path, text }) => ({ path, text })));
}

/**
 * What is wrong with the bundles in the Python package, a line each.
 * @returns {Promise<string[]>}
 */
async function faults() {
  const made = await bundles();
  const written = await Promise.all(made.map(({ path }) => readFile(path, "utf8").catch(() => "")));
  const stale = made.filter(({ text }, i) => text !== written[i]).map(({ path }) => path);
  const expected = new Set(made.map(({ path }) => basename(path)));
  const strange = (await readdir(STATIC)).filter((name) => !expected.has(name)).map((name) => resolve(STATIC, name));
  const named = (/** @type {string} */ path) => relative(process.cwd(), path);
  return [
    ...stale.map((path) => `${named(path)} is not what its sources give`),
    ...strange.map((path) => `${named(path)} is no bundle`),
  ];
}

async function write() {
  const made = await bundles();
  await mkdir(STATIC, { recursive: true });
  await Promise.all(made.map(({ path, text }) => writeFile(path, text)));
}

async function check() {
  const found = await faults();
  if (!found.length) return;
  process.stderr.write(`${[...found, "Run `npm run build` and commit what it writes."].join("\n")}\n`);
  process.exitCode = 1;
}

async function watch() {
  const contexts = await Promise.all(BUILDS.map((options) => context({ ...options, logLevel: "info" })));
  await Promise.all(contexts.map((each) => each.watch()));
}

if (process.argv.includes("--check")) await check();
else if (process.argv.includes("--watch")) await watch();
else await write();
