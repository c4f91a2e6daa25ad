// Writes a Brotli and a gzip form beside every text of the build, so that the hub never compresses anything itself.
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { brotliCompressSync, constants, gzipSync } from 'node:zlib';

const dist = new URL('../dist', import.meta.url).pathname;
const worth = /\.(js|css|html|svg|txt)$/;

for (const name of readdirSync(dist, { recursive: true })) {
  const path = join(dist, name);
  if (!statSync(path).isFile() || !worth.test(name)) continue;
  const content = readFileSync(path);
  const params = { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_SIZE_HINT]: content.length };
  const forms = { '.br': brotliCompressSync(content, { params }), '.gz': gzipSync(content, { level: 9 }) };
  for (const [ending, form] of Object.entries(forms)) {
    if (form.length < content.length) writeFileSync(path + ending, form);
  }
}
