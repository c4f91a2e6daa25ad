/** One cluster: how it is and why, what one may do with it, with whom it is shared. */
import { useQuery } from '@tanstack/react-query';
import { getRouteApi, Link } from '@tanstack/react-router';
import type { ReactNode } from 'react';
import { useState } from 'react';
import { useAct, useDo } from '@/api/act';
import { hub, ok } from '@/api/client';
import type { AuditRow, ClusterTest, ClusterView } from '@/api/hub';
import { auditPage, clusterOf } from '@/api/queries';
import { useAdminOnly } from '@/api/rights';
import { Button, buttonClass } from '@/kit/button';
import { CopyBox } from '@/kit/copy';
import { Confirm, FormDialog } from '@/kit/dialog';
import { Field, Input, Select, Textarea, text } from '@/kit/field';
import { Flag } from '@/kit/flag';
import { Menu } from '@/kit/menu';
import { Chip, Facts, Panel, useTitle } from '@/kit/page';
import { Failure, Loading, sentence, Why } from '@/kit/states';
import { Time } from '@/kit/time';
import { toast } from '@/kit/toast';
import { t } from '@/text';
import { TestResult } from './add';
import { CanI } from './can-i';
import { bodyOf, CredentialFields, type Kind } from './credentials';
import { ClusterState, conditionOf, errorHelp, errorTitle, versionOf } from './health';
import { Shares } from './shares';

const route = getRouteApi('/app/fleet/clusters/$name');
const words = t.clusters;

export function ClusterPage() {
  const { name } = route.useParams();
  const query = useQuery(clusterOf(name));
  useTitle(name);
  if (query.data) return <Detail cluster={query.data} />;
  if (query.error) return <Failure whole error={query.error} retry={() => void query.refetch()} />;
  return <Loading />;
}

function Detail({ cluster }: { cluster: ClusterView }) {
  const condition = conditionOf(cluster);
  return (
    <div className="p-3.5">
      <header className="mb-3 flex flex-wrap items-center gap-x-3 gap-y-2">
        <Flag name={cluster.name} large />
        <h1 className="m-0 text-[20px] font-[650] tracking-[-0.015em] [overflow-wrap:anywhere]">{cluster.name}</h1>
        <ClusterState cluster={cluster} />
        {cluster.default && <Chip tone="accent">{words.isDefault}</Chip>}
        <div className="ml-auto flex flex-wrap gap-1.5">
          <Actions cluster={cluster} />
        </div>
      </header>
      {condition.error && (
        <div className="mb-3">
          <Why tone={condition.tone === 'warn' ? 'warn' : 'bad'} title={errorTitle(condition.error)}>
            {condition.error !== 'agent' && condition.detail && sentence(condition.detail)} {errorHelp(condition.error)}
          </Why>
        </div>
      )}
      <div className="grid grid-cols-2 items-start gap-3.5 max-wide:grid-cols-1">
        <Panel title={words.connection}>
          <div className="p-3">
            <About cluster={cluster} />
          </div>
        </Panel>
        <div className="grid gap-3.5">
          <CanI cluster={cluster.name} />
          <Use cluster={cluster} />
        </div>
        <Shares cluster={cluster.name} />
        <Recent cluster={cluster.name} />
      </div>
    </div>
  );
}

function About({ cluster }: { cluster: ClusterView }) {
  const { health, labels = {}, metadata } = cluster;
  const reported = Object.entries(metadata as Record<string, unknown>).filter(([, value]) => typeof value !== 'object');
  return (
    <Facts
      facts={[
        [words.facts.status, <ClusterState key="state" cluster={cluster} />],
        health?.since && [words.facts.since, <Time key="since" at={health.since} />],
        health?.checked_at && [words.facts.checked, <Time key="checked" at={health.checked_at} />],
        health && health.latency_ms > 0 && [words.facts.latency, `${health.latency_ms} ms`],
        [words.facts.version, versionOf(cluster) || t.common.none],
        [words.facts.backend, cluster.backend],
        cluster.server && [words.facts.server, <code key="server">{cluster.server}</code>],
        cluster.auth_type && [words.facts.credential, cluster.auth_type.replaceAll('_', ' ')],
        [words.facts.seen, <Time key="seen" at={cluster.last_seen} none={t.common.never} />],
        [
          words.facts.labels,
          Object.keys(labels).length === 0 ? (
            t.common.none
          ) : (
            <span key="labels" className="flex flex-wrap gap-1">
              {Object.entries(labels).map(([name, value]) => (
                <Chip key={name}>
                  {name}={value}
                </Chip>
              ))}
            </span>
          ),
        ],
        ...reported.map(
          ([name, value]) =>
            [name.replaceAll('_', ' '), <code key={name}>{String(value)}</code>] as [string, ReactNode],
        ),
        [words.facts.id, <code key="id">{cluster.id}</code>],
      ]}
    />
  );
}

