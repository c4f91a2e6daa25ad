/** How the hub serves the console: encodings, tags, caching, policy, and that the API's 404 stays one. */
import { type APIRequestContext, request } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { URL_OF_HUB } from './world';

const PAGE = { accept: 'text/html,*/*;q=0.8' };
let http: APIRequestContext;
beforeAll(async () => {
  http = await request.newContext({ baseURL: URL_OF_HUB, ignoreHTTPSErrors: true });
});
afterAll(() => http.dispose());

describe('the console', () => {
  it('is compressed, tagged, and not sent twice', async () => {
    const first = await http.get('/fleet', { headers: { ...PAGE, 'accept-encoding': 'gzip, br' } });
    expect(first.status()).toBe(200);
    expect(first.headers()).toMatchObject({
      'content-encoding': 'br',
      'cache-control': 'no-cache',
      vary: 'accept, accept-encoding',
    });
    const again = await http.get('/fleet', {
      headers: { ...PAGE, 'accept-encoding': 'gzip, br', 'if-none-match': first.headers().etag ?? '' },
    });
    expect(again.status()).toBe(304);
    const plain = await http.get('/fleet', { headers: { ...PAGE, 'accept-encoding': 'identity' } });
    expect(plain.headers()['content-encoding']).toBeUndefined();
    expect(plain.headers().etag).not.toBe(first.headers().etag);
    expect(await plain.text()).toBe(await first.text());
  });

  it('names its scripts by their content, and they are kept for ever', async () => {
    const html = await (await http.get('/', { headers: PAGE })).text();
    const [, script = ''] = /src="(\/assets\/[^"]+\.js)"/.exec(html) ?? [];
    const answer = await http.get(script);
    expect(answer.headers()['cache-control']).toBe('public, max-age=31536000, immutable');
    expect(answer.headers()['content-type']).toBe('text/javascript; charset=utf-8');
    expect(html).not.toMatch(/<style|style=|<script(?![^>]*src=)|\son\w+=/);
  });

  it('carries the policy of pages', async () => {
    const policy = (await http.get('/fleet', { headers: PAGE })).headers()['content-security-policy'] ?? '';
    expect(policy).toContain("script-src 'self'; style-src 'self'");
    expect(policy).not.toContain('unsafe');
  });

  it('never stands where the API has nothing', async () => {
    for (const path of [
      '/api/nope',
      '/api/clusters/nope/nope',
      '/auth/nope',
      '/assets/nope.js',
      '/k8s/clusters/nope',
      '/debug/nope',
    ]) {
      const answer = await http.get(path, { headers: PAGE });
      expect(answer.headers()['content-type'], path).toMatch(/json/);
      expect(answer.status(), path).toBeGreaterThanOrEqual(400);
    }
    const program = await http.get('/fleet', { headers: { accept: '*/*' } });
    expect(program.status()).toBe(404);
    expect(program.headers()['content-type']).toBe('application/problem+json');
  });
});
