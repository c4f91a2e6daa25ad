/** Pictures of every page: light, dark, and 390 px wide. To be looked at. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Page } from 'playwright-core';
import { it } from 'vitest';
import { aRecording, browse, furnish, type Look, open, PAGES, visit, type Who } from './world';

const folder = process.env.FLOTILLA_SCREENSHOTS ?? 'screenshots';
const LOOKS: readonly [string, Look][] = [
  ['light', {}],
  ['dark', { scheme: 'dark' }],
  ['narrow', { width: 390, height: 844 }],
];

function named(path: string): string {
  return path.replace(/^\//, '').replaceAll(/[^a-z0-9]+/gi, '-');
}

/** Opens the first row, where a page has rows that open beside it. */
async function firstRow(page: Page) {
  await page.locator('[data-row-link]').first().click();
  await page.waitForLoadState('networkidle');
}

/** Beyond the addresses: what opens on pages. */
const SCENES: readonly [string, string, (page: Page) => Promise<unknown>][] = [
  [
    'palette',
    '/fleet',
    async (page) => {
      await page.keyboard.press('Control+k');
      await page.getByRole('dialog', { name: 'Go to' }).waitFor();
    },
  ],
  ['keys', '/fleet', (page) => page.keyboard.press('?')],
  ['scope', '/fleet', (page) => page.getByRole('button', { name: /^Which clusters/ }).click()],
  ['request', '/govern/requests', firstRow],
  ['ask', '/govern/requests?ask=new', async () => {}],
  ['audit-row', '/govern/audit', firstRow],
  ['user', '/settings/users', firstRow],
  ['user-new', '/settings/users', (page) => page.getByRole('button', { name: 'Add a user' }).click()],
  ['cluster-more', '/fleet/clusters/dev-local', (page) => page.getByRole('button', { name: 'More actions' }).click()],
  [
    'agent-waiting',
    '/fleet/add',
    async (page) => {
      await page.getByLabel('Name of the cluster').fill('harbour-1');
      await page.getByRole('button', { name: 'Make the install command' }).click();
      await page.getByText(/Waiting/).waitFor();
    },
  ],
];

it('takes pictures', async () => {
  mkdirSync(folder, { recursive: true });
  const browser = await browse();
  await furnish(browser);
  const shoot = async (page: Page, name: string) => {
    await page.evaluate(() => document.fonts.ready);
    await page.waitForTimeout(150);
    await page.screenshot({ path: join(folder, `${name}.png`) });
  };
  for (const [look, options] of LOOKS) {
    const out = await visit(browser, undefined, options);
    await open(out.page, '/login');
    await shoot(out.page, `login.${look}`);
    await open(out.page, '/invitations/x');
    await shoot(out.page, `invitation.${look}`);
    await out.context.close();
    const admin = await visit(browser, 'ADMIN', options);
    const recording = await aRecording(admin.context);
    for (const path of [...PAGES, ...(recording ? [`/govern/recordings/${recording}`] : [])]) {
      const replay = recording !== undefined && path.endsWith(recording);
      await open(admin.page, path);
      if (replay) await admin.page.getByRole('slider').press('End');
      await shoot(admin.page, `${replay ? 'recording' : named(path)}.${look}`);
    }
    for (const [name, path, act] of SCENES) {
      await open(admin.page, path);
      await act(admin.page);
      await shoot(admin.page, `${name}.${look}`);
    }
    await admin.context.close();
  }
  for (const who of ['RESTRICTED', 'STRANGER'] as const satisfies Who[]) {
    const { page, context } = await visit(browser, who);
    for (const path of ['/fleet', '/settings/users', '/govern/sessions', '/settings/profile']) {
      await open(page, path);
      await shoot(page, `${named(path)}.${who.toLowerCase()}`);
    }
    await context.close();
  }
  await browser.close();
});