type Open = 'rename' | 'labels' | 'credentials' | 'remove' | null;

function Actions({ cluster }: { cluster: ClusterView }) {
  const denied = useAdminOnly();
  const act = useDo();
  const [open, setOpen] = useState<Open>(null);
  const [tested, setTested] = useState<ClusterTest | null>(null);
  const id = { params: { path: { id: cluster.name } } };
  const agent = cluster.backend === 'agent';
  const test = async () => {
    setTested(null);
    const found = await act({ run: () => ok(hub.POST('/api/clusters/{id}/test', id)), changes: ['clusters'] });
    if (found?.ok) toast('ok', words.tested(found.latency_ms));
    else if (found) setTested(found);
  };
  const toggleDefault = () =>
    act({
      run: () =>
        ok(cluster.default ? hub.DELETE('/api/clusters/{id}/default', id) : hub.PUT('/api/clusters/{id}/default', id)),
      changes: ['clusters'],
    });
  return (
    <>
      <Button denied={denied} onClick={() => void test()}>
        {words.test}
      </Button>
      <Button onClick={() => void toggleDefault()}>{cluster.default ? words.dropDefault : words.makeDefault}</Button>
      <Menu
        trigger={<Button aria-label={words.actions}>{t.common.more}</Button>}
        items={[
          {
            label: words.rename,
            denied: denied ?? (agent ? words.renameAgent : undefined),
            onSelect: () => setOpen('rename'),
          },
          { label: words.editLabels, denied, onSelect: () => setOpen('labels') },
          {
            label: words.credentials,
            denied: denied ?? (agent ? words.credentialsAgent : undefined),
            onSelect: () => setOpen('credentials'),
          },
          { label: words.remove, danger: true, denied, onSelect: () => setOpen('remove') },
        ]}
      />
      {tested && (
        <div className="basis-full">
          <TestResult tested={tested} />
        </div>
      )}
      <Dialogs cluster={cluster} open={open} onClose={() => setOpen(null)} />
    </>
  );
}

/** `name=value` lines as labels. */
export function labelsOf(lines: string): Record<string, string> {
  const labels: Record<string, string> = {};
  for (const line of lines.split('\n').map((one) => one.trim())) {
    if (!line) continue;
    const at = line.indexOf('=');
    if (at < 1) throw new Error(words.labelsBad(line));
    labels[line.slice(0, at).trim()] = line.slice(at + 1).trim();
  }
  return labels;
}

const KINDS: Record<string, Kind> = {
  kubeconfig: 'kubeconfig',
  bearer_token: 'token',
  client_certificate: 'certificate',
  service_account: 'service_account',
  oidc: 'oidc',
  eks: 'eks',
};

