/** Short messages about what was just done. They stay until read when something went wrong. */
import { useSyncExternalStore } from 'react';
import { t } from '@/text';
import { cx } from './class';

export type Tone = 'ok' | 'warn' | 'bad';
interface Message {
  id: number;
  tone: Tone;
  text: string;
}

let messages: readonly Message[] = [];
let next = 1;
const listeners = new Set<() => void>();

function set(changed: readonly Message[]) {
  messages = changed;
  for (const each of listeners) each();
}

function dismiss(id: number) {
  set(messages.filter((message) => message.id !== id));
}

/** Says something. The same text is not shown twice at once. */
export function toast(tone: Tone, text: string) {
  const id = next++;
  set([...messages.filter((message) => message.text !== text), { id, tone, text }].slice(-4));
  if (tone !== 'bad') setTimeout(() => dismiss(id), tone === 'ok' ? 5000 : 9000);
}

export function Toasts() {
  const shown = useSyncExternalStore(
    (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    () => messages,
  );
  return (
    <section
      aria-label={t.common.messages}
      aria-live="polite"
      className="pointer-events-none fixed right-3 bottom-3 z-50 grid w-[min(420px,calc(100vw-24px))] gap-2 max-wide:bottom-16"
    >
      {shown.map(({ id, tone, text }) => (
        <div
          key={id}
          className={cx(
            'pointer-events-auto flex items-start gap-2 rounded-box border bg-surface py-2 pr-1.5 pl-3 shadow-float',
            { ok: 'border-ok', warn: 'border-warn', bad: 'border-bad' }[tone],
          )}
        >
          <span
            className="state mt-px min-w-0 flex-1 items-start! whitespace-normal! text-ink! before:mt-[5px]"
            data-tone={tone}
          >
            {text}
          </span>
          <button
            type="button"
            className="rounded-ctl px-1.5 text-ink-2 hover:bg-line-soft"
            onClick={() => dismiss(id)}
          >
            <span aria-hidden="true">×</span>
            <span className="sr-only">{t.common.dismiss}</span>
          </button>
        </div>
      ))}
    </section>
  );
}
