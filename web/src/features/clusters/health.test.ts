import { describe, expect, it } from 'vitest';
import type { ClusterView } from '@/api/hub';
import { conditionOf, matches, versionOf } from './health';

const cluster = (more: Partial<ClusterView>): ClusterView => ({
  id: '1',
  name: 'prod-eu-1',
  status: 'connected',
  backend: 'agent',
  metadata: {},
  ...more,
});

describe('condition of a cluster', () => {
  it('is away when its agent is, whatever was found before', () => {
    const health = { status: 'healthy', connection: 'connected', latency_ms: 3 };
    expect(conditionOf(cluster({ status: 'disconnected', health }))).toMatchObject({
      word: 'away',
      tone: 'bad',
      error: 'agent',
    });
    expect(conditionOf(cluster({ status: 'disconnected', backend: 'kubeconfig', health })).word).toBe('healthy');
  });

  it('is unknown until somebody looked', () => {
    expect(conditionOf(cluster({}))).toMatchObject({ word: 'unknown', tone: 'idle' });
  });
});

describe('filter', () => {
  it('finds all words, anywhere', () => {
    const one = cluster({
      labels: { env: 'prod', region: 'eu' },
      health: { status: 'degraded', connection: 'connected', latency_ms: 1 },
    });
    expect(matches(one, 'env=prod degraded')).toBe(true);
    expect(matches(one, 'env=prod healthy')).toBe(false);
    expect(matches(one, 'PROD')).toBe(true);
  });
});

it('leaves out what a distribution appends to the version', () => {
  expect(
    versionOf(
      cluster({
        health: { status: 'healthy', connection: 'connected', latency_ms: 1, server_version: 'v1.36.1-eks-abc' },
      }),
    ),
  ).toBe('v1.36.1');
});
