/**
 * The hub that the tests visit and the browser they visit it with. `cargo xtask test --only web` starts the hub and
 * says in the environment where it is; nothing of it is played.
 */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { type Browser, type BrowserContext, chromium, type Page } from 'playwright-core';

function needed(name: string): string {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set; run: cargo xtask test --only web`);
  return value;
}

export const URL_OF_HUB = needed('FLOTILLA_URL');
export const KUBECONFIG = () => readFileSync(needed('FLOTILLA_KUBECONFIG'), 'utf8');
export const RECORDED = process.env.FLOTILLA_RECORDED === 'yes';

export type Who = 'ADMIN' | 'RESTRICTED' | 'STRANGER';

export function account(who: Who): { email: string; password: string } {
  const [email = '', password = ''] = needed(`FLOTILLA_${who}`).split(' ');
  return { email, password };
}

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

export interface Visit {
  context: BrowserContext;
  page: Page;
  /** What browsers say of violations of the content security policy, of scripts' faults, of answers 5xx. */
  complaints: string[];
}

export interface Look {
  scheme?: 'light' | 'dark';
  width?: number;
  height?: number;
}

export async function browse(): Promise<Browser> {
  return chromium.launch({ executablePath: '/usr/bin/chromium', args: ['--no-sandbox'] });
}

/** A browser of somebody's own, signed in unless `who` is left out. */
export async function visit(browser: Browser, who?: Who, look: Look = {}): Promise<Visit> {
  const context = await browser.newContext({
    ignoreHTTPSErrors: true,
    baseURL: URL_OF_HUB,
    colorScheme: look.scheme ?? 'light',
    viewport: { width: look.width ?? 1280, height: look.height ?? 800 },
    reducedMotion: 'reduce',
    acceptDownloads: true,
  });
  const complaints: string[] = [];
  const page = await context.newPage();
  page.on('console', (message) => {
    const text = message.text();
    // Answers 4xx are logged as errors by browsers; pages explain them.
    if (message.type() === 'error' && !/status of 4\d\d/.test(text)) complaints.push(text);
  });
  page.on('pageerror', (error) => complaints.push(String(error)));
  page.on(
    'response',
    (response) => response.status() >= 500 && complaints.push(`${response.status()} ${response.url()}`),
  );
  await page.addInitScript(() =>
    document.addEventListener('securitypolicyviolation', (event) =>
      console.error(`CSP refuses ${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}`),
    ),
  );
  if (who) {
    const answer = await post(context, '/auth/login', { ...account(who), session: 'cookie' });
    if (!answer.ok()) throw new Error(`${who} cannot sign in: ${await answer.text()}`);
  }
  return { context, page, complaints };
}

/** A change through the API, as a page of the hub sends it. */
export async function post(context: BrowserContext, path: string, data: unknown, method = 'POST') {
  return context.request.fetch(path, { method, data, headers: { origin: URL_OF_HUB } });
}

/** Goes to a page and waits until it has what it asked for. */
export async function open(page: Page, path: string) {
  await page.goto(path);
  await page.waitForSelector('h1,[role=alert]');
  await page.waitForLoadState('networkidle');
}

interface Violation {
  id: string;
  nodes: { html: string; failureSummary?: string }[];
}

/** What axe finds on the page by WCAG 2.2 A and AA and its best practices. */
export async function axe(page: Page): Promise<string[]> {
  // Through the debugging protocol, which no content security policy binds.
  await page.evaluate(AXE);
  const violations = await page.evaluate(async () => {
    const run = (window as unknown as { axe: { run: (options: unknown) => Promise<{ violations: unknown }> } }).axe;
    const tags = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'];
    return (await run.run({ runOnly: { type: 'tag', values: tags } })).violations as Violation[];
  });
  return violations.flatMap(({ id, nodes }) =>
    nodes.map(({ html, failureSummary }) => `${id}: ${html.slice(0, 160)} ${failureSummary ?? ''}`),
  );
}

/** Something of everything, so that no page is empty; made once through the hub's own API. */
export async function furnish(browser: Browser) {
  const admin = await visit(browser, 'ADMIN');
  const make = async (path: string, data: unknown, method = 'POST') => {
    const answer = await post(admin.context, path, data, method);
    if (!answer.ok() && answer.status() !== 409)
      throw new Error(`${method} ${path}: ${answer.status()} ${await answer.text()}`);
    return answer.status() === 201 || answer.status() === 200 ? ((await answer.json()) as Record<string, unknown>) : {};
  };
  const known = await admin.context.request.get('/api/orgs');
  const { orgs } = (await known.json()) as { orgs: { name: string }[] };
  if (orgs.some((org) => org.name === 'acme')) return admin.context.close();
  for (const [name, labels] of [
    ['dev-local', { env: 'dev' }],
    ['prod-eu', { env: 'prod', region: 'eu' }],
    ['edge-oslo', { env: 'prod', region: 'no' }],
  ] as const) {
    await make(`/api/clusters/${name}`, { labels }, 'PUT');
  }
  const acme = await make('/api/orgs', { name: 'acme', display_name: 'Acme Shipping', owner: account('ADMIN').email });
  await make(`/api/orgs/${acme.id}/members`, { email: account('RESTRICTED').email, role: 'org_member' }, 'PUT');
  const team = await make('/api/teams', { org: acme.id, name: 'pay' });
  await make(`/api/teams/${team.id}/members`, { email: account('RESTRICTED').email, role: 'developer' }, 'PUT');
  await make(
    `/api/teams/${team.id}/policy`,
    { bindings: [{ role: 'developer', policy: 'developer' }], approvals: 1 },
    'PUT',
  );
  await make(`/api/orgs/${acme.id}/clusters/prod-eu`, { team: team.id, mode: 'tier' }, 'PUT');
  await make(`/api/orgs/${acme.id}/invite`, { email: 'new@example.com', role: 'org_member' });
  await make('/api/roles', {
    name: 'support',
    description: 'Looks at what runs, reads logs',
    clusters: [{ name: '*', namespaces: ['*'], verbs: ['get', 'list', 'logs'], resources: ['pods', 'deployments'] }],
  });
  await make('/api/api-keys', { name: 'ci', scopes: ['k8s:dev-*:get,list,watch'], expiresInDays: 90 });
  await make('/api/clusters/dev-local/share', { subject: account('RESTRICTED').email, level: 'viewer' });
  await make('/api/clusters/dev-local/default', undefined, 'PUT');
  const ada = await visit(browser, 'RESTRICTED');
  for (const [cluster, reason] of [
    ['dev-local', 'INC-42: orders hang, I need to look into the queue'],
    ['dev-*', 'INC-40'],
  ]) {
    const ask = {
      cluster,
      namespaces: ['pay'],
      verbs: ['get', 'list', 'exec'],
      resources: ['pods'],
      seconds: 3600,
      reason,
    };
    const asked = await post(ada.context, '/api/access-requests', ask);
    if (!asked.ok()) throw new Error(`asking: ${await asked.text()}`);
    const { id } = (await asked.json()) as { id: string };
    if (reason === 'INC-40')
      await make(`/api/access-requests/${id}/approve`, { comment: 'Until the incident is over' });
  }
  await ada.context.close();
  await admin.context.close();
}

/** The newest recording that is complete, or that goes on; `undefined` where there is none. */
export async function aRecording(
  context: BrowserContext,
  state: 'complete' | 'recording' = 'complete',
): Promise<string | undefined> {
  const answer = await context.request.get('/api/recordings');
  const { recordings } = (await answer.json()) as { recordings: { id: string; state: string }[] };
  return recordings.find((one) => one.state === state)?.id;
}

/** Every page by its address; `{recording}` stands for one that exists. */
export const PAGES = [
  '/fleet',
  '/fleet?view=table',
  '/fleet/add',
  '/fleet/add?way=kubeconfig',
  '/fleet/clusters/dev-local',
  '/fleet/clusters/edge-oslo',
  '/govern/requests',
  '/govern/recordings',
  '/govern/sessions',
  '/govern/audit',
  '/settings/agents',
  '/settings/users',
  '/settings/roles',
  '/settings/roles?row=shop-developer',
  '/settings/organisations',
  '/settings/organisations/acme',
  '/settings/organisations/acme/teams/pay',
  '/settings/keys',
  '/settings/profile',
] as const;
