/** Agents that are enrolled: whether they are connected, until when their certificates hold, and cutting them off. */
import { useQuery } from '@tanstack/react-query';
import { Link } from '@tanstack/react-router';
import { useState } from 'react';
import { useAct } from '@/api/act';
import { hub, ok } from '@/api/client';
import type { AgentView } from '@/api/hub';
import { agentList } from '@/api/queries';
import { useAdminOnly } from '@/api/rights';
import { Button, buttonClass } from '@/kit/button';
import { Confirm } from '@/kit/dialog';
import { ClusterName } from '@/kit/flag';
import { Page } from '@/kit/page';
import { Empty, Loaded, State, type StateTone } from '@/kit/states';
import { type Column, Table } from '@/kit/table';
import { Time } from '@/kit/time';
import { t } from '@/text';

const words = t.agents;
const TONES: Record<string, StateTone> = { connected: 'ok', disconnected: 'bad', revoked: 'idle' };

export function AgentsPage() {
  const denied = useAdminOnly();
  const act = useAct();
  const query = useQuery(agentList);
  const [revoking, setRevoking] = useState<string | null>(null);
  const columns: readonly Column<AgentView>[] = [
    {
      id: 'cluster',
      head: words.columns.cluster,
      by: (row) => row.cluster,
      grow: true,
      cell: (row) => (
        <Link
          to="/fleet/clusters/$name"
          params={{ name: row.cluster }}
          data-row-link
          className="font-medium hover:underline"
        >
          <ClusterName name={row.cluster} />
        </Link>
      ),
    },
    {
      id: 'status',
      head: words.columns.status,
      by: (row) => row.status,
      cell: (row) => <State tone={TONES[row.status] ?? 'idle'}>{row.status}</State>,
    },
    {
      id: 'connections',
      head: words.columns.connections,
      by: (row) => row.connections,
      cell: (row) => row.connections,
      num: true,
      wide: true,
    },
    {
      id: 'seen',
      head: words.columns.seen,
      by: (row) => row.last_seen ?? '',
      cell: (row) => <Time at={row.last_seen} none={t.common.never} />,
      num: true,
      wide: true,
    },
    {
      id: 'enrolled',
      head: words.columns.enrolled,
      by: (row) => row.enrolled_at,
      cell: (row) => <Time at={row.enrolled_at} />,
      num: true,
      wide: true,
    },
    {
      id: 'certificate',
      head: words.columns.certificate,
      by: (row) => row.certificate_expires_at,
      cell: (row) => <Time at={row.certificate_expires_at} />,
      num: true,
      wide: true,
    },
    {
      id: 'act',
      head: '',
      cell: (row) =>
        row.status !== 'revoked' && (
          <Button look="quiet" aria-label={`${words.revoke}: ${row.cluster}`} onClick={() => setRevoking(row.cluster)}>
            {words.revoke}
          </Button>
        ),
    },
  ];
  const enrol = denied ? (
    <Button look="primary" denied={denied}>
      {words.enrol}
    </Button>
  ) : (
    <Link to="/fleet/add" search={{ way: 'agent' }} className={buttonClass('primary')}>
      {words.enrol}
    </Link>
  );
  return (
    <Page title={words.title} lead={words.lead} actions={enrol}>
      <Loaded query={query}>
        {(agents) =>
          agents.length === 0 ? (
            <Empty title={words.none} action={enrol}>
              {words.noneText}
            </Empty>
          ) : (
            <div className="overflow-hidden rounded-box border border-line">
              <Table label={words.title} rows={agents} id={(row) => row.id} columns={columns} />
            </div>
          )
        }
      </Loaded>
      <Confirm
        open={revoking !== null}
        onClose={() => setRevoking(null)}
        title={words.revokeTitle(revoking ?? '')}
        lead={words.revokeLead}
        submit={words.revoke}
        onConfirm={() =>
          act({
            run: () => ok(hub.DELETE('/api/agents/{cluster}', { params: { path: { cluster: revoking ?? '' } } })),
            done: words.revoked(revoking ?? ''),
            changes: ['agents', 'clusters'],
          })
        }
      />
    </Page>
  );
}
