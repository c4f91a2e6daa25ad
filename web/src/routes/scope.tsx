/** The scope line's chip: which clusters one looks at. It is part of the address and goes along from page to page. */
import { useQuery } from '@tanstack/react-query';
import { useNavigate, useSearch } from '@tanstack/react-router';
import { Popover } from 'radix-ui';
import { useMemo, useState } from 'react';
import { clusterList } from '@/api/queries';
import { Flag } from '@/kit/flag';
import { t } from '@/text';

/** Whether a name fits a pattern in which `*` stands for anything; everything fits no pattern. */
export function fits(pattern: string | undefined, name: string): boolean {
  if (!pattern) return true;
  const parts = pattern.split('*').map((part) => part.replace(/[.+?^${}()|[\]\\]/g, '\\$&'));
  return new RegExp(`^${parts.join('.*')}$`).test(name);
}

/** The pattern of clusters that one looks at; `undefined` for all of them. */
export function useScope(): string | undefined {
  return useSearch({ strict: false }).cluster;
}

/** The scope where the hub takes one name and no pattern; other scopes are filtered here. */
export function exactScope(scope: string | undefined): string | undefined {
  return scope?.includes('*') ? undefined : scope;
}

export function ScopeChip() {
  const scope = useScope();
  const navigate = useNavigate();
  const { data: clusters = [] } = useQuery(clusterList);
  const [open, setOpen] = useState(false);
  const [words, setWords] = useState('');
  const found = useMemo(
    () => clusters.filter((one) => one.name.includes(words.replaceAll('*', '')) || fits(words, one.name)).slice(0, 50),
    [clusters, words],
  );
  const choose = (cluster: string | undefined) => {
    setOpen(false);
    setWords('');
    void navigate({ to: '.', search: (search) => ({ ...search, cluster }) });
  };
  const row =
    'flex w-full items-center gap-2 rounded-ctl px-2 py-1.5 text-left hover:bg-accent-soft focus-visible:bg-accent-soft';
  return (
    <Popover.Root open={open} onOpenChange={setOpen}>
      <Popover.Trigger className="inline-flex h-[28px] flex-none items-center gap-1.5 rounded-ctl border border-line bg-surface px-[9px] whitespace-nowrap hover:bg-bg max-wide:h-9">
        <span className="sr-only">{t.frame.scope.label}: </span>
        {scope && !scope.includes('*') ? (
          <Flag name={scope} />
        ) : (
          <span className="text-ink-3">{t.frame.scope.clusters}</span>
        )}
        <b className="max-w-40 truncate font-semibold">{scope ?? t.frame.scope.all(clusters.length)}</b>
      </Popover.Trigger>
      <Popover.Portal>
        <Popover.Content
          align="start"
          sideOffset={4}
          collisionPadding={8}
          aria-label={t.frame.scope.label}
          className="z-40 w-[300px] rounded-box border border-line bg-surface p-1.5 shadow-float"
        >
          <input
            aria-label={t.frame.scope.find}
            placeholder={t.frame.scope.find}
            value={words}
            onChange={(event) => setWords(event.target.value)}
            onKeyDown={(event) => {
              if (event.key === 'Enter') choose(words.includes('*') ? words : found[0]?.name);
            }}
            className="mb-1 h-8 w-full rounded-ctl border border-edge bg-surface px-2 max-wide:h-10 max-wide:text-[16px]"
          />
          <div className="max-h-[50vh] overflow-auto">
            {!words && (
              <button type="button" className={row} onClick={() => choose(undefined)}>
                <b className="font-semibold">{t.frame.scope.allItem}</b>
              </button>
            )}
            {words.includes('*') && (
              <button type="button" className={row} onClick={() => choose(words)}>
                {t.frame.scope.use(words)}
              </button>
            )}
            {found.map((one) => (
              <button key={one.id} type="button" className={row} onClick={() => choose(one.name)}>
                <Flag name={one.name} />
                <span className="truncate">{one.name}</span>
              </button>
            ))}
            {words && found.length === 0 && <p className="px-2 py-1.5 text-ink-2">{t.frame.scope.none}</p>}
          </div>
        </Popover.Content>
      </Popover.Portal>
    </Popover.Root>
  );
}
