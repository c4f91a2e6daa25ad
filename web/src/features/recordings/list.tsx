/** Recorded shells: one's own, or everybody's for auditors and administrators; found by whom, where, when and what was shown. */
import { useInfiniteQuery } from '@tanstack/react-query';
import { getRouteApi, Link } from '@tanstack/react-router';
import { useMemo } from 'react';
import type { RecordingView } from '@/api/hub';
import { type RecordingFilter, recordingPage } from '@/api/queries';
import { Button } from '@/kit/button';
import { Input, Select } from '@/kit/field';
import { ClusterName } from '@/kit/flag';
import { Filters, Page } from '@/kit/page';
import { sinceOf } from '@/kit/since';
import { Empty, Loaded } from '@/kit/states';
import { type Column, Table } from '@/kit/table';
import { stretch, Time } from '@/kit/time';
import { exactScope, fits, useScope } from '@/routes/scope';
import { t } from '@/text';
import { RecordingState } from './state';

const route = getRouteApi('/app/govern/recordings');
const words = t.recordings;

export function RecordingsPage() {
  const scope = useScope();
  const search = route.useSearch();
  const navigate = route.useNavigate();
  const set = (change: Partial<typeof search>) =>
    void navigate({ search: (now) => ({ ...now, ...change }), replace: true });
  const { user, namespace, pod, text, since, sort } = search;
  const filter = useMemo<RecordingFilter>(
    () => ({ user, namespace, pod, text, since: sinceOf(since), cluster: exactScope(scope) }),
    [user, namespace, pod, text, since, scope],
  );
  const query = useInfiniteQuery({
    queryKey: ['recordings', 'list', filter],
    queryFn: ({ pageParam, signal }) => recordingPage(filter, pageParam, signal),
    initialPageParam: undefined as string | undefined,
    getNextPageParam: (last) => last.page?.next ?? undefined,
    placeholderData: (before) => before,
    // A search through what was shown leaves an audit row each time.
    refetchInterval: text ? false : 10_000,
  });
  const rows = useMemo(
    () =>
      query.data?.pages.flatMap(({ page }) => page?.recordings ?? []).filter((one) => fits(scope, one.cluster)) ?? [],
    [query.data, scope],
  );
  const columns: readonly Column<RecordingView>[] = [
    {
      id: 'what',
      head: words.columns.what,
      grow: true,
      cell: (row) => (
        <Link
          to="/govern/recordings/$id"
          params={{ id: row.id }}
          search={{ text }}
          data-row-link
          className="font-mono text-[12px] font-medium hover:underline"
        >
          {row.command || row.kind}
        </Link>
      ),
    },
    { id: 'user', head: words.columns.user, by: (row) => row.email, cell: (row) => row.email, wide: true },
    {
      id: 'cluster',
      head: words.columns.cluster,
      by: (row) => row.cluster,
      cell: (row) => <ClusterName name={row.cluster} />,
      wide: true,
    },
    {
      id: 'when',
      head: words.columns.when,
      by: (row) => row.started_at,
      cell: (row) => <Time at={row.started_at} />,
      num: true,
    },
    {
      id: 'length',
      head: words.columns.length,
      by: (row) => row.duration_ms,
      cell: (row) => stretch(row.duration_ms),
      num: true,
      wide: true,
    },
    {
      id: 'state',
      head: words.columns.state,
      by: (row) => row.state,
      cell: (row) => <RecordingState recording={row} />,
    },
  ];
  const field = (key: 'user' | 'namespace' | 'pod' | 'text') => (
    <Input
      data-filter={key === 'text' ? true : undefined}
      type="search"
      mono
      aria-label={words.filters[key]}
      placeholder={words.filters[key]}
      defaultValue={search[key]}
      onBlur={(event) => set({ [key]: event.target.value.trim() || undefined })}
      onKeyDown={(event) => event.key === 'Enter' && set({ [key]: event.currentTarget.value.trim() || undefined })}
      className="w-[170px]! max-wide:w-[calc(50%-4px)]!"
    />
  );
  const filtered = [user, namespace, pod, text, since, scope].some(Boolean);
  return (
    <Page
      flush
      title={words.title}
      lead={query.data && (query.data.pages[0]?.everybodys ? words.scopeAll : words.scopeSelf)}
    >
      <Filters key={[user, namespace, pod, text].join('|')}>
        {field('text')}
        {field('user')}
        {field('namespace')}
        {field('pod')}
        <Select
          aria-label={words.filters.since}
          value={since ?? ''}
          onChange={(event) => set({ since: event.target.value || undefined })}
          className="w-auto!"
        >
          {words.sinces.map(([key, label]) => (
            <option key={key} value={key}>
              {label}
            </option>
          ))}
        </Select>
        {filtered && (
          <Button look="quiet" onClick={() => void navigate({ search: { cluster: undefined } })}>
            {t.common.clear}
          </Button>
        )}
      </Filters>
      <Loaded query={query}>
        {() =>
          rows.length === 0 ? (
            <Empty title={filtered ? t.common.filteredAway : words.none}>
              {filtered ? t.common.filteredAwayHelp : words.noneText}
            </Empty>
          ) : (
            <>
              <div className="border-b border-line">
                <Table
                  label={words.title}
                  rows={rows}
                  id={(row) => row.id}
                  columns={columns}
                  sort={sort}
                  onSort={(next) => set({ sort: next })}
                  onOpen={(row) =>
                    void navigate({ to: '/govern/recordings/$id', params: { id: row.id }, search: { text } })
                  }
                />
              </div>
              {query.hasNextPage && (
                <div className="p-3 text-center">
                  <Button busy={query.isFetchingNextPage} onClick={() => void query.fetchNextPage()}>
                    {t.common.loadMore}
                  </Button>
                </div>
              )}
            </>
          )
        }
      </Loaded>
    </Page>
  );
}
