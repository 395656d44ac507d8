// Bundles the site: `node tools/build.mjs FOLDER` leaves in it what the server hands out, and web.json, which
// cmake/web.cmake turns into the table of hadal/serve/web_ui.h.
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { gzipSync } from "node:zlib";
import * as esbuild from "esbuild";

const web = resolve(dirname(fileURLToPath(import.meta.url)), "..");
const PAGES = { chat: "/", platform: "/platform", status: "/status" };
const TYPES = { ".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8" };

/** What goes into the bundle: name, licence and its text of each package that esbuild read a file of. */
function licences(metafile) {
  const names = new Set();
  for (const input of Object.keys(metafile.inputs)) {
    const match = /node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(input);
    if (match) names.add(match[1]);
  }
  return [...names].sort().map((name) => {
    const folder = join(web, "node_modules", name);
    const { version, license } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
    let text;
    for (const file of ["LICENSE", "LICENSE.md", "LICENSE.txt", "license"]) {
      try {
        text ??= readFileSync(join(folder, file), "utf8").trim();
      } catch {
        // the next name
      }
    }
    if (text === undefined) throw new Error(`${name} ${version} has no licence text in ${folder}`);
    return `${name} ${version} (${license})\n\n${text}\n`;
  });
}

async function bundle() {
  const common = { absWorkingDir: web, bundle: true, write: false, metafile: true, minify: true, legalComments: "none" };
  const target = ["chrome123", "firefox120", "safari17.5"]; // the first with light-dark()
  const modules = await esbuild.build({
    ...common,
    target,
    format: "esm",
    splitting: true,
    jsx: "automatic",
    jsxImportSource: "preact",
    outdir: "/assets",
    entryNames: "[name]-[hash]",
    chunkNames: "part-[hash]",
    entryPoints: Object.keys(PAGES).flatMap((page) => [
      { in: `src/${page}/main.tsx`, out: page },
      { in: `src/styles/${page}.css`, out: page },
    ]),
  });
  const boot = await esbuild.build({
    ...common,
    target,
    format: "iife",
    outdir: "/assets",
    entryNames: "[name]-[hash]",
    entryPoints: ["src/boot.ts"],
  });
  return { outputs: [...modules.outputFiles, ...boot.outputFiles], metafile: modules.metafile };
}

const etag = (bytes) => `"${createHash("sha256").update(bytes).digest("hex").slice(0, 20)}"`;

export async function build(folder) {
  const { outputs, metafile } = await bundle();
  const files = [];
  const add = (path, type, bytes, immutable) => files.push({ path, type, bytes: Buffer.from(bytes), immutable });
  for (const output of outputs) {
    const path = output.path.slice(output.path.indexOf("/assets/"));
    add(path, TYPES[/\.\w+$/.exec(path)[0]], output.contents, true);
  }
  const asset = (name, extension) => {
    const found = files.find(({ path }) => path.startsWith(`/assets/${name}-`) && path.endsWith(extension));
    return found.path;
  };
  const template = readFileSync(join(web, "src/page.html"), "utf8");
  for (const [page, path] of Object.entries(PAGES)) {
    const html = template
      .replace("{boot}", asset("boot", ".js"))
      .replace("{style}", asset(page, ".css"))
      .replace("{script}", asset(page, ".js"));
    add(path, "text/html; charset=utf-8", html, false);
  }
  add("/assets/icon.svg", "image/svg+xml", readFileSync(join(web, "src/icon.svg")), false);
  const rule = `\n${"-".repeat(78)}\n\n`;
  const parts = ["The web pages of hadal contain these packages.\n", ...licences(metafile)];
  add("/assets/licenses.txt", "text/plain; charset=utf-8", parts.join(rule), false);

  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  const table = files
    .sort((a, b) => (a.path < b.path ? -1 : 1))
    .map(({ path, type, bytes, immutable }, i) => {
      // Pages stay as they are: they are small, and a person with curl sees them.
      const gzip = path.startsWith("/assets/");
      const stored = gzip ? gzipSync(bytes, { level: 9 }) : bytes;
      writeFileSync(join(folder, `${i}.bin`), stored);
      return { file: `${i}.bin`, path, type, etag: etag(bytes), gzip, immutable, size: stored.length };
    });
  writeFileSync(join(folder, "web.json"), JSON.stringify(table, null, 1) + "\n");
  return table;
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  if (!process.argv[2]) throw new Error("usage: node tools/build.mjs FOLDER");
  const table = await build(resolve(process.argv[2]));
  const total = table.reduce((sum, file) => sum + file.size, 0);
  if (process.argv.includes("--sizes")) for (const { path, size } of table) console.log(`${path}  ${size}`);
  console.log(`web: ${table.length} files, ${Math.ceil(total / 1024)} KiB`);
}
