// Bundles what the Python package holds: one script and one style sheet a widget, and the script of the report.
// `node build.js` writes them, `--check` fails if one of them is not what the sources give, `--watch` follows the sources.

import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { basename, dirname, relative, resolve } from "node:path";
import { build, context } from "esbuild";

const HERE = import.meta.dirname;
const STATIC = resolve(HERE, "../static");
const WIDGETS = ["mask_overlay", "compare", "errors", "explain"];

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
  { ...SHARED, entryPoints: ["src/report.js"], format: "iife", outfile: resolve(HERE, "../../data/report.js") },
];

/** Path and text of every bundle, as the sources give it. */
async function bundles() {
  const results = await Promise.all(BUILDS.map((options) => build({ ...options, write: false })));
  return results.flatMap(({ outputFiles }) => outputFiles.map(({ path, text }) => ({ path, text })));
}

/** What is wrong with the bundles in the Python package, a line each. */
async function faults() {
  const made = await bundles();
  const expected = new Set(made.map(({ path }) => basename(path)));
  const found = [];
  for (const { path, text } of made) {
    const written = await readFile(path, "utf8").catch(() => "");
    if (written !== text) found.push(`${relative(process.cwd(), path)} is not what its sources give`);
  }
  for (const name of await readdir(STATIC)) {
    if (!expected.has(name)) found.push(`${relative(process.cwd(), resolve(STATIC, name))} is no bundle`);
  }
  return found;
}

if (process.argv.includes("--check")) {
  const found = await faults();
  if (found.length) {
    console.error([...found, "Run `npm run build` and commit what it writes."].join("\n"));
    process.exitCode = 1;
  }
} else if (process.argv.includes("--watch")) {
  for (const options of BUILDS) await (await context({ ...options, logLevel: "info" })).watch();
} else {
  for (const { path, text } of await bundles()) {
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, text);
  }
}
