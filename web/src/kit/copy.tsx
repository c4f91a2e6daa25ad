import { useState } from 'react';
import { t } from '@/text';
import { Button } from './button';
import { toast } from './toast';

async function copy(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false;
  }
}

export function Copy({ text, label = t.common.copy }: { text: string; label?: string }) {
  const [done, setDone] = useState(false);
  const click = async () => {
    if (!(await copy(text))) return toast('warn', t.common.copyFailed);
    setDone(true);
    setTimeout(() => setDone(false), 2000);
  };
  return (
    <Button onClick={click}>
      <span aria-live="polite">{done ? t.common.copied : label}</span>
    </Button>
  );
}

/** A text to take along: a command, a token, a link. */
export function CopyBox({ text, label, lines }: { text: string; label: string; lines?: number }) {
  return (
    <div className="grid gap-1.5">
      <div className="flex items-center gap-2">
        <span className="text-[12px] font-medium text-ink-2">{label}</span>
        <span className="ml-auto" />
        <Copy text={text} />
      </div>
      <section
        // biome-ignore lint/a11y/noNoninteractiveTabindex: a region that scrolls must be reachable with the keyboard
        tabIndex={0}
        aria-label={label}
        className="overflow-auto rounded-ctl bg-bg p-2.5"
        style={{ maxHeight: lines ? `${lines * 18 + 20}px` : undefined }}
      >
        <pre className="m-0 leading-[18px] break-all whitespace-pre-wrap">{text}</pre>
      </section>
    </div>
  );
}
