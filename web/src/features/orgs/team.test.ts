import { expect, it } from 'vitest';
import { bindingsOf } from './team';

it('reads bindings, and keeps the clusters of those that were there', () => {
  const before = [{ role: 'developer' as const, policy: 'dev', clusters: ['dev-*'] }];
  expect(bindingsOf('developer: dev\nviewer:look', before)).toEqual([
    { role: 'developer', policy: 'dev', clusters: ['dev-*'] },
    { role: 'viewer', policy: 'look', clusters: undefined },
  ]);
  expect(() => bindingsOf('owner: dev', [])).toThrow('owner: dev');
  expect(() => bindingsOf('viewer', [])).toThrow();
});
