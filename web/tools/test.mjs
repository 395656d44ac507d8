// The unit tests: bundles test/*.test.ts and runs them with node's own runner.
import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import * as esbuild from "esbuild";

const web = resolve(dirname(fileURLToPath(import.meta.url)), "..");
const tests = readdirSync(join(web, "test")).filter((name) => name.endsWith(".test.ts"));
// Inside the folder, so that what is not bundled is found in its node_modules.
const folder = mkdtempSync(join(web, "node_modules", ".test-"));
process.on("exit", () => rmSync(folder, { recursive: true, force: true }));
await esbuild.build({
  absWorkingDir: web,
  entryPoints: tests.map((name) => `test/${name}`),
  outdir: folder,
  outExtension: { ".js": ".mjs" },
  bundle: true,
  platform: "node",
  format: "esm",
  target: "node18",
  external: ["jsdom"],
  jsx: "automatic",
  jsxImportSource: "preact",
  sourcemap: "inline",
  logLevel: "warning",
});
const files = tests.map((name) => join(folder, name.replace(/\.ts$/, ".mjs")));
const { status } = spawnSync(process.execPath, ["--enable-source-maps", "--test", ...files], {
  cwd: web,
  stdio: "inherit",
});
process.exit(status ?? 1);
