/** Where one is signed in, and, for administrators, what is open in clusters; ending either. */
import { useQuery } from '@tanstack/react-query';
import { Link } from '@tanstack/react-router';
import { useState } from 'react';
import { useAct, useDo } from '@/api/act';
import { hub, ok } from '@/api/client';
import type { SessionView, StreamView } from '@/api/hub';
import { sessionList, streamList } from '@/api/queries';
import { useAdminOnly } from '@/api/rights';
import { Button } from '@/kit/button';
import { bytes } from '@/kit/bytes';
import { Confirm } from '@/kit/dialog';
import { ClusterName } from '@/kit/flag';
import { Chip, Page, Panel } from '@/kit/page';
import { Loaded } from '@/kit/states';
import { type Column, Table } from '@/kit/table';
import { Time } from '@/kit/time';
import { fits, useScope } from '@/routes/scope';
import { t } from '@/text';
import { deviceOf } from './device';

const words = t.sessions;

export function SessionsPage() {
  return (
    <Page title={words.title} lead={words.lead}>
      <div className="grid gap-3.5">
        <Mine />
        <Streams />
      </div>
    </Page>
  );
}

function Mine() {
  const act = useDo();
  const confirm = useAct();
  const query = useQuery(sessionList());
  const [everywhere, setEverywhere] = useState(false);
  const end = (id: string) =>
    void act({
      run: () => ok(hub.DELETE('/api/sessions/{id}', { params: { path: { id } } })),
      done: words.ended,
      changes: ['sessions'],
    });
  const columns: readonly Column<SessionView>[] = [
    {
      id: 'device',
      head: words.columns.device,
      grow: true,
      by: (row) => deviceOf(row.user_agent),
      cell: (row) => (
        <span title={row.user_agent} className="inline-flex items-center gap-2">
          {deviceOf(row.user_agent)} {row.current && <Chip tone="accent">{words.current}</Chip>}
        </span>
      ),
    },
    {
      id: 'kind',
      head: words.columns.kind,
      by: (row) => row.kind,
      cell: (row) => words.kinds[row.kind] ?? row.kind,
      wide: true,
    },
    {
      id: 'address',
      head: words.columns.address,
      by: (row) => row.address,
      cell: (row) => <code>{row.address}</code>,
      wide: true,
    },
    {
      id: 'seen',
      head: words.columns.seen,
      by: (row) => row.last_seen,
      cell: (row) => <Time at={row.last_seen} />,
      num: true,
    },
    {
      id: 'began',
      head: words.columns.began,
      by: (row) => row.created_at,
      cell: (row) => <Time at={row.created_at} />,
      num: true,
      wide: true,
    },
    {
      id: 'ends',
      head: words.columns.ends,
      by: (row) => row.expires_at,
      cell: (row) => <Time at={row.expires_at} />,
      num: true,
      wide: true,
    },
    {
      id: 'act',
      head: '',
      cell: (row) =>
        !row.current && (
          <Button look="quiet" aria-label={`${words.end}: ${deviceOf(row.user_agent)}`} onClick={() => end(row.id)}>
            {words.end}
          </Button>
        ),
    },
  ];
  return (
    <Panel
      title={words.mine}
      aside={<Button onClick={() => setEverywhere(true)}>{words.endAll}</Button>}
      className="overflow-hidden"
    >
      <Loaded query={query} inPanel>
        {(sessions) => <Table label={words.mine} rows={sessions} id={(row) => row.id} columns={columns} />}
      </Loaded>
      <Confirm
        open={everywhere}
        onClose={() => setEverywhere(false)}
        title={words.endAllTitle}
        lead={words.endAllLead}
        submit={words.endAll}
        onConfirm={async () => {
          await confirm({ run: () => ok(hub.POST('/auth/logout/everywhere')) });
          location.assign('/login');
        }}
      />
    </Panel>
  );
}

function Streams() {
  const denied = useAdminOnly();
  const act = useAct();
  const scope = useScope();
  const query = useQuery({ ...streamList, enabled: !denied });
  const [ending, setEnding] = useState<StreamView | null>(null);
  const columns: readonly Column<StreamView>[] = [
    {
      id: 'what',
      head: words.streamColumns.what,
      by: (row) => row.kind,
      cell: (row) =>
        row.recording ? (
          <Link
            to="/govern/recordings/$id"
            params={{ id: row.recording }}
            data-row-link
            className="font-medium text-accent hover:underline"
          >
            {row.kind}
          </Link>
        ) : (
          row.kind
        ),
    },
    { id: 'user', head: words.streamColumns.user, by: (row) => row.user, cell: (row) => row.user },
    {
      id: 'cluster',
      head: words.streamColumns.cluster,
      by: (row) => row.cluster,
      cell: (row) => <ClusterName name={row.cluster} />,
      wide: true,
    },
    {
      id: 'where',
      head: words.streamColumns.where,
      grow: true,
      cell: (row) => <code>{[row.namespace, row.resource, row.name].filter(Boolean).join('/')}</code>,
      wide: true,
    },
    {
      id: 'since',
      head: words.streamColumns.since,
      by: (row) => row.since,
      cell: (row) => <Time at={row.since} />,
      num: true,
    },
    {
      id: 'sent',
      head: words.streamColumns.sent,
      by: (row) => row.sent,
      cell: (row) => bytes(row.sent),
      num: true,
      wide: true,
    },
    {
      id: 'received',
      head: words.streamColumns.received,
      by: (row) => row.received,
      cell: (row) => bytes(row.received),
      num: true,
      wide: true,
    },
    {
      id: 'act',
      head: '',
      cell: (row) => (
        <Button look="quiet" aria-label={`${words.terminate}: ${row.kind} ${row.user}`} onClick={() => setEnding(row)}>
          {words.terminate}
        </Button>
      ),
    },
  ];
  return (
    <Panel
      title={words.streams}
      aside={<span className="text-ink-3">{words.streamsLead}</span>}
      className="overflow-hidden"
    >
      {denied ? (
        <p className="m-0 px-3 py-3 text-ink-2">{words.streamsDenied}</p>
      ) : (
        <Loaded query={query} inPanel>
          {(all) => {
            const shown = all.filter((stream) => fits(scope, stream.cluster));
            return shown.length === 0 ? (
              <p className="m-0 px-3 py-3 text-ink-2">{words.noStreams}</p>
            ) : (
              <Table label={words.streams} rows={shown} id={(row) => row.id} columns={columns} />
            );
          }}
        </Loaded>
      )}
      <Confirm
        open={ending !== null}
        onClose={() => setEnding(null)}
        title={words.terminateTitle(ending?.kind ?? '', ending?.user ?? '')}
        lead={words.terminateLead}
        submit={words.terminate}
        onConfirm={() =>
          act({
            run: () => ok(hub.DELETE('/api/streams/{id}', { params: { path: { id: ending?.id ?? '' } } })),
            done: words.ended,
            changes: ['streams', 'recordings'],
          })
        }
      />
    </Panel>
  );
}
