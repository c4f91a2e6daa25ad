import type { ReactNode } from 'react';
import { useEffect } from 'react';
import { t } from '@/text';
import { cx } from './class';

/** A page: its title, one sentence, its actions, its content. */
export function Page({
  title,
  lead,
  actions,
  children,
  flush,
}: {
  title: string;
  lead?: ReactNode;
  actions?: ReactNode;
  children: ReactNode;
  flush?: boolean;
}) {
  useTitle(title);
  return (
    <div className={cx('flex min-h-full flex-col', !flush && 'p-3.5')}>
      <header className={cx('flex flex-wrap items-center gap-x-3 gap-y-2', flush ? 'px-3.5 pt-3.5 pb-3' : 'mb-3')}>
        <h1 className="m-0 text-[20px] leading-tight font-[650] tracking-[-0.015em]">{title}</h1>
        {lead && <p className="m-0 text-ink-2">{lead}</p>}
        {actions && <div className="ml-auto flex flex-wrap items-center gap-1.5">{actions}</div>}
      </header>
      {children}
    </div>
  );
}

/** The document's title; screen readers read it when the page changes. */
export function useTitle(title: string) {
  useEffect(() => {
    document.title = `${title} · ${t.product}`;
  }, [title]);
}

export function Panel({
  title,
  aside,
  children,
  className,
}: {
  title?: ReactNode;
  aside?: ReactNode;
  children: ReactNode;
  className?: string;
}) {
  return (
    <section className={cx('min-w-0 rounded-box border border-line bg-surface', className)}>
      {title && (
        <header className="flex min-h-10 flex-wrap items-center gap-x-2 gap-y-1 border-b border-line-soft px-3 py-1.5">
          <h2 className="m-0 text-[13px] font-semibold">{title}</h2>
          {aside && <div className="ml-auto flex flex-wrap items-center gap-1.5 text-ink-2">{aside}</div>}
        </header>
      )}
      {children}
    </section>
  );
}

/** Names and values. */
export function Facts({ facts }: { facts: readonly (readonly [string, ReactNode] | false | null | undefined | '')[] }) {
  return (
    <dl className="m-0 grid grid-cols-[110px_minmax(0,1fr)] gap-x-2.5 gap-y-1.5">
      {facts.map(
        (fact) =>
          fact && (
            <div key={fact[0]} className="contents">
              <dt className="text-ink-3">{fact[0]}</dt>
              <dd className="m-0 min-w-0 [overflow-wrap:anywhere]">{fact[1]}</dd>
            </div>
          ),
      )}
    </dl>
  );
}

/** A list with what was opened beside it; on a narrow screen, over it. */
export function Split({
  children,
  detail,
  label,
  onClose,
}: {
  children: ReactNode;
  detail: ReactNode;
  label: string;
  onClose: () => void;
}) {
  return (
    <div
      className={cx(
        'grid min-h-0 flex-1',
        detail ? 'grid-cols-[minmax(0,1fr)_420px] max-wide:grid-cols-1' : 'grid-cols-1',
      )}
    >
      <div className="min-w-0">{children}</div>
      {detail && (
        <aside
          aria-label={label}
          data-detail
          className="relative border-l border-line bg-surface p-3.5 max-wide:fixed max-wide:inset-0 max-wide:z-30 max-wide:overflow-auto max-wide:border-0"
        >
          <button
            type="button"
            data-close-detail
            onClick={onClose}
            className="absolute top-2.5 right-2.5 z-10 size-8 rounded-ctl text-[16px] text-ink-2 hover:bg-line-soft"
          >
            <span aria-hidden="true">×</span>
            <span className="sr-only">{t.common.close}</span>
          </button>
          <div className="sticky top-3.5">{detail}</div>
        </aside>
      )}
    </div>
  );
}

/** A line of filters above a list. */
export function Filters({ children }: { children: ReactNode }) {
  return (
    <div className="flex flex-wrap items-center gap-2 border-y border-line bg-surface px-3.5 py-2">{children}</div>
  );
}

export function Chip({ children, tone }: { children: ReactNode; tone?: 'accent' | 'warn' }) {
  return (
    <span
      className={cx(
        'inline-flex h-[22px] items-center rounded-ctl px-2 text-[12px] whitespace-nowrap',
        tone === 'accent'
          ? 'bg-accent-soft text-ink'
          : tone === 'warn'
            ? 'bg-warn-soft text-warn'
            : 'bg-line-soft text-ink-2',
      )}
    >
      {children}
    </span>
  );
}
