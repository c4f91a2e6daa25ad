import { describe, expect, it } from 'vitest';
import { localTarget } from './target';

describe('where one goes after signing in', () => {
  it('is a path of ours', () => {
    expect(localTarget('/govern/audit?cluster=dev#x')).toBe('/govern/audit?cluster=dev#x');
    expect(localTarget(undefined)).toBe('/');
  });

  it('is never another site', () => {
    for (const evil of [
      'https://evil.example',
      '//evil.example',
      '/\\evil.example',
      '\\\\evil',
      'javascript:alert(1)',
      '/\t/evil.example',
    ]) {
      expect(new URL(localTarget(evil), location.origin).origin, evil).toBe(location.origin);
    }
  });
});
