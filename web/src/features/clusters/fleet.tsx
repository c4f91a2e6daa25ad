/** All clusters that one may reach: as tiles with what needs attention beside them, or as a table. */
import { useQuery } from '@tanstack/react-query';
import { getRouteApi, Link } from '@tanstack/react-router';
import { useMemo } from 'react';
import type { ClusterView } from '@/api/hub';
import { clusterList } from '@/api/queries';
import { useAdminOnly } from '@/api/rights';
import { Button, buttonClass } from '@/kit/button';
import { Input } from '@/kit/field';
import { ClusterName, Flag } from '@/kit/flag';
import { Chip, Page, Panel } from '@/kit/page';
import { Empty, Loaded } from '@/kit/states';
import { type Column, Table } from '@/kit/table';
import { Time } from '@/kit/time';
import { fits, useScope } from '@/routes/scope';
import { t } from '@/text';
import { ClusterState, conditionOf, errorTitle, matches, reasonOf, versionOf } from './health';

const route = getRouteApi('/app/fleet');
const ORDER = ['healthy', 'degraded', 'denied', 'unreachable', 'away', 'unknown'];

function summary(clusters: readonly ClusterView[]): string {
  const counts = new Map<string, number>();
  for (const cluster of clusters) {
    const { word } = conditionOf(cluster);
    counts.set(word, (counts.get(word) ?? 0) + 1);
  }
  const words = ORDER.filter((word) => counts.has(word)).map((word) => `${counts.get(word)} ${word}`);
  return t.clusters.summary(clusters.length, words.join(', '));
}

function AddCluster() {
  const denied = useAdminOnly();
  if (denied) {
    return (
      <Button look="primary" denied={denied}>
        {t.clusters.add}
      </Button>
    );
  }
  return (
    <Link to="/fleet/add" className={buttonClass('primary')}>
      {t.clusters.add}
    </Link>
  );
}

export function FleetPage() {
  const query = useQuery(clusterList);
  const scope = useScope();
  const { q = '', view = 'tiles', sort } = route.useSearch();
  const navigate = route.useNavigate();
  const inScope = useMemo(() => query.data?.filter((one) => fits(scope, one.name)) ?? [], [query.data, scope]);
  const shown = useMemo(() => inScope.filter((one) => matches(one, q)), [inScope, q]);
  const set = (change: { q?: string; view?: string; sort?: string }) =>
    void navigate({ search: (search) => ({ ...search, ...change }), replace: true });
  return (
    <Page
      title={t.clusters.title}
      lead={query.data && summary(inScope)}
      actions={
        <>
          <Input
            data-filter
            type="search"
            aria-label={t.clusters.filter}
            placeholder={t.clusters.filter}
            defaultValue={q}
            onChange={(event) => set({ q: event.target.value || undefined })}
            className="w-[220px]!"
          />
          <fieldset className="flex">
            <legend className="sr-only">{t.clusters.view}</legend>
            {(['tiles', 'table'] as const).map((one) => (
              <Button
                key={one}
                aria-pressed={view === one}
                onClick={() => set({ view: one === 'tiles' ? undefined : one })}
                className="first-of-type:rounded-r-none last-of-type:-ml-px last-of-type:rounded-l-none aria-pressed:bg-accent-soft"
              >
                {t.clusters[one]}
              </Button>
            ))}
          </fieldset>
          <AddCluster />
        </>
      }
    >
      <Loaded query={query}>
        {(all) =>
          all.length === 0 ? (
            <NoCluster />
          ) : shown.length === 0 ? (
            <Empty
              title={t.common.filteredAway}
              action={<Button onClick={() => void navigate({ search: { view } })}>{t.common.clear}</Button>}
            >
              {t.common.filteredAwayHelp}
            </Empty>
          ) : view === 'table' ? (
            <ClusterTable clusters={shown} sort={sort} onSort={(next) => set({ sort: next })} />
          ) : (
            <div className="grid grid-cols-[minmax(0,1fr)_340px] items-start gap-3.5 max-wide:grid-cols-1">
              <ul className="m-0 grid list-none grid-cols-[repeat(auto-fill,minmax(236px,1fr))] items-start gap-2.5 p-0">
                {shown.map((one) => (
                  <Tile key={one.id} cluster={one} />
                ))}
              </ul>
              <Attention clusters={shown} />
            </div>
          )
        }
      </Loaded>
    </Page>
  );
}

function NoCluster() {
  const denied = useAdminOnly();
  if (denied) {
    return (
      <Empty
        title={t.clusters.emptyUser.title}
        action={
          <Link to="/govern/requests" search={{ ask: 'new' }} className={buttonClass('primary')}>
            {t.frame.askAccess}
          </Link>
        }
      >
        {t.clusters.emptyUser.text}
      </Empty>
    );
  }
  return (
    <Empty
      title={t.setup.welcome}
      action={
        <Link to="/fleet/add" className={buttonClass('primary')}>
          {t.clusters.add}
        </Link>
      }
    >
      <p>{t.setup.welcomeText}</p>
      <p className="mt-2">{t.clusters.emptyAdmin.text}</p>
    </Empty>
  );
}

