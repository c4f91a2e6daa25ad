import { describe, expect, it } from 'vitest';
import { castOf, resizeOf, shortened, withoutPauses } from './cast';

const TEXT = '{"version":2,"width":100,"height":30}\n[0.5,"o","a"]\n[10.5,"o","b"]\n[11,"r","120x40"]\n[12,"o","c';

describe('asciicast', () => {
  it('is read up to where it broke off', () => {
    const cast = castOf(TEXT);
    expect([cast.width, cast.height]).toEqual([100, 30]);
    expect(cast.events.map((event) => event.code + event.data)).toEqual(['oa', 'ob', 'r120x40']);
  });

  it('loses its pauses, and times are found again', () => {
    const { events } = castOf(TEXT);
    const short = withoutPauses(events, 2);
    expect(short.map((event) => event.at)).toEqual([0.5, 2.5, 3]);
    expect(shortened(events, short, 10.9)).toBe(2.5);
    expect(shortened(events, short, 0.1)).toBe(0);
  });

  it('takes sizes and nothing else as sizes', () => {
    expect(resizeOf('120x40')).toEqual({ width: 120, height: 40 });
    expect(resizeOf('0x40; rm')).toBeNull();
    expect(resizeOf('1x1')).toBeNull();
    expect(castOf('{"width":0,"height":0}').height).toBe(24);
    expect(castOf('nonsense').width).toBe(80);
  });
});
