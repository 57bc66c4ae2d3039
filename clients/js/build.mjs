// Builds dist/ and the copies that the gateway serves, and writes types/*.d.ts: node build.mjs. Prints the size by module.
// With --check it writes nothing, lists the files that differ, and exits with status 1 if there are any.
import { build, transform } from "esbuild";
import { mkdtempSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { execFileSync } from "node:child_process";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { minify } from "terser";
import ts from "typescript";
import { INTERNAL, OF_THE_BROWSER, OF_THE_WIDGET } from "./internal.mjs";

const here = dirname(fileURLToPath(import.meta.url));
const served = join(here, "../../callcenter_ws/pages/static");
const check = process.argv.includes("--check");
const version = JSON.parse(readFileSync(join(here, "package.json"), "utf8")).version;
/** @type {Map<string, string | Uint8Array>} */
const files = new Map();

// The oldest browsers that the manual names.
const target = ["chrome85", "firefox90", "safari15.4"];

/** Style sheets as texts. @type {import("esbuild").Plugin} */
const styles = {
  name: "styles",
  setup({ onLoad }) {
    onLoad({ filter: /\.css$/ }, async ({ path }) => {
      const { code } = await transform(readFileSync(path, "utf8"), { loader: "css", minify: true, target });
      return { contents: code.trim(), loader: "text" };
    });
  },
};

/** A visitor sees chats only: the widget has no other views of the store, and no other slots. @type {import("esbuild").Plugin} */
const chatsOnly = {
  name: "chats only",
  setup({ onLoad, onResolve }) {
    onResolve({ filter: /^\.\/views\.js$/ }, () => ({ path: join(here, "src/widget/views.js") }));
    onLoad({ filter: /\/src\/slots\.js$/ }, async ({ path }) => {
      const { EFFECTS, ...others } = await import(path);
      const members = { ...others, EFFECTS: EFFECTS.filter(([, { kind }]) => kind === "chat"), FIGURES: {} };
      return { contents: Object.entries(members).map(([name, value]) => `export const ${name} = ${JSON.stringify(value)};`).join("\n") };
    });
  },
};

/** The members that have short names in a bundle, which has all modules that use them. @param {string} name @returns {string[]} */
function mangled(name) {
  if (name === "index") return INTERNAL;
  return name.startsWith("widget/") ? [...OF_THE_WIDGET, ...INTERNAL.filter((member) => !OF_THE_BROWSER.includes(member))] : [];
}

/** @param {string} name @param {"esm" | "iife"} format */
async function bundle(name, format) {
  const internal = mangled(name);
  const result = await build({
    absWorkingDir: here,
    entryPoints: [`src/${name}.js`],
    bundle: true,
    minify: true,
    format,
    charset: "utf8",
    legalComments: "none",
    target,
    plugins: format === "iife" ? [styles, chatsOnly] : [],
    // Chrome 85 fails only where arguments of an optional call are spread, which these sources do not do.
    supported: { "optional-chain": true },
    mangleProps: internal.length ? new RegExp(`^(${internal.join("|")})$`) : undefined,
    banner: { js: `/* callcenter-ws ${version}, MIT */` },
    metafile: true,
    write: false,
  });
  for (const output of Object.values(result.metafile.outputs)) {
    const inputs = Object.entries(output.inputs).sort((a, b) => b[1].bytesInOutput - a[1].bytesInOutput);
    for (const [path, { bytesInOutput }] of inputs) console.log(String(bytesInOutput).padStart(7), path);
  }
  // What esbuild has made smaller, terser makes smaller by some percent more.
  const compress = { ecma: 2020, passes: 3, hoist_funs: true, pure_getters: true, sequences: false };
  const { code } = await minify(result.outputFiles[0].text, { module: format === "esm", toplevel: true, ecma: 2020, compress, format: { comments: /^ callcenter-ws/ } });
  return Buffer.from(code ?? "");
}

/** Return declarations without the members that are marked as internal: tsc removes them from TypeScript only. @param {string} text */
function published(text) {
  const members = ts.createSourceFile("types.d.ts", text, ts.ScriptTarget.Latest, true).statements.flatMap((node) => (ts.isClassDeclaration(node) ? [...node.members] : []));
  const internal = members.filter((member) => ts.getJSDocTags(member).some(({ tagName }) => tagName.text === "internal"));
  return internal.reduceRight((kept, { pos, end }) => kept.slice(0, pos) + kept.slice(end), text);
}

function types() {
  const folder = mkdtempSync(join(here, "types-"));
  try {
    const tsc = join(here, "node_modules/typescript/bin/tsc");
    const options = ["--noEmit", "false", "--declaration", "--emitDeclarationOnly", "--outDir", folder];
    execFileSync(process.execPath, [tsc, "-p", here, ...options], { stdio: "inherit" });
    for (const name of readdirSync(folder).filter((one) => one.endsWith(".d.ts"))) files.set(join(here, "types", name), published(readFileSync(join(folder, name), "utf8")));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

for (const [source, built, copy, format] of /** @type {const} */ ([
  ["index", "callcenter-ws-client.js", "client.js", "esm"],
  ["embed", "embed.js", "embed.js", "esm"],
  ["commands", "callcenter-ws-commands.js", "commands.js", "esm"],
  // For a plain script element: it leaves nothing in the page but what it says.
  ["widget/main", "callcenter-ws-widget.js", "widget.js", "iife"],
])) {
  const code = await bundle(source, format);
  files.set(join(here, "dist", built), code);
  files.set(join(served, copy), code);
  console.log(`${built}: ${code.length} bytes, ${gzipSync(code, { level: 9 }).length} with gzip`);
}
types();

let differs = false;
for (const [path, content] of files) {
  let present = null;
  try {
    present = readFileSync(path);
  } catch {
    // It does not exist yet.
  }
  if (present !== null && Buffer.compare(present, Buffer.from(content)) === 0) continue;
  if (check) {
    differs = true;
    console.log(`differs: ${relative(here, path)}`);
  } else {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, content);
  }
}
process.exitCode = differs ? 1 : 0;
