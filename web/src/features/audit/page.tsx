/** The audit log: filters, how many rows when, the rows, each in full, and whether the log is whole. */
import { useInfiniteQuery, useQuery } from '@tanstack/react-query';
import { getRouteApi } from '@tanstack/react-router';
import { useMemo, useState } from 'react';
import { hub, ok } from '@/api/client';
import type { AuditRow, Verification } from '@/api/hub';
import { type AuditFilter, auditPage, auditTimeline } from '@/api/queries';
import { useAdminOnly, useMe } from '@/api/rights';
import { Button, buttonClass } from '@/kit/button';
import { bytes } from '@/kit/bytes';
import { Checkbox, Input, Select } from '@/kit/field';
import { ClusterName } from '@/kit/flag';
import { Facts, Filters, Page, Split } from '@/kit/page';
import { sinceOf } from '@/kit/since';
import { Empty, Loaded, Problem, State, type StateTone, Why } from '@/kit/states';
import { type Column, RowOpen, Table } from '@/kit/table';
import { exact, stretch, Time } from '@/kit/time';
import { exactScope, fits, useScope } from '@/routes/scope';
import { t } from '@/text';
import { Density } from './density';

const route = getRouteApi('/app/govern/audit');
const words = t.audit;
const TONES: Record<string, StateTone> = {
  succeeded: 'ok',
  attempted: 'idle',
  failed: 'bad',
  denied: 'warn',
  aborted: 'warn',
};

function Outcome({ outcome }: { outcome: string }) {
  return <State tone={TONES[outcome] ?? 'idle'}>{words.outcomes[outcome] ?? outcome}</State>;
}

