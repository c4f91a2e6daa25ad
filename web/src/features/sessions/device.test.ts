import { expect, it } from 'vitest';
import { deviceOf } from './device';

it('names browser and system, or the program', () => {
  expect(deviceOf('Mozilla/5.0 (X11; Linux x86_64; rv:143.0) Gecko/20100101 Firefox/143.0')).toBe('Firefox on Linux');
  expect(deviceOf('Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 Chrome/140.0 Safari/537.36 Edg/140.0')).toBe(
    'Edge on Windows',
  );
  expect(deviceOf('flotilla/0.1.0 (linux)')).toBe('flotilla');
  expect(deviceOf('')).toBe('unknown device');
});
