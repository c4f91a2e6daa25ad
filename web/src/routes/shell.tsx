/** The frame around every page: brand, scope line, rail, and what works everywhere. */
import { useQuery } from '@tanstack/react-query';
import { Link, Outlet } from '@tanstack/react-router';
import { lazy, Suspense, useCallback, useRef, useState } from 'react';
import { clusterList, requestList, signInConfig } from '@/api/queries';
import { useMe } from '@/api/rights';
import { Dialog } from '@/kit/dialog';
import { Menu } from '@/kit/menu';
import { Tip } from '@/kit/tip';
import { t } from '@/text';
import { Brand } from './brand';
import { useGlobalKeys } from './keys';
import { type Group, PAGES } from './pages';
import { ScopeChip } from './scope';
import { setTheme, useTheme } from './theme';

const Palette = lazy(() => import('./palette'));
const GROUPS: readonly Group[] = ['top', 'govern', 'settings'];

export function Shell() {
  const [open, setOpen] = useState<'palette' | 'keys' | 'pages' | null>(null);
  const palette = useCallback(() => setOpen('palette'), []);
  const help = useCallback(() => setOpen('keys'), []);
  const close = useCallback(() => setOpen(null), []);
  useGlobalKeys({ palette, help });
  return (
    <div className="frame">
      <a
        href="#main"
        className="sr-only z-50 rounded-ctl bg-accent px-3 py-2 text-accent-ink focus:not-sr-only focus:fixed focus:top-2 focus:left-2"
      >
        {t.frame.skip}
      </a>
      <header className="contents">
        <Link to="/fleet" className="frame-brand">
          <Brand />
        </Link>
        <div className="frame-scope">
          <ScopeChip />
          <button
            type="button"
            onClick={palette}
            className="flex h-7 min-w-0 flex-1 items-center gap-2 rounded-ctl border border-line bg-bg px-2.5 text-left text-ink-2 max-wide:h-9"
          >
            <span className="truncate">{t.frame.search}</span>
            <kbd className="ml-auto rounded border border-line px-1.5 text-[11px] text-ink-3 max-wide:hidden">
              Ctrl+K
            </kbd>
          </button>
          <DeveloperMark />
          <Account onKeys={help} />
        </div>
      </header>
      <Rail onMore={() => setOpen('pages')} />
      <main id="main" tabIndex={-1} className="frame-main outline-none">
        <Outlet />
      </main>
      <Suspense>{open === 'palette' && <Palette onClose={close} />}</Suspense>
      <Dialog open={open === 'keys'} onClose={close} title={t.keysHelp.title}>
        <dl className="m-0 grid grid-cols-[90px_1fr] gap-y-2">
          {t.keysHelp.rows.map(([key, what]) => (
            <div key={key} className="contents">
              <dt>
                <kbd className="rounded border border-edge px-1.5 py-0.5">{key}</kbd>
              </dt>
              <dd className="m-0">{what}</dd>
            </div>
          ))}
        </dl>
      </Dialog>
      <Dialog open={open === 'pages'} onClose={close} title={t.frame.navigation}>
        <nav aria-label={t.frame.navigation} className="grid">
          {PAGES.map(({ to, label }) => (
            <Link
              key={to}
              to={to}
              onClick={close}
              className="rounded-ctl px-2 py-3 aria-[current]:bg-accent-soft aria-[current]:font-semibold"
            >
              {label}
            </Link>
          ))}
        </nav>
      </Dialog>
    </div>
  );
}

function Rail({ onMore }: { onMore: () => void }) {
  const { data: clusters } = useQuery(clusterList);
  const { data: requests } = useQuery(requestList);
  const counts: Record<string, number | undefined> = {
    '/fleet': clusters?.length,
    '/govern/requests': requests?.filter((request) => request.may_approve).length,
  };
  return (
    <nav className="frame-rail" aria-label={t.frame.navigation}>
      {GROUPS.map((group) => (
        <div key={group} className="max-wide:contents">
          {t.frame.groups[group] && (
            <h2 className="mt-3 mb-1 px-2 text-[11px] leading-none font-semibold text-ink-3 max-wide:hidden">
              {t.frame.groups[group]}
            </h2>
          )}
          {PAGES.filter((page) => page.group === group).map(({ to, label, bar }) => (
            <Link
              key={to}
              to={to}
              className={`flex h-7 items-center rounded-ctl px-2 text-ink-2 hover:bg-line-soft aria-[current]:bg-accent-soft aria-[current]:font-semibold aria-[current]:text-ink max-wide:h-auto max-wide:min-w-14 max-wide:flex-1 max-wide:justify-center max-wide:px-1 max-wide:text-center max-wide:text-[12px] max-wide:leading-tight ${bar ? '' : 'max-wide:hidden'}`}
            >
              {label}
              {Boolean(counts[to]) && (
                <span className="ml-auto font-mono text-[11px] text-ink-3 max-wide:ml-1">{counts[to]}</span>
              )}
            </Link>
          ))}
        </div>
      ))}
      <button
        type="button"
        onClick={onMore}
        className="hidden flex-1 rounded-ctl text-[12px] text-ink-2 max-wide:block"
      >
        {t.frame.more}
      </button>
    </nav>
  );
}

function DeveloperMark() {
  const { data } = useQuery(signInConfig);
  if (!data?.developer) return null;
  return (
    <Tip text={t.frame.developerHelp}>
      <button
        type="button"
        className="flex-none rounded-ctl bg-warn-soft px-2 py-1 text-[12px] font-medium text-warn max-wide:hidden"
      >
        {t.frame.developer}
      </button>
    </Tip>
  );
}

function Account({ onKeys }: { onKeys: () => void }) {
  const me = useMe();
  const theme = useTheme();
  const form = useRef<HTMLFormElement>(null);
  const other = theme === 'dark' ? 'light' : 'dark';
  return (
    <>
      <Menu
        head={
          <>
            <b className="block truncate font-semibold">{me.email}</b>
            <span className="text-[12px] text-ink-2">
              {me.administrator ? t.frame.administrator : me.roles.join(', ')}
            </span>
          </>
        }
        trigger={
          <button
            type="button"
            className="inline-flex h-7 max-w-[260px] min-w-0 flex-none items-center gap-1.5 rounded-ctl border border-line bg-surface px-[9px] hover:bg-bg max-wide:h-9 max-wide:max-w-11"
          >
            <span className="sr-only">{t.frame.account}: </span>
            <span className="truncate max-wide:hidden">{me.email}</span>
            {me.administrator && <span className="text-ink-3 max-wide:hidden">{t.frame.administrator}</span>}
            <span aria-hidden="true" className="hidden font-semibold uppercase max-wide:inline">
              {me.email.charAt(0)}
            </span>
          </button>
        }
        items={[
          { label: t.frame.theme[other], onSelect: () => setTheme(other) },
          { label: t.frame.keys, onSelect: onKeys },
          { label: t.frame.signOut, onSelect: () => form.current?.submit() },
        ]}
      />
      {/* A form, not a fetch: where the session came from a provider, signing out goes on there. */}
      <form ref={form} method="post" action="/logout" hidden />
    </>
  );
}