function Tile({ cluster }: { cluster: ClusterView }) {
  const condition = conditionOf(cluster);
  const labels = Object.entries(cluster.labels ?? {});
  const answers = cluster.health && condition.tone !== 'bad' ? `${cluster.health.latency_ms} ms` : '–';
  return (
    <li>
      <Link
        to="/fleet/clusters/$name"
        params={{ name: cluster.name }}
        data-row-link
        className={`grid gap-2 rounded-box border bg-surface px-3 pt-[11px] pb-2.5 hover:border-accent ${condition.tone === 'bad' ? 'border-bad' : 'border-line'}`}
      >
        <span className="flex items-center gap-2.5 text-[14px] font-semibold">
          <Flag name={cluster.name} large />
          <span className="truncate">{cluster.name}</span>
          <span className="ml-auto text-[12px] font-medium">
            <ClusterState cluster={cluster} />
          </span>
        </span>
        <span className="flex justify-between text-[12px] text-ink-2">
          {[
            [versionOf(cluster) || '–', t.clusters.version],
            [answers, t.clusters.latency],
            [cluster.backend, t.clusters.columns.backend.toLowerCase()],
          ].map(([value, name]) => (
            <span key={name}>
              <b className="block font-mono text-[14px] font-semibold tracking-[-0.02em] text-ink">{value}</b>
              {name}
            </span>
          ))}
        </span>
        {condition.error && <span className="text-[12px] text-bad">{errorTitle(condition.error)}</span>}
        {(labels.length > 0 || cluster.default) && (
          <span className="flex flex-wrap gap-1">
            {cluster.default && <Chip tone="accent">{t.clusters.isDefault}</Chip>}
            {labels.map(([name, value]) => (
              <Chip key={name}>
                {name}={value}
              </Chip>
            ))}
          </span>
        )}
      </Link>
    </li>
  );
}

function Attention({ clusters }: { clusters: readonly ClusterView[] }) {
  const ill = clusters
    .map((cluster) => ({ cluster, condition: conditionOf(cluster) }))
    .filter(({ condition }) => condition.tone === 'bad' || condition.tone === 'warn');
  return (
    <Panel title={t.clusters.attention} aside={<span className="text-ink-3">{t.clusters.acrossFleet}</span>}>
      {ill.length === 0 && <p className="m-0 px-3 py-3 text-ink-2">{t.clusters.allWell}</p>}
      {ill.map(({ cluster, condition }) => (
        <Link
          key={cluster.id}
          to="/fleet/clusters/$name"
          params={{ name: cluster.name }}
          className="grid grid-cols-[20px_1fr_auto] gap-x-2.5 gap-y-0.5 border-b border-line-soft px-3 py-2.5 last:border-0 hover:bg-bg"
        >
          <span className="mt-[3px]">
            <Flag name={cluster.name} />
          </span>
          <b className="font-semibold">{cluster.name}</b>
          <span className="text-[12px] text-ink-3">
            <Time at={condition.since} />
          </span>
          <span className="col-span-2 col-start-2 text-[12px] [overflow-wrap:anywhere] text-ink-2">
            {reasonOf(condition)}
          </span>
        </Link>
      ))}
    </Panel>
  );
}

const COLUMNS: readonly Column<ClusterView>[] = [
  {
    id: 'name',
    head: t.clusters.columns.name,
    by: (row) => row.name,
    grow: true,
    cell: (row) => (
      <Link
        to="/fleet/clusters/$name"
        params={{ name: row.name }}
        data-row-link
        className="font-medium hover:underline"
      >
        <ClusterName name={row.name} />
      </Link>
    ),
  },
  {
    id: 'status',
    head: t.clusters.columns.status,
    by: (row) => conditionOf(row).word,
    cell: (row) => <ClusterState cluster={row} />,
  },
  { id: 'backend', head: t.clusters.columns.backend, by: (row) => row.backend, cell: (row) => row.backend, wide: true },
  { id: 'version', head: t.clusters.columns.version, by: versionOf, cell: versionOf, num: true, wide: true },
  {
    id: 'latency',
    head: t.clusters.columns.latency,
    by: (row) => row.health?.latency_ms ?? 0,
    cell: (row) => (row.health ? `${row.health.latency_ms} ms` : ''),
    num: true,
    wide: true,
  },
  {
    id: 'labels',
    head: t.clusters.columns.labels,
    cell: (row) =>
      Object.entries(row.labels ?? {})
        .map(([name, value]) => `${name}=${value}`)
        .join(' '),
    wide: true,
  },
  {
    id: 'seen',
    head: t.clusters.columns.seen,
    by: (row) => row.last_seen ?? '',
    cell: (row) => <Time at={row.last_seen} />,
    num: true,
  },
];

function ClusterTable({
  clusters,
  sort,
  onSort,
}: {
  clusters: readonly ClusterView[];
  sort?: string;
  onSort: (sort?: string) => void;
}) {
  const navigate = route.useNavigate();
  return (
    <div className="overflow-hidden rounded-box border border-line">
      <Table
        label={t.clusters.title}
        rows={clusters}
        id={(row) => row.id}
        columns={COLUMNS}
        sort={sort}
        onSort={onSort}
        onOpen={(row) => void navigate({ to: '/fleet/clusters/$name', params: { name: row.name } })}
      />
    </div>
  );
}
