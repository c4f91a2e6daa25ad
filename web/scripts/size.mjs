// The gate on what a first visit loads: every script that index.html names, and what those import at once.
import { readFileSync } from 'node:fs';
import { gzipSync } from 'node:zlib';

const LIMIT_KB = 170;
const dist = new URL('../dist/', import.meta.url);
const read = (name) => readFileSync(new URL(name, dist), 'utf8');

const seen = new Set();
const visit = (name) => {
  if (seen.has(name)) return;
  seen.add(name);
  // Static imports only: import(...) loads later.
  for (const [, path] of read(name).matchAll(/(?:^|[;}\s])(?:import|export)[^"'();]*?["']\.\/([^"']+\.js)["']/g)) {
    visit(`assets/${path}`);
  }
};
for (const [, path] of read('index.html').matchAll(/(?:src|href)="\/([^"]+\.js)"/g)) visit(path);

const sizes = [...seen].map((name) => [name, gzipSync(read(name), { level: 9 }).length / 1024]);
const total = sizes.reduce((sum, [, size]) => sum + size, 0);
for (const [name, size] of sizes) console.log(`${size.toFixed(1).padStart(7)} KB  ${name}`);
console.log(`${total.toFixed(1).padStart(7)} KB  initial JavaScript, gzip (at most ${LIMIT_KB})`);
if (total > LIMIT_KB) process.exit(1);