export function AuditPage() {
  const me = useMe();
  const scope = useScope();
  const search = route.useSearch();
  const navigate = route.useNavigate();
  const set = (change: Partial<typeof search>) =>
    void navigate({ search: (now) => ({ ...now, ...change }), replace: true });
  const { actor, verb, outcome, namespace, name, request, since, until, row } = search;
  const filter = useMemo<AuditFilter>(
    () => ({
      actor,
      verb,
      outcome: outcome as AuditFilter['outcome'],
      namespace,
      name,
      request_id: request,
      since: sinceOf(since),
      until: sinceOf(until),
      cluster: exactScope(scope),
    }),
    [actor, verb, outcome, namespace, name, request, since, until, scope],
  );
  const query = useInfiniteQuery({
    queryKey: ['audit', 'rows', filter],
    queryFn: ({ pageParam, signal }) => auditPage(filter, pageParam, signal),
    initialPageParam: undefined as number | undefined,
    getNextPageParam: (last) => last.page?.next ?? undefined,
    placeholderData: (before) => before,
  });
  const timeline = useQuery(auditTimeline(filter));
  const rows = useMemo(
    () =>
      query.data?.pages
        .flatMap(({ page }) => page?.rows ?? [])
        .filter((one) => fits(scope, one.target.cluster ?? '')) ?? [],
    [query.data, scope],
  );
  const selected = rows.find((one) => one.id === row);
  const everybodys = query.data?.pages[0]?.everybodys ?? false;
  const columns: readonly Column<AuditRow>[] = [
    { id: 'time', head: words.columns.time, cell: (one) => <Time at={one.time} /> },
    { id: 'actor', head: words.columns.actor, cell: (one) => one.actor.email, wide: true },
    {
      id: 'command',
      head: words.columns.command,
      grow: true,
      cell: (one) => (
        <RowOpen mono onClick={() => set({ row: one.id })}>
          {one.command || one.verb}
        </RowOpen>
      ),
    },
    {
      id: 'cluster',
      head: words.columns.cluster,
      wide: true,
      cell: (one) => one.target.cluster && <ClusterName name={one.target.cluster} />,
    },
    { id: 'outcome', head: words.columns.outcome, cell: (one) => <Outcome outcome={one.outcome} /> },
  ];
  const field = (key: 'actor' | 'verb' | 'namespace' | 'name' | 'request') => (
    <Input
      key={key}
      data-filter={key === 'actor' ? true : undefined}
      type="search"
      mono
      aria-label={words.filters[key]}
      placeholder={words.filters[key]}
      defaultValue={search[key]}
      onBlur={(event) => set({ [key]: event.target.value.trim() || undefined })}
      onKeyDown={(event) => event.key === 'Enter' && set({ [key]: event.currentTarget.value.trim() || undefined })}
      className="w-[126px]! max-wide:w-[calc(50%-4px)]!"
    />
  );
  const filtered = [actor, verb, outcome, namespace, name, request, since, until, scope].some(Boolean);
  return (
    <Page
      flush
      title={words.title}
      lead={query.data && (everybodys ? words.scopeAll : words.scopeSelf)}
      actions={<Proofs filter={filter} />}
    >
      <Filters key={[actor, verb, namespace, name, request].join('|')}>
        {field('actor')}
        {field('verb')}
        <Select
          aria-label={words.filters.outcome}
          value={outcome ?? ''}
          onChange={(event) => set({ outcome: event.target.value || undefined })}
          className="w-auto!"
        >
          <option value="">
            {words.filters.outcome}: {words.any}
          </option>
          {Object.entries(words.outcomes).map(([key, label]) => (
            <option key={key} value={key}>
              {label}
            </option>
          ))}
        </Select>
        {field('namespace')}
        {field('name')}
        {field('request')}
        <Select
          aria-label={words.filters.since}
          value={since ?? ''}
          onChange={(event) => set({ since: event.target.value || undefined, until: undefined })}
          className="w-auto!"
        >
          {t.recordings.sinces.map(([key, label]) => (
            <option key={key} value={key}>
              {label}
            </option>
          ))}
          {since && !t.recordings.sinces.some(([key]) => key === since) && (
            <option value={since}>{exact(sinceOf(since) ?? since)}</option>
          )}
        </Select>
        {everybodys && (
          <Checkbox
            label={words.mine}
            checked={actor === me.email}
            onChange={(event) => set({ actor: event.target.checked ? me.email : undefined })}
          />
        )}
        {filtered && (
          <Button look="quiet" onClick={() => void navigate({ search: { cluster: undefined } })}>
            {t.common.clear}
          </Button>
        )}
      </Filters>
      {timeline.data && <Density timeline={timeline.data} onPick={(from, to) => set({ since: from, until: to })} />}
      <Loaded query={query}>
        {() => (
          <Split
            label={words.detail}
            onClose={() => set({ row: undefined })}
            detail={selected && <Detail row={selected} onRequest={(id) => set({ request: id, row: undefined })} />}
          >
            {rows.length === 0 ? (
              <Empty title={filtered ? t.common.filteredAway : words.none}>
                {filtered ? t.common.filteredAwayHelp : words.noneText}
              </Empty>
            ) : (
              <>
                <div className="border-b border-line">
                  <Table
                    label={words.title}
                    rows={rows}
                    id={(one) => one.id}
                    columns={columns}
                    selected={row ?? ''}
                    onOpen={(one) => set({ row: one.id })}
                  />
                </div>
                {query.hasNextPage && (
                  <div className="p-3 text-center">
                    <Button busy={query.isFetchingNextPage} onClick={() => void query.fetchNextPage()}>
                      {words.next}
                    </Button>
                  </div>
                )}
              </>
            )}
          </Split>
        )}
      </Loaded>
    </Page>
  );
}

