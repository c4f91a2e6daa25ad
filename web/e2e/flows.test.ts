/** What people do, from door to door, by an administrator, somebody with few rights, and somebody with none. */
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { account, aRecording, browse, furnish, KUBECONFIG, open, post, RECORDED, URL_OF_HUB, visit } from './world';

let browser: Browser;
beforeAll(async () => {
  browser = await browse();
  await furnish(browser);
});
afterAll(() => browser.close());

async function says(page: Page, text: string | RegExp) {
  await page.getByText(text).first().waitFor({ timeout: 20_000 });
}

describe('the door', () => {
  it('explains a refusal, lets in, leads where one wanted to go, and out again', async () => {
    const { page, context, complaints } = await visit(browser);
    await page.goto('/settings/profile');
    await page.waitForURL(/\/login\?return_to=/);
    const { email, password } = account('RESTRICTED');
    await page.getByLabel('E-mail').fill(email);
    await page.getByLabel('Password').fill('not the password');
    await page.getByRole('button', { name: 'Sign in' }).click();
    await says(page, /do not fit together/);
    await page.getByLabel('Password').fill(password);
    await page.getByRole('button', { name: 'Sign in' }).click();
    // The password was made by somebody else; this account keeps it, for the other tests.
    await says(page, 'Choose a password of your own');
    await open(page, '/settings/profile');
    await says(page, 'You do not administer it.');
    await page.getByRole('button', { name: /Your account/ }).click();
    await page.getByRole('menuitem', { name: 'Sign out' }).click();
    await page.waitForURL(/\/login/);
    await page.goto('/fleet');
    await page.waitForURL(/\/login/);
    expect(complaints).toEqual([]);
    await context.close();
  });

  it('is where one stands when the session has ended, and leads back', async () => {
    const { page, context } = await visit(browser, 'STRANGER');
    await open(page, '/govern/requests');
    await post(context, '/auth/logout', undefined);
    await page.getByRole('link', { name: 'Recordings' }).first().click();
    await page.waitForURL(/\/login\?return_to=%2Fgovern%2Frecordings/);
    await context.close();
  });

  it('leads to no other site', async () => {
    const { page, context } = await visit(browser, 'RESTRICTED');
    await page.goto('/login?return_to=https%3A%2F%2Fevil.example%2F');
    await page.waitForURL(`${URL_OF_HUB}/fleet`);
    await context.close();
  });

  it('flags developer sign-in', async () => {
    const { page, context } = await visit(browser);
    await open(page, '/login');
    await says(page, 'Developer sign-in is on.');
    await context.close();
  });
});

