/** Beginnings of stretches of time as they stand in addresses: `24h`, `7d`, or an instant (RFC 3339). */
const SPAN = /^(\d+)([mhd])$/;
const UNITS: Record<string, number> = { m: 60_000, h: 3_600_000, d: 86_400_000 };

/** The instant, to the minute, so that what was asked for in the same minute is found again. */
export function sinceOf(since: string | undefined, now = Date.now()): string | undefined {
  if (!since) return undefined;
  const [, count, unit = ''] = SPAN.exec(since) ?? [];
  const span = Number(count) * (UNITS[unit] ?? Number.NaN);
  if (!Number.isNaN(span)) return new Date(Math.floor((now - span) / 60_000) * 60_000).toISOString();
  return Number.isNaN(Date.parse(since)) ? undefined : since;
}
