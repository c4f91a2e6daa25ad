import { expect, it } from 'vitest';
import { sinceOf } from './since';

it('reads spans and instants, and nothing else', () => {
  const now = Date.UTC(2026, 0, 10, 12, 30, 45);
  expect(sinceOf('1h', now)).toBe('2026-01-10T11:30:00.000Z');
  expect(sinceOf('7d', now)).toBe('2026-01-03T12:30:00.000Z');
  expect(sinceOf('2026-01-01T00:00:00Z', now)).toBe('2026-01-01T00:00:00Z');
  expect(sinceOf('yesterday', now)).toBeUndefined();
  expect(sinceOf('', now)).toBeUndefined();
});
