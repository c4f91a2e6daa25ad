/** How many rows there are when, by outcome. A bar leads to its stretch of time. */
import type { Bucket, Timeline } from '@/api/hub';
import { exact } from '@/kit/time';
import { t } from '@/text';

const PARTS = [
  ['succeeded', 'var(--ok)'],
  ['attempted', 'var(--idle)'],
  ['denied', 'var(--warn)'],
  ['aborted', 'var(--warn)'],
  ['failed', 'var(--bad)'],
] as const;

function total(bucket: Bucket): number {
  return PARTS.reduce((sum, [part]) => sum + bucket[part], 0);
}

export function Density({ timeline, onPick }: { timeline: Timeline; onPick: (from: string, to: string) => void }) {
  const { buckets, width_ms } = timeline;
  const most = Math.max(1, ...buckets.map(total));
  if (buckets.length === 0) return null;
  return (
    <section aria-label={t.audit.timeline} className="border-b border-line bg-surface px-3.5 py-2">
      <div className="flex h-11 items-end gap-px">
        {buckets.map((bucket) => {
          const count = total(bucket);
          const end = new Date(Date.parse(bucket.start) + width_ms).toISOString();
          const label = t.audit.bucket(count, exact(bucket.start));
          if (count === 0) return <span key={bucket.start} className="h-px flex-1 bg-line" />;
          return (
            <button
              key={bucket.start}
              type="button"
              title={label}
              aria-label={label}
              onClick={() => onPick(bucket.start, end)}
              className="flex h-full flex-1 flex-col-reverse rounded-[1px] hover:bg-line-soft"
            >
              {PARTS.map(
                ([part, colour]) =>
                  bucket[part] > 0 && (
                    <span
                      key={part}
                      style={{ background: colour, height: `max(2px, ${(bucket[part] / most) * 100}%)` }}
                      className="block w-full rounded-[1px]"
                    />
                  ),
              )}
            </button>
          );
        })}
      </div>
      <div className="mt-1 flex justify-between text-[11px] text-ink-3">
        <span>{exact(buckets[0]?.start ?? '')}</span>
        <span>{exact(Date.parse(buckets.at(-1)?.start ?? '') + width_ms)}</span>
      </div>
    </section>
  );
}
