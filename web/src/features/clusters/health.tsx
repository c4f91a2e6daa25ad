/** How a cluster is, as one word, one tone and one reason. */
import type { ClusterView } from '@/api/hub';
import { State, type StateTone, sentence } from '@/kit/states';
import { t } from '@/text';

const TONES: Record<string, StateTone> = { healthy: 'ok', degraded: 'warn', denied: 'bad', unreachable: 'bad' };

export interface Condition {
  word: string;
  tone: StateTone;
  /** Class of what is wrong, a key of `t.clusters.errorTitles`. */
  error?: string;
  detail?: string;
  since?: string | null;
}

export function conditionOf(cluster: ClusterView): Condition {
  const { health } = cluster;
  if (cluster.backend === 'agent' && cluster.status !== 'connected') {
    return { word: 'away', tone: 'bad', error: 'agent', detail: health?.detail, since: cluster.last_seen };
  }
  if (!health) return { word: 'unknown', tone: 'idle' };
  const { status, error, detail, since } = health;
  return { word: status, tone: TONES[status] ?? 'idle', error: error ?? undefined, detail, since };
}

export function ClusterState({ cluster }: { cluster: ClusterView }) {
  const { word, tone } = conditionOf(cluster);
  return <State tone={tone}>{word}</State>;
}

/** `v1.36.2` without what a distribution appends. */
export function versionOf(cluster: ClusterView): string {
  const metadata = cluster.metadata as Record<string, unknown>;
  const reported = metadata.kubernetes_version ?? metadata.version;
  const version = cluster.health?.server_version ?? (typeof reported === 'string' ? reported : '');
  return version.replace(/[-+].*$/, '');
}

export function errorTitle(error: string | undefined): string {
  return (error && t.clusters.errorTitles[error]) || '';
}

/** What is wrong, as sentences; what the hub says of an agent that is away adds nothing. */
export function reasonOf({ error, detail }: Condition): string {
  const more = error === 'agent' ? errorHelp(error) : detail && sentence(detail);
  return [errorTitle(error), more].filter(Boolean).join(' ');
}

/** What to do about it. */
export function errorHelp(error: string | undefined): string {
  return (error && t.clusters.errorHelp[error]) || '';
}

/** Whether words are found in a cluster's name, labels, state or way. */
export function matches(cluster: ClusterView, words: string): boolean {
  const labels = Object.entries(cluster.labels ?? {}).map(([name, value]) => `${name}=${value}`);
  const text = [cluster.name, conditionOf(cluster).word, cluster.backend, ...labels].join(' ').toLowerCase();
  return words
    .toLowerCase()
    .split(/\s+/)
    .every((word) => text.includes(word));
}
