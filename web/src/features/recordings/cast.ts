/** asciicast v2 (https://docs.asciinema.org/manual/asciicast/v2/), as far as replaying needs it. */

export interface CastEvent {
  /** Seconds from the beginning. */
  at: number;
  /** `o` output, `i` input, `r` resize, `m` mark. */
  code: string;
  data: string;
}

export interface Cast {
  width: number;
  height: number;
  events: CastEvent[];
}

export function eventOf(line: string): CastEvent | null {
  try {
    const value: unknown = JSON.parse(line);
    if (!Array.isArray(value)) return null;
    const [at, code, data] = value as unknown[];
    return typeof at === 'number' && typeof code === 'string' && typeof data === 'string' ? { at, code, data } : null;
  } catch {
    return null;
  }
}

/** Whether a screen has room for anything: terminals that do not know their size say 0 or 1. */
function isScreen(width: number, height: number): boolean {
  return width >= 2 && height >= 2;
}

/** Size of the screen that a header names; 80 by 24 where it names none. */
export function sizeOf(header: string): { width: number; height: number } {
  try {
    const { width = 0, height = 0 } = JSON.parse(header) as { width?: number; height?: number };
    return isScreen(width, height) ? { width, height } : { width: 80, height: 24 };
  } catch {
    return { width: 80, height: 24 };
  }
}

/** `120x40`, the data of a resize. */
export function resizeOf(data: string): { width: number; height: number } | null {
  const [, width, height] = /^(\d{1,4})x(\d{1,4})$/.exec(data) ?? [];
  const size = { width: Number(width), height: Number(height) };
  return isScreen(size.width, size.height) ? size : null;
}

/** A whole recording. A last line that broke off is left out. */
export function castOf(text: string): Cast {
  const [header = '', ...lines] = text.split('\n');
  const events = lines.map(eventOf).filter((event): event is CastEvent => event !== null);
  return { ...sizeOf(header), events };
}

/** The same events with no pause longer than `limit` seconds. */
export function withoutPauses(events: readonly CastEvent[], limit: number): CastEvent[] {
  let [before, cut] = [0, 0];
  return events.map((event) => {
    cut += Math.max(0, event.at - before - limit);
    before = event.at;
    return { ...event, at: event.at - cut };
  });
}

/** When in the shortened time something was that the whole time has at `at`. */
export function shortened(events: readonly CastEvent[], short: readonly CastEvent[], at: number): number {
  const index = events.findLastIndex((event) => event.at <= at);
  return short[index]?.at ?? 0;
}
