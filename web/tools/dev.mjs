// For work on the pages: `node tools/dev.mjs [URL] [PORT]` serves them from the sources at localhost:5173,
// built anew at each reload, under the server's own security policy, and passes everything else on to a
// running hadal (URL, default http://127.0.0.1:8000).
import { readFileSync } from "node:fs";
import { createServer, request } from "node:http";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "./build.mjs";

const upstream = new URL(process.argv[2] ?? "http://127.0.0.1:8000");
const port = Number(process.argv[3] ?? 5173);
const header = join(dirname(fileURLToPath(import.meta.url)), "../../hadal/serve/web_ui.h");
const policy = [...readFileSync(header, "utf8").matchAll(/^ {4}"(.*)"/gm)].map((line) => line[1]).join("");

let files = await build();

function pass(incoming, outgoing) {
  const { method, url } = incoming;
  const headers = { ...incoming.headers, host: upstream.host };
  // The server refuses pages of other sites; this page's origin is to look like its own.
  if (headers.origin === `http://${incoming.headers.host}`) headers.origin = upstream.origin;
  const forwarded = request(new URL(url, upstream), { method, headers }, (reply) => {
    outgoing.writeHead(reply.statusCode, reply.headers);
    reply.pipe(outgoing);
  });
  forwarded.on("error", (error) => {
    if (!outgoing.headersSent) outgoing.writeHead(502, { "Content-Type": "text/plain" });
    outgoing.end(`no hadal at ${upstream.origin}: ${error.message}`);
  });
  outgoing.on("close", () => forwarded.destroy()); // stop in the page is stop at the server
  incoming.pipe(forwarded);
}

createServer(async (incoming, outgoing) => {
  const { pathname } = new URL(incoming.url, "http://localhost");
  try {
    if (["/", "/platform", "/status"].includes(pathname)) files = await build();
  } catch (error) {
    outgoing.writeHead(500, { "Content-Type": "text/plain" });
    outgoing.end(String(error));
    return;
  }
  const file = files.find(({ path }) => path === pathname);
  if (!file) return pass(incoming, outgoing);
  outgoing.writeHead(200, {
    "Content-Type": file.type,
    "Content-Security-Policy": policy,
    "Cache-Control": "no-store",
    ...(file.gzip ? { "Content-Encoding": "gzip" } : {}),
  });
  outgoing.end(file.bytes);
}).listen(port, "127.0.0.1", () => console.log(`http://localhost:${port} → ${upstream.origin}`));
