/** What pages ask the hub for, with the names under which answers are kept. */
import { keepPreviousData, queryOptions } from '@tanstack/react-query';
import { full, HubError, hub, ok } from './client';
import type { ClusterView } from './hub';

export const whoami = queryOptions({
  queryKey: ['whoami'],
  queryFn: ({ signal }) => ok(hub.GET('/api/whoami', { signal })),
  staleTime: 60_000,
  retry: (count, error) => !(error instanceof HubError && error.status === 401) && count < 2,
});

export const me = queryOptions({
  queryKey: ['me'],
  queryFn: ({ signal }) => ok(hub.GET('/api/me', { signal })),
});

export const signInConfig = queryOptions({
  queryKey: ['sign-in-config'],
  queryFn: ({ signal }) => ok(hub.GET('/auth/config', { signal })),
  staleTime: Number.POSITIVE_INFINITY,
});

export const clusterList = queryOptions({
  queryKey: ['clusters'],
  // The client's type leaves out `metadata`, which is open to any keys.
  queryFn: async ({ signal }) => (await ok(hub.GET('/api/clusters', { signal }))).clusters as ClusterView[],
  refetchInterval: 15_000,
});

export const clusterOf = (name: string) =>
  queryOptions({
    queryKey: ['clusters', name],
    queryFn: async ({ signal }) =>
      (await ok(hub.GET('/api/clusters/{id}', { params: { path: { id: name } }, signal }))) as ClusterView,
    refetchInterval: 15_000,
  });

export const clusterShares = (name: string) =>
  queryOptions({
    queryKey: ['clusters', name, 'shares'],
    queryFn: async ({ signal }) =>
      (await ok(hub.GET('/api/clusters/{id}/share', { params: { path: { id: name } }, signal }))).shares,
  });

export const agentList = queryOptions({
  queryKey: ['agents'],
  queryFn: async ({ signal }) => (await ok(hub.GET('/api/agents', { signal }))).agents,
  refetchInterval: 10_000,
});

export const userList = queryOptions({
  queryKey: ['users'],
  queryFn: async ({ signal }) => (await ok(hub.GET('/api/admin/users', { signal }))).users,
});

/** Roles that accounts hold themselves, without those of teams and grants. */
export const directRoles = queryOptions({
  queryKey: ['users', 'direct'],
  queryFn: async ({ signal }) => (await ok(hub.GET('/api/users', { signal }))).users,
});

export const roleList = queryOptions({
  queryKey: ['roles'],
  queryFn: async ({ signal }) => (await ok(hub.GET('/api/roles', { signal }))).roles,
});

export const orgList = queryOptions({
  queryKey: ['orgs'],
  queryFn: async ({ signal }) => (await ok(hub.GET('/api/orgs', { signal }))).orgs,
});

const org = (id: string) => ({ params: { path: { id } } });

export const orgMembers = (id: string) =>
  queryOptions({
    queryKey: ['orgs', id, 'members'],
    queryFn: async ({ signal }) => (await ok(hub.GET('/api/orgs/{id}/members', { ...org(id), signal }))).members,
  });

export const orgClusters = (id: string) =>
  queryOptions({
    queryKey: ['orgs', id, 'clusters'],
    queryFn: async ({ signal }) => (await ok(hub.GET('/api/orgs/{id}/clusters', { ...org(id), signal }))).clusters,
  });

export const orgInvitations = (id: string) =>
  queryOptions({
    queryKey: ['orgs', id, 'invitations'],
    queryFn: async ({ signal }) =>
      (await ok(hub.GET('/api/orgs/{id}/invitations', { ...org(id), signal }))).invitations,
  });

export const teamList = queryOptions({
  queryKey: ['teams'],
  queryFn: async ({ signal }) => (await ok(hub.GET('/api/teams', { signal }))).teams,
});

export const teamMembers = (id: string) =>
  queryOptions({
    queryKey: ['teams', id, 'members'],
    queryFn: async ({ signal }) => (await ok(hub.GET('/api/teams/{id}/members', { ...org(id), signal }))).members,
  });

export const requestList = queryOptions({
  queryKey: ['requests'],
  queryFn: async ({ signal }) => (await ok(hub.GET('/api/access-requests', { signal }))).requests,
  refetchInterval: 20_000,
});

export const sessionList = (user?: string) =>
  queryOptions({
    queryKey: ['sessions', user ?? 'own'],
    queryFn: async ({ signal }) =>
      (await ok(hub.GET('/api/sessions', { params: { query: { user } }, signal }))).sessions,
  });

export const streamList = queryOptions({
  queryKey: ['streams'],
  queryFn: async ({ signal }) => (await ok(hub.GET('/debug/streams', { signal }))).streams,
  refetchInterval: 5000,
});

export const keyList = queryOptions({
  queryKey: ['api-keys'],
  queryFn: async ({ signal }) => (await ok(hub.GET('/api/api-keys', { signal }))).apiKeys,
});

export interface AuditFilter {
  actor?: string;
  verb?: string;
  outcome?: 'attempted' | 'succeeded' | 'failed' | 'denied' | 'aborted';
  cluster?: string;
  namespace?: string;
  name?: string;
  request_id?: string;
  since?: string;
  until?: string;
}

export const auditTimeline = (filter: AuditFilter) =>
  queryOptions({
    queryKey: ['audit', 'timeline', filter],
    queryFn: async ({ signal }) =>
      ok(hub.GET('/api/audit/timeline', { params: { query: { ...filter, buckets: 72 } }, signal })),
    placeholderData: keepPreviousData,
  });

/** One page of rows, and whose they are. */
export async function auditPage(filter: AuditFilter, before: number | undefined, signal: AbortSignal) {
  const answer = await full(hub.GET('/api/audit', { params: { query: { ...filter, before, limit: 100 } }, signal }));
  return { page: answer.data, everybodys: answer.response.headers.get('x-audit-scope') === 'all' };
}

export interface RecordingFilter {
  user?: string;
  cluster?: string;
  namespace?: string;
  pod?: string;
  text?: string;
  since?: string;
}

export async function recordingPage(filter: RecordingFilter, before: string | undefined, signal: AbortSignal) {
  const answer = await full(
    hub.GET('/api/recordings', { params: { query: { ...filter, before, limit: 100 } }, signal }),
  );
  return { page: answer.data, everybodys: answer.response.headers.get('x-audit-scope') === 'all' };
}

export const recordingOf = (id: string) =>
  queryOptions({
    queryKey: ['recordings', id],
    queryFn: ({ signal }) => ok(hub.GET('/api/recordings/{id}', { params: { path: { id } }, signal })),
    refetchInterval: (query) => (query.state.data?.state === 'recording' ? 3000 : false),
  });
