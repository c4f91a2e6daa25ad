import { describe, expect, it } from 'vitest';
import { exactScope, fits } from './scope';

describe('scope', () => {
  it('reads * as anything and everything else as itself', () => {
    expect(fits(undefined, 'dev')).toBe(true);
    expect(fits('prod-*', 'prod-eu-1')).toBe(true);
    expect(fits('prod-*', 'a-prod-1')).toBe(false);
    expect(fits('*-eu-*', 'prod-eu-1')).toBe(true);
    expect(fits('a.b', 'axb')).toBe(false);
    expect(fits('a.b', 'a.b')).toBe(true);
  });

  it('gives the hub names only', () => {
    expect(exactScope('prod-*')).toBeUndefined();
    expect(exactScope('prod-1')).toBe('prod-1');
  });
});