describe('an administrator', () => {
  it('adds a cluster with a kubeconfig that was tested before, and removes it', async () => {
    const { page, context, complaints } = await visit(browser, 'ADMIN');
    await open(page, '/fleet/add?way=kubeconfig');
    await page.getByLabel('Name of the cluster').fill('new-1');
    await page.getByRole('textbox', { name: 'Kubeconfig' }).fill('nonsense');
    await page.getByRole('button', { name: 'Test', exact: true }).click();
    await page.getByRole('alert').waitFor();
    await page.getByRole('textbox', { name: 'Kubeconfig' }).fill(KUBECONFIG());
    await page.getByRole('button', { name: 'Test', exact: true }).click();
    await says(page, /It works. Kubernetes/);
    await page.getByRole('button', { name: 'Add the cluster' }).click();
    await page.waitForURL('**/fleet/clusters/new-1');
    await page.getByRole('heading', { name: 'new-1' }).waitFor();
    await page.getByRole('button', { name: 'More actions' }).click();
    await page.getByRole('menuitem', { name: 'Remove' }).click();
    await page.getByLabel('Type new-1 to confirm').fill('new-1');
    await page.getByRole('button', { name: 'Remove' }).click();
    await page.waitForURL('**/fleet');
    await expect.poll(() => page.getByRole('main').getByText('new-1', { exact: true }).count()).toBe(0);
    expect(complaints).toEqual([]);
    await context.close();
  });

  it('gets one line that installs an agent, and a page that waits for it', async () => {
    const { page, context } = await visit(browser, 'ADMIN');
    await open(page, '/fleet/add');
    await page.getByLabel('Name of the cluster').fill('later-1');
    await page.getByRole('button', { name: 'Make the install command' }).click();
    await says(page, /Waiting for the agent/);
    await says(page, /kubectl apply -f - <</);
    await says(page, /AGENT_TOKEN=fla1\./);
    await context.close();
  });

  it('makes an account, and its password is shown once and must be changed', async () => {
    const { page, context } = await visit(browser, 'ADMIN');
    await open(page, '/settings/users');
    await page.getByRole('button', { name: 'Add a user' }).click();
    const email = `eve-${Date.now()}@example.com`;
    await page.getByLabel('E-mail').fill(email);
    await page.getByLabel(/^viewer/).check();
    await page.getByRole('dialog').getByRole('button', { name: 'Add a user' }).click();
    await says(page, 'Password, shown this once');
    const password = await page.locator('pre').textContent();
    const eve = await visit(browser);
    await open(eve.page, '/settings/profile');
    await eve.page.getByLabel('E-mail').fill(email);
    await eve.page.getByLabel('Password').fill(password ?? '');
    await eve.page.getByRole('button', { name: 'Sign in' }).click();
    await says(eve.page, 'Choose a password of your own');
    await eve.page.getByLabel('New password').fill('correct horse battery staple');
    await eve.page.getByRole('button', { name: 'Change and go on' }).click();
    await eve.page.waitForURL('**/settings/profile');
    await Promise.all([context.close(), eve.context.close()]);
  });

  it('finds rows of the audit log by a link, and that the log is whole', async () => {
    const { page, context } = await visit(browser, 'ADMIN');
    await open(page, '/govern/audit?verb=cluster_update&cluster=dev-local');
    const rows = page.locator('[data-row]');
    expect(await rows.count()).toBeGreaterThan(0);
    await page.keyboard.press('j');
    await page.keyboard.press('Enter');
    await page.getByRole('complementary', { name: 'Audit row' }).waitFor();
    await says(page, 'All rows of this request');
    await page.keyboard.press('Escape');
    expect(await page.getByRole('complementary').count()).toBe(0);
    await page.getByRole('button', { name: 'Verify' }).click();
    await says(page, /The log is whole/);
    await context.close();
  });

  it('makes a key and revokes it', async () => {
    const { page, context } = await visit(browser, 'ADMIN');
    await open(page, '/settings/keys');
    await page.getByRole('button', { name: 'New key' }).first().click();
    await page.getByLabel('What it is for').fill('night job');
    await page.getByRole('button', { name: 'Make the key' }).click();
    await says(page, /^sk_/);
    await page.getByRole('dialog').getByRole('button', { name: 'Close' }).click();
    await page.getByRole('button', { name: 'More: night job' }).click();
    await page.getByRole('menuitem', { name: 'Revoke' }).click();
    await page.getByRole('button', { name: 'Revoke' }).click();
    await says(page, 'Revoked.');
    expect(await page.getByText('night job').count()).toBe(0);
    await context.close();
  });

  it('replays a recorded shell and finds what was shown in it', async () => {
    if (!RECORDED) return console.log('SKIPPED: there is no recorded shell here');
    const { page, context, complaints } = await visit(browser, 'ADMIN');
    await open(page, `/govern/recordings/${await aRecording(context)}`);
    await page.getByRole('slider', { name: 'Position' }).press('End');
    const screen = page.locator('section[aria-label="Screen of the recorded shell"] pre');
    await expect.poll(() => screen.textContent(), { timeout: 10_000 }).toContain('look: 20');
    await page.getByLabel('Find in this recording').fill('Linux');
    await page.keyboard.press('Enter');
    await says(page, /^\d+ lines?$/);
    expect(complaints).toEqual([]);
    await context.close();
  });

  it('looks on at an open shell, and ends it', async () => {
    if (!RECORDED) return console.log('SKIPPED: there is no recorded shell here');
    const { page, context, complaints } = await visit(browser, 'ADMIN');
    const id = await aRecording(context, 'recording');
    await open(page, `/govern/recordings/${id}`);
    await page.getByRole('button', { name: 'Watch live' }).click();
    const screen = page.locator('section[aria-label="Screen of the recorded shell"] pre');
    await expect.poll(() => screen.textContent(), { timeout: 15_000 }).toMatch(/UTC/);
    await page.getByRole('button', { name: 'Terminate' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Terminate' }).click();
    await says(page, 'The session has ended.');
    expect(complaints).toEqual([]);
    await context.close();
  });
});

describe('somebody with few rights', () => {
  it('asks what is missing, asks for it, and an administrator approves', async () => {
    const ada = await visit(browser, 'RESTRICTED');
    await open(ada.page, '/fleet/clusters/dev-local');
    await ada.page.getByLabel('Verb').fill('delete');
    await ada.page.getByRole('button', { name: 'Ask', exact: true }).click();
    await says(ada.page, 'The hub says so:');
    await ada.page.getByRole('link', { name: 'Ask for this right' }).click();
    const reason = `INC-${Date.now()}`;
    await ada.page.getByLabel('Reason').fill(reason);
    await ada.page.getByRole('dialog').getByRole('button', { name: 'Ask', exact: true }).click();
    await says(ada.page, reason);
    // Nobody decides his own request; the button says so.
    await ada.page.getByRole('button', { name: /^Approve/ }).click({ force: true });
    await says(ada.page, 'Nobody decides his own request.');
    const admin = await visit(browser, 'ADMIN');
    await open(admin.page, ada.page.url());
    await admin.page.getByRole('button', { name: 'Approve' }).click();
    await admin.page.getByRole('dialog').getByRole('button', { name: 'Approve' }).click();
    await says(admin.page, 'Approved.');
    await open(ada.page, ada.page.url());
    await ada.page.getByRole('complementary').getByText('granted', { exact: true }).waitFor();
    await Promise.all([ada.context.close(), admin.context.close()]);
  });

  it('is told which right is missing where an action is not to be had', async () => {
    const { page, context } = await visit(browser, 'RESTRICTED');
    await open(page, '/fleet');
    await page.getByRole('button', { name: /^Add a cluster/ }).click({ force: true });
    await says(page, /Needs a role that administers the hub/);
    await context.close();
  });
});

describe('somebody without rights', () => {
  it('sees no cluster, and how to ask', async () => {
    const { page, context } = await visit(browser, 'STRANGER');
    await open(page, '/fleet');
    await says(page, 'You may reach no cluster');
    await page.getByRole('link', { name: 'Ask for access' }).click();
    await page.getByRole('dialog', { name: 'Ask for access' }).waitFor();
    await open(page, '/fleet/clusters/prod-eu');
    await says(page, 'There is no such thing');
    await context.close();
  });
});

describe('keys', () => {
  it('filter, walk, open, help and lead anywhere', async () => {
    const { page, context } = await visit(browser, 'ADMIN');
    await open(page, '/fleet?view=table');
    await page.keyboard.press('/');
    await page.keyboard.type('env=dev');
    await page.waitForURL(/q=env/);
    await expect.poll(() => page.locator('[data-row]').count()).toBe(1);
    await page.keyboard.press('Escape');
    await page.keyboard.press('j');
    await page.keyboard.press('Enter');
    await page.waitForURL('**/fleet/clusters/dev-local*');
    await page.keyboard.press('?');
    await page.getByRole('dialog', { name: 'Keyboard shortcuts' }).waitFor();
    await page.keyboard.press('Escape');
    await page.keyboard.press('Control+k');
    await page.getByPlaceholder('A page, a cluster, an action').fill('prod-eu');
    await page.keyboard.press('Enter');
    await page.waitForURL('**/fleet/clusters/prod-eu*');
    await context.close();
  });
});

describe('the scope', () => {
  it('is part of the address and goes along', async () => {
    const { page, context } = await visit(browser, 'ADMIN');
    await open(page, '/fleet?cluster=prod-*');
    expect(await page.locator('main [data-row-link]').count()).toBe(1);
    await page.getByRole('link', { name: 'Audit' }).first().click();
    await page.waitForURL(/\/govern\/audit\?.*cluster=prod-\*/);
    await context.close();
  });
});

it('dark colours are remembered before the first paint', async () => {
  const { page, context } = await visit(browser, 'ADMIN');
  await open(page, '/settings/profile');
  await page.getByRole('button', { name: 'Dark colours' }).click();
  await page.reload({ waitUntil: 'commit' });
  await expect.poll(() => page.evaluate(() => document.documentElement.dataset.theme)).toBe('dark');
  await context.close();
});
