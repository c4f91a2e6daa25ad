/** What a page shows when it has nothing else to show: nothing there, not yet, not allowed, away, broken. Each says why. */
import type { ReactNode } from 'react';
import { HubError } from '@/api/client';
import { t } from '@/text';
import { Button } from './button';
import { cx } from './class';

export type StateTone = 'ok' | 'warn' | 'bad' | 'idle';

export function State({ tone, children }: { tone: StateTone; children: ReactNode }) {
  return (
    <span className="state" data-tone={tone}>
      {children}
    </span>
  );
}

export function Loading({ rows = 6 }: { rows?: number }) {
  return (
    <div role="status" className="grid gap-2 p-4">
      <span className="sr-only">{t.common.loading}</span>
      {Array.from({ length: rows }, (_, row) => row).map((row) => (
        <div
          key={row}
          aria-hidden="true"
          className="waiting h-4 rounded bg-line-soft"
          style={{ width: `${90 - ((row * 17) % 45)}%` }}
        />
      ))}
    </div>
  );
}

interface EmptyProps {
  title: string;
  children?: ReactNode;
  action?: ReactNode;
  /** It is all there is on the page, so its title is the page's. */
  whole?: boolean;
}

export function Empty({ title, children, action, whole }: EmptyProps) {
  const Title = whole ? 'h1' : 'h2';
  return (
    <div className="mx-auto grid max-w-[520px] justify-items-center gap-2 px-4 py-14 text-center">
      <Title className="m-0 text-[15px] font-[650]">{title}</Title>
      {children && <div className="text-ink-2 [overflow-wrap:anywhere]">{children}</div>}
      {action && <div className="mt-2 flex flex-wrap justify-center gap-2">{action}</div>}
    </div>
  );
}

/** A cause in a sentence. */
export function Why({
  tone = 'bad',
  title,
  children,
}: {
  tone?: 'ok' | 'warn' | 'bad';
  title?: ReactNode;
  children?: ReactNode;
}) {
  const look = {
    ok: ['bg-ok-soft', 'text-ok'],
    warn: ['bg-warn-soft', 'text-warn'],
    bad: ['bg-bad-soft', 'text-bad'],
  }[tone];
  return (
    <div className={cx('rounded-ctl px-3 py-2.5 [overflow-wrap:anywhere]', look[0])}>
      {title && <b className={cx('font-semibold', look[1])}>{title} </b>}
      {children}
    </div>
  );
}

/** What went wrong, in a form. */
export function Problem({ error }: { error: unknown }) {
  const text = error instanceof Error ? error.message : String(error);
  return (
    <div role="alert">
      <Why>{sentence(text)}</Why>
    </div>
  );
}

/** The hub's texts begin in lower case, as parts of sentences do. */
export function sentence(text: string): string {
  const trimmed = text.trim();
  const end = /[.!?]$/.test(trimmed) ? '' : '.';
  return trimmed.charAt(0).toUpperCase() + trimmed.slice(1) + end;
}

/** A page that could not be loaded. */
export function Failure({ error, retry, whole }: { error: unknown; retry?: () => void; whole?: boolean }) {
  const status = error instanceof HubError ? error.status : -1;
  const detail = error instanceof Error ? sentence(error.message) : String(error);
  const id = error instanceof HubError ? error.requestId : '';
  const kind = status === 0 ? 'away' : status === 403 ? 'denied' : status === 404 ? 'missing' : 'broken';
  const action = retry && kind !== 'denied' && (
    <Button onClick={retry} look="primary">
      {t.common.retry}
    </Button>
  );
  return (
    <div role="alert">
      <Empty whole={whole} title={t.errors.titles[kind]} action={action}>
        <p>{detail}</p>
        {kind === 'denied' && <p className="mt-2">{t.errors.deniedHelp}</p>}
        {kind === 'broken' && id && (
          <p className="mt-2 text-[12px]">
            {t.errors.requestId} <code>{id}</code>
          </p>
        )}
      </Empty>
    </div>
  );
}

interface Asked<T> {
  data: T | undefined;
  error: unknown;
  isPending: boolean;
  refetch: () => unknown;
}

interface LoadedProps<T> {
  query: Asked<T>;
  children: (data: T) => ReactNode;
  /** In a panel of the page: what goes wrong takes a line, not the page. */
  inPanel?: boolean;
  whole?: boolean;
}

/** What was asked for, once it is there; until then, or instead, why not. */
export function Loaded<T>({ query, children, inPanel, whole }: LoadedProps<T>) {
  if (query.data !== undefined) return children(query.data);
  if (query.error && inPanel) {
    return (
      <p className="m-0 px-3 py-3 text-ink-2">
        {sentence(query.error instanceof Error ? query.error.message : String(query.error))}
      </p>
    );
  }
  if (query.error) return <Failure whole={whole} error={query.error} retry={() => void query.refetch()} />;
  return <Loading rows={inPanel ? 2 : undefined} />;
}
