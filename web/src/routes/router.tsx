/** The table of contents of the console: every page, its address, and what of its view stands in the address. */
import { QueryCache, QueryClient } from '@tanstack/react-query';
import {
  createRootRouteWithContext,
  createRoute,
  createRouter,
  lazyRouteComponent,
  Outlet,
  redirect,
  retainSearchParams,
} from '@tanstack/react-router';
import { HubError } from '@/api/client';
import { whoami } from '@/api/queries';
import { Loading } from '@/kit/states';
import { Crashed, NoPage } from './problems';
import { Shell } from './shell';

/** Whether somebody was signed in since this page was loaded. */
let signedIn = false;

/** A session that has ended leads to the door, and back to where one was. Doors themselves ask who one is, too. */
function leaveWhenOver(error: Error) {
  const here = location.pathname;
  const over = error instanceof HubError && error.status === 401 && error.code === 'unauthenticated';
  if (!over || here === '/login' || here.startsWith('/invitations/') || !signedIn) return;
  signedIn = false;
  location.assign(`/login?return_to=${encodeURIComponent(here + location.search)}`);
}

export const queryClient = new QueryClient({
  queryCache: new QueryCache({ onError: leaveWhenOver }),
  defaultOptions: {
    queries: {
      staleTime: 5000,
      retry: (count, error) => error instanceof HubError && (error.status === 0 || error.status >= 502) && count < 2,
      throwOnError: false,
    },
  },
});

type Search = Record<string, unknown>;

/** A parameter of the address as text; numbers are text here, too. */
function text(search: Search, name: string): string | undefined {
  const value = search[name];
  if (typeof value === 'number' || typeof value === 'boolean') return String(value);
  return typeof value === 'string' && value !== '' ? value : undefined;
}

/** Keeps the named parameters of an address, as text. */
function texts<const Names extends readonly string[]>(...names: Names) {
  return (search: Search): { [Name in Names[number]]?: string } => {
    const kept: Partial<Record<Names[number], string>> = {};
    for (const name of names as readonly Names[number][]) {
      const value = text(search, name);
      if (value !== undefined) kept[name] = value;
    }
    return kept;
  };
}

const root = createRootRouteWithContext<{ queryClient: QueryClient }>()({
  // Which clusters one looks at stays the same from page to page.
  validateSearch: texts('cluster'),
  search: { middlewares: [retainSearchParams<{ cluster?: string }>(['cluster'])] },
  component: Outlet,
  notFoundComponent: NoPage,
  errorComponent: Crashed,
});

/** Pages for those who are signed in. */
const app = createRoute({
  getParentRoute: () => root,
  id: 'app',
  component: Shell,
  notFoundComponent: NoPage,
  beforeLoad: async ({ context, location }) => {
    try {
      await context.queryClient.ensureQueryData(whoami);
      signedIn = true;
    } catch (error) {
      if (error instanceof HubError && error.status === 401) {
        throw redirect({ to: '/login', search: { return_to: location.href === '/' ? undefined : location.href } });
      }
      throw error;
    }
  },
});

const login = createRoute({
  getParentRoute: () => root,
  path: '/login',
  validateSearch: texts('return_to'),
  component: lazyRouteComponent(() => import('@/features/sign-in/page'), 'SignInPage'),
});

const invitation = createRoute({
  getParentRoute: () => root,
  path: '/invitations/$token',
  component: lazyRouteComponent(() => import('@/features/sign-in/invitation'), 'InvitationPage'),
});

const start = createRoute({
  getParentRoute: () => app,
  path: '/',
  beforeLoad: () => {
    throw redirect({ to: '/fleet', replace: true });
  },
});

const fleet = createRoute({
  getParentRoute: () => app,
  path: '/fleet',
  validateSearch: texts('q', 'view', 'sort'),
  component: lazyRouteComponent(() => import('@/features/clusters/fleet'), 'FleetPage'),
});

const addCluster = createRoute({
  getParentRoute: () => app,
  path: '/fleet/add',
  validateSearch: texts('way'),
  component: lazyRouteComponent(() => import('@/features/clusters/add'), 'AddClusterPage'),
});

