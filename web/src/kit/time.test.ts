import { describe, expect, it } from 'vitest';
import { ago, stretch } from './time';

describe('times', () => {
  it('are relative in the largest unit that fits', () => {
    const now = Date.UTC(2026, 0, 2);
    expect(ago(now - 2_000, now)).toBe('now');
    expect(ago(now - 42_000, now)).toMatch(/42\s?s/);
    expect(ago(now - 3_599_000, now)).toMatch(/59\s?m/);
    expect(ago(now + 2 * 86_400_000, now)).toMatch(/in 2\s?d/);
  });

  it('stretches say at most two units', () => {
    expect(stretch(850)).toBe('850 ms');
    expect(stretch(59_400)).toBe('59 s');
    expect(stretch(61_000)).toBe('1 min 1 s');
    expect(stretch(3_600_000)).toBe('1 h');
    expect(stretch(3 * 86_400_000)).toBe('3 d');
  });
});