function Proofs({ filter }: { filter: AuditFilter }) {
  const denied = useAdminOnly();
  const [found, setFound] = useState<Verification | null>(null);
  const [error, setError] = useState<unknown>(null);
  const [busy, setBusy] = useState(false);
  const verify = async () => {
    setBusy(true);
    setError(null);
    setFound(null);
    try {
      // A million rows at a time; flaws of all stretches together.
      let from: number | undefined;
      let sum: Verification | null = null;
      do {
        const part: Verification = await ok(hub.GET('/api/audit/verify', { params: { query: { from } } }));
        sum = sum
          ? { ...part, from: sum.from, good: sum.good + part.good, flaws: [...sum.flaws, ...part.flaws] }
          : part;
        from = part.next ?? undefined;
      } while (from !== undefined);
      setFound(sum);
    } catch (failure) {
      setError(failure);
    } finally {
      setBusy(false);
    }
  };
  const query = new URLSearchParams(
    Object.entries(filter).filter((pair): pair is [string, string] => Boolean(pair[1])),
  );
  return (
    <>
      <Button denied={denied} busy={busy} onClick={() => void verify()}>
        {words.verify}
      </Button>
      {denied ? (
        <Button denied={denied}>{words.export}</Button>
      ) : (
        <a
          href={`/api/audit/export?${query}`}
          download="audit.jsonl"
          title={words.exportHint}
          className={buttonClass()}
        >
          {words.export}
        </a>
      )}
      <div aria-live="polite" className="basis-full empty:hidden">
        {error !== null && <Problem error={error} />}
        {found && found.flaws.length === 0 && <Why tone="ok">{words.whole(found.good, found.signed_to)}</Why>}
        {found && found.flaws.length > 0 && (
          <Why title={words.broken(found.flaws.length)}>
            <ul className="m-0 mt-1 pl-4">
              {found.flaws.slice(0, 20).map((flaw) => (
                <li key={`${flaw.kind}${flaw.seq}`}>
                  {words.flaw(flaw.kind, flaw.seq)} {flaw.columns?.join(', ')} {flaw.detail}
                </li>
              ))}
            </ul>
          </Why>
        )}
      </div>
    </>
  );
}

function Detail({ row, onRequest }: { row: AuditRow; onRequest: (id: string) => void }) {
  const { target, actor } = row;
  const place = [target.group, target.version, target.resource, target.namespace, target.name]
    .filter(Boolean)
    .join(' / ');
  return (
    <div className="grid gap-3">
      <div className="pr-8">
        {target.cluster && <ClusterName name={target.cluster} />}
        <h2 className="m-0 my-1 font-mono text-[14px] leading-snug font-[650] [overflow-wrap:anywhere]">
          {row.command || row.verb}
        </h2>
        <Outcome outcome={row.outcome} />
      </div>
      {row.reason && (
        <Why tone={row.outcome === 'succeeded' || row.outcome === 'attempted' ? 'ok' : 'bad'}>{row.reason}</Why>
      )}
      <Facts
        facts={[
          [
            words.facts.time,
            <time key="time" dateTime={row.time}>
              {exact(row.time)}
            </time>,
          ],
          [words.facts.actor, actor.email],
          actor.address && [words.facts.address, <code key="address">{actor.address}</code>],
          Boolean(actor.groups?.length) && [words.facts.groups, <code key="groups">{actor.groups?.join(' ')}</code>],
          [words.facts.verb, <code key="verb">{row.verb}</code>],
          place && [words.facts.target, <code key="target">{place}</code>],
          [words.facts.route, <code key="route">{row.route}</code>],
          Boolean(row.status) && [words.facts.status, String(row.status)],
          Boolean(row.duration_ms) && [words.facts.duration, stretch(row.duration_ms ?? 0)],
          Boolean(row.bytes) && [words.facts.bytes, bytes(row.bytes ?? 0)],
          [words.facts.request, <code key="request">{row.request_id}</code>],
          [words.facts.seq, String(row.seq)],
          row.hash && [words.facts.hash, <code key="hash">{row.hash}</code>],
        ]}
      />
      <div>
        <Button onClick={() => onRequest(row.request_id)}>{words.sameRequest}</Button>
      </div>
    </div>
  );
}