const cluster = createRoute({
  getParentRoute: () => app,
  path: '/fleet/clusters/$name',
  component: lazyRouteComponent(() => import('@/features/clusters/detail'), 'ClusterPage'),
});

const requests = createRoute({
  getParentRoute: () => app,
  path: '/govern/requests',
  validateSearch: texts('state', 'row', 'ask', 'verbs', 'resources', 'namespace', 'sort'),
  component: lazyRouteComponent(() => import('@/features/access/page'), 'RequestsPage'),
});

const recordings = createRoute({
  getParentRoute: () => app,
  path: '/govern/recordings',
  validateSearch: texts('user', 'namespace', 'pod', 'text', 'since', 'sort'),
  component: lazyRouteComponent(() => import('@/features/recordings/list'), 'RecordingsPage'),
});

const recording = createRoute({
  getParentRoute: () => app,
  path: '/govern/recordings/$id',
  validateSearch: texts('text', 'at'),
  component: lazyRouteComponent(() => import('@/features/recordings/page'), 'RecordingPage'),
});

const sessions = createRoute({
  getParentRoute: () => app,
  path: '/govern/sessions',
  component: lazyRouteComponent(() => import('@/features/sessions/page'), 'SessionsPage'),
});

const audit = createRoute({
  getParentRoute: () => app,
  path: '/govern/audit',
  validateSearch: texts('actor', 'verb', 'outcome', 'namespace', 'name', 'request', 'since', 'until', 'row'),
  component: lazyRouteComponent(() => import('@/features/audit/page'), 'AuditPage'),
});

const agents = createRoute({
  getParentRoute: () => app,
  path: '/settings/agents',
  component: lazyRouteComponent(() => import('@/features/agents/page'), 'AgentsPage'),
});

const users = createRoute({
  getParentRoute: () => app,
  path: '/settings/users',
  validateSearch: texts('q', 'row', 'sort'),
  component: lazyRouteComponent(() => import('@/features/users/page'), 'UsersPage'),
});

const roles = createRoute({
  getParentRoute: () => app,
  path: '/settings/roles',
  validateSearch: texts('q', 'row', 'sort'),
  component: lazyRouteComponent(() => import('@/features/roles/page'), 'RolesPage'),
});

const orgs = createRoute({
  getParentRoute: () => app,
  path: '/settings/organisations',
  component: lazyRouteComponent(() => import('@/features/orgs/list'), 'OrgsPage'),
});

const org = createRoute({
  getParentRoute: () => app,
  path: '/settings/organisations/$org',
  component: lazyRouteComponent(() => import('@/features/orgs/org'), 'OrgPage'),
});

const team = createRoute({
  getParentRoute: () => app,
  path: '/settings/organisations/$org/teams/$team',
  component: lazyRouteComponent(() => import('@/features/orgs/team'), 'TeamPage'),
});

const keys = createRoute({
  getParentRoute: () => app,
  path: '/settings/keys',
  component: lazyRouteComponent(() => import('@/features/keys/page'), 'KeysPage'),
});

const profile = createRoute({
  getParentRoute: () => app,
  path: '/settings/profile',
  component: lazyRouteComponent(() => import('@/features/profile/page'), 'ProfilePage'),
});

const govern = [requests, recordings, recording, sessions, audit] as const;
const settings = [agents, users, roles, orgs, org, team, keys, profile] as const;

export const router = createRouter({
  routeTree: root.addChildren([
    login,
    invitation,
    app.addChildren([start, fleet, addCluster, cluster, ...govern, ...settings]),
  ]),
  context: { queryClient },
  defaultPreload: 'intent',
  defaultErrorComponent: Crashed,
  defaultPendingComponent: Loading,
  defaultPendingMs: 150,
  scrollRestoration: true,
  scrollToTopSelectors: ['#main'],
});

declare module '@tanstack/react-router' {
  interface Register {
    router: typeof router;
  }
}
