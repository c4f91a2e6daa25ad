import type { ButtonHTMLAttributes, ReactNode } from 'react';
import { useId } from 'react';
import { t } from '@/text';
import { cx } from './class';
import { Tip } from './tip';
import { toast } from './toast';

export type Look = 'plain' | 'primary' | 'danger' | 'quiet';

/** Class names of a button, for links that look like one. */
export function buttonClass(look: Look = 'plain', denied = false): string {
  return cx(
    'btn inline-flex h-7 flex-none items-center justify-center gap-1.5 rounded-ctl border px-[11px] font-medium whitespace-nowrap select-none max-wide:h-9',
    denied
      ? 'border-dashed border-edge bg-transparent text-ink-3'
      : {
          plain: 'border-line bg-surface text-ink hover:bg-bg',
          primary: 'border-accent bg-accent text-accent-ink hover:brightness-110',
          danger: 'border-bad bg-surface text-bad hover:bg-bad-soft',
          quiet: 'border-transparent bg-transparent text-ink-2 hover:bg-line-soft',
        }[look],
    'disabled:opacity-60',
  );
}

export interface ButtonProps extends ButtonHTMLAttributes<HTMLButtonElement> {
  look?: Look;
  /** Why one may not do this; the button stays reachable and says so. */
  denied?: string | undefined;
  /** It is being done. */
  busy?: boolean;
  children: ReactNode;
}

export function Button({ look, denied, busy, children, onClick, className, type = 'button', ...rest }: ButtonProps) {
  const reason = useId();
  if (denied) {
    return (
      <Tip text={denied}>
        <button
          {...rest}
          type="button"
          aria-disabled="true"
          aria-describedby={reason}
          className={cx(buttonClass(look, true), className)}
          onClick={(event) => {
            event.preventDefault();
            toast('warn', denied);
          }}
        >
          {children}
          <span id={reason} className="sr-only">
            {denied}
          </span>
        </button>
      </Tip>
    );
  }
  return (
    <button
      {...rest}
      type={type}
      className={cx(buttonClass(look), className)}
      onClick={busy ? undefined : onClick}
      aria-busy={busy || undefined}
      disabled={rest.disabled}
    >
      {children}
      {busy && <span className="waiting">{t.common.busy}</span>}
    </button>
  );
}
