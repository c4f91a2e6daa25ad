import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { aRecording, axe, browse, furnish, open, PAGES, RECORDED, visit, type Who } from './world';

let browser: Browser;
beforeAll(async () => {
  browser = await browse();
  await furnish(browser);
});
afterAll(() => browser.close());

/** Pages that say to those without the right what is missing, instead of what they would show. */
const ADMINISTRATORS = ['/fleet/add', '/settings/agents', '/settings/users'];

describe.each(['ADMIN', 'RESTRICTED', 'STRANGER'] as const)('every page, as %s', (who: Who) => {
  it.each(['light', 'dark'] as const)(
    'opens, is accessible and keeps to the policy (%s)',
    async (scheme) => {
      const { context, page, complaints } = await visit(browser, who, { scheme });
      const found: string[] = [];
      const recording = await aRecording(context);
      for (const path of [...PAGES, ...(recording ? [`/govern/recordings/${recording}`] : [])]) {
        await open(page, path);
        for (const violation of await axe(page)) found.push(`${path} ${violation}`);
        const denied = await page.getByRole('heading', { name: 'Not yours to see' }).count();
        const administrators = ADMINISTRATORS.some((one) => path.startsWith(one));
        expect(denied > 0, `${path} as ${who}`).toBe(who !== 'ADMIN' && administrators);
      }
      expect(found).toEqual([]);
      expect(complaints).toEqual([]);
      await context.close();
    },
    240_000,
  );
});

it('a recorded shell is there for the administrator and for who used it, not for others', async () => {
  if (!RECORDED) return console.log('SKIPPED: there is no recorded shell here');
  const seen = await Promise.all(
    (['ADMIN', 'RESTRICTED', 'STRANGER'] as const).map(async (who) =>
      Boolean(await aRecording((await visit(browser, who)).context)),
    ),
  );
  expect(seen).toEqual([true, true, false]);
});

it('nothing scrolls sideways at 390 px', async () => {
  const { page, context } = await visit(browser, 'ADMIN', { width: 390, height: 844 });
  const wide: string[] = [];
  for (const path of PAGES) {
    await open(page, path);
    const beyond = await page.evaluate(() => {
      const main = document.getElementById('main');
      return (main ? main.scrollWidth - main.clientWidth : 0) + document.documentElement.scrollWidth - innerWidth;
    });
    if (beyond > 0) wide.push(`${path}: ${beyond} px`);
  }
  expect(wide).toEqual([]);
  await context.close();
}, 120_000);