function Dialogs({ cluster, open, onClose }: { cluster: ClusterView; open: Open; onClose: () => void }) {
  const act = useAct();
  const navigate = route.useNavigate();
  const [kind, setKind] = useState<Kind>(KINDS[cluster.auth_type ?? ''] ?? 'kubeconfig');
  const id = { params: { path: { id: cluster.name } } };
  const lines = Object.entries(cluster.labels ?? {}).map(([name, value]) => `${name}=${value}`);
  return (
    <>
      <FormDialog
        open={open === 'rename'}
        onClose={onClose}
        title={words.rename}
        submit={t.common.save}
        onSubmit={async (form) => {
          const name = text(form, 'name');
          await act({ run: () => ok(hub.PUT('/api/clusters/{id}', { ...id, body: { name } })), done: words.updated });
          await navigate({ to: '/fleet/clusters/$name', params: { name }, replace: true });
          await act({ run: async () => {}, changes: ['clusters'] });
        }}
      >
        <Field label={words.newName}>
          <Input name="name" mono defaultValue={cluster.name} required autoComplete="off" />
        </Field>
      </FormDialog>
      <FormDialog
        open={open === 'labels'}
        onClose={onClose}
        title={words.editLabels}
        submit={t.common.save}
        onSubmit={(form) => {
          const labels = labelsOf(text(form, 'labels'));
          return act({
            run: () => ok(hub.PUT('/api/clusters/{id}', { ...id, body: { labels } })),
            done: words.updated,
            changes: ['clusters'],
          });
        }}
      >
        <Field label={words.labels} hint={words.labelsHint}>
          <Textarea name="labels" rows={6} defaultValue={lines.join('\n')} />
        </Field>
      </FormDialog>
      <FormDialog
        open={open === 'credentials'}
        onClose={onClose}
        wide
        title={words.credentials}
        lead={words.credentialsLead}
        submit={t.common.save}
        onSubmit={(form) =>
          act({
            run: () => ok(hub.PUT('/api/clusters/{id}/credentials', { ...id, body: bodyOf(kind, form) })),
            done: words.updated,
            changes: ['clusters'],
          })
        }
      >
        <Field label={words.facts.credential}>
          <Select value={kind} onChange={(event) => setKind(event.target.value as Kind)}>
            {Object.values(KINDS).map((one) => (
              <option key={one} value={one}>
                {t.setup.ways[one][0]}
              </option>
            ))}
          </Select>
        </Field>
        <CredentialFields key={kind} kind={kind} />
      </FormDialog>
      <Confirm
        open={open === 'remove'}
        onClose={onClose}
        title={words.removeTitle(cluster.name)}
        lead={words.removeLead}
        submit={words.remove}
        typed={cluster.name}
        onConfirm={async () => {
          await act({ run: () => ok(hub.DELETE('/api/clusters/{id}', id)), done: words.removed(cluster.name) });
          await navigate({ to: '/fleet' });
          await act({ run: async () => {}, changes: ['clusters'] });
        }}
      />
    </>
  );
}

function Use({ cluster }: { cluster: ClusterView }) {
  return (
    <Panel title={words.use}>
      <div className="grid gap-2 p-3">
        <CopyBox
          label={words.useLead}
          text={`flotilla login --hub ${location.origin}\nflotilla clusters use ${cluster.name}\nflotilla k get pods -A`}
        />
        <div className="flex flex-wrap gap-2">
          <Link to="/govern/requests" search={{ ask: cluster.name }} className={buttonClass()}>
            {words.requestAccess}
          </Link>
          <Link to="/govern/recordings" search={{ cluster: cluster.name }} className={buttonClass()}>
            {words.recordings}
          </Link>
        </div>
      </div>
    </Panel>
  );
}

/** Of each act the newest row: an attempt says nothing once its outcome is there. */
function lastWords(rows: readonly AuditRow[]): AuditRow[] {
  const seen = new Set<string>();
  return rows.filter((row) => {
    const act = row.attempt_id ?? row.id;
    return !seen.has(act) && seen.add(act);
  });
}

function Recent({ cluster }: { cluster: string }) {
  const query = useQuery({
    queryKey: ['audit', 'recent', cluster],
    queryFn: async ({ signal }) => lastWords((await auditPage({ cluster }, undefined, signal)).page?.rows ?? []),
  });
  return (
    <Panel
      title={words.recent}
      aside={
        <Link to="/govern/audit" search={{ cluster }} className="text-accent hover:underline">
          {words.recentAll}
        </Link>
      }
    >
      {query.data?.length === 0 && <p className="m-0 px-3 py-3 text-ink-2">{t.audit.none}</p>}
      <ul className="m-0 list-none p-0">
        {query.data?.slice(0, 8).map((row) => (
          <li
            key={row.id}
            className="grid grid-cols-[minmax(0,1fr)_auto] gap-2 border-b border-line-soft px-3 py-1.5 last:border-0"
          >
            <code className="truncate">{row.command}</code>
            <span className="text-[12px] text-ink-3">
              {row.actor.email.split('@')[0]} · <Time at={row.time} />
            </span>
          </li>
        ))}
      </ul>
    </Panel>
  );
}
