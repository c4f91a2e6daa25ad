/** Connecting a cluster: with an agent and a one-line install, or with credentials that are tested before they are kept. */
import { useQuery, useQueryClient } from '@tanstack/react-query';
import { getRouteApi, Link } from '@tanstack/react-router';
import type { FormEvent } from 'react';
import { useEffect, useRef, useState } from 'react';
import { useAct } from '@/api/act';
import { HubError, hub, ok } from '@/api/client';
import type { ClusterTest, EnrolmentToken } from '@/api/hub';
import { clusterOf } from '@/api/queries';
import { useAdminOnly } from '@/api/rights';
import { Button, buttonClass } from '@/kit/button';
import { CopyBox } from '@/kit/copy';
import { Field, Input, text } from '@/kit/field';
import { ClusterName } from '@/kit/flag';
import { Page, Panel } from '@/kit/page';
import { Failure, Problem, State, sentence, Why } from '@/kit/states';
import { Time, useNow } from '@/kit/time';
import { t } from '@/text';
import { bodyOf, CredentialFields, type Kind } from './credentials';

const route = getRouteApi('/app/fleet/add');
const WAYS = ['agent', 'kubeconfig', 'token', 'certificate', 'service_account', 'oidc', 'eks'] as const;
/** As the hub has it: a DNS subdomain (RFC 1123). */
const NAME = '[a-z0-9]([a-z0-9.\\-]{0,251}[a-z0-9])?';

export function AddClusterPage() {
  const denied = useAdminOnly();
  const navigate = route.useNavigate();
  const given = route.useSearch().way;
  const way = WAYS.find((one) => one === given) ?? 'agent';
  if (denied) {
    return (
      <Page title={t.setup.title}>
        <Failure error={new HubError(403, 'forbidden', denied)} />
      </Page>
    );
  }
  return (
    <Page title={t.setup.title}>
      <div className="grid max-w-[980px] grid-cols-[280px_minmax(0,1fr)] items-start gap-3.5 max-wide:grid-cols-1">
        <fieldset className="grid gap-1.5 max-wide:grid-cols-2">
          <legend className="mb-1.5 font-semibold">{t.setup.how}</legend>
          {WAYS.map((one) => (
            <label
              key={one}
              className="grid cursor-pointer grid-cols-[16px_1fr] gap-x-2 rounded-box border border-line bg-surface px-3 py-2 has-checked:border-accent has-checked:bg-accent-soft"
            >
              <input
                type="radio"
                name="way"
                checked={way === one}
                onChange={() => void navigate({ search: (search) => ({ ...search, way: one }), replace: true })}
                className="mt-[3px] accent-accent"
              />
              <span>
                <b className="font-semibold">{t.setup.ways[one][0]}</b>
                <span className="block text-[12px] text-ink-2 max-wide:hidden">{t.setup.ways[one][1]}</span>
              </span>
            </label>
          ))}
        </fieldset>
        {way === 'agent' ? <WithAgent /> : <WithCredentials key={way} kind={way} />}
      </div>
    </Page>
  );
}

function Name() {
  return (
    <Field label={t.setup.name} hint={t.setup.nameHint}>
      <Input name="name" mono required pattern={NAME} autoComplete="off" placeholder="prod-eu-1" />
    </Field>
  );
}

function WithAgent() {
  const act = useAct();
  const [made, setMade] = useState<EnrolmentToken | null>(null);
  const [error, setError] = useState<unknown>(null);
  const make = async (cluster: string) => {
    setError(null);
    try {
      setMade(await act({ run: () => ok(hub.POST('/api/agents/tokens', { body: { cluster } })) }));
    } catch (failure) {
      setError(failure);
    }
  };
  const submit = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    void make(text(new FormData(event.currentTarget), 'name'));
  };
  if (made) return <Waiting made={made} onAgain={() => void make(made.cluster)} onOther={() => setMade(null)} />;
  return (
    <Panel title={t.setup.ways.agent[0]}>
      <form className="grid gap-3 p-3" onSubmit={submit}>
        <Name />
        {error !== null && <Problem error={error} />}
        <div>
          <Button type="submit" look="primary">
            {t.setup.makeToken}
          </Button>
        </div>
      </form>
    </Panel>
  );
}

function Waiting({ made, onAgain, onOther }: { made: EnrolmentToken; onAgain: () => void; onOther: () => void }) {
  const client = useQueryClient();
  const { data: cluster } = useQuery({ ...clusterOf(made.cluster), refetchInterval: 2000, retry: false });
  const connected = cluster?.status === 'connected' && cluster.backend === 'agent';
  const over = useNow() > Date.parse(made.expires_at);
  useEffect(() => {
    if (connected) void client.invalidateQueries({ queryKey: ['clusters'], exact: true });
  }, [connected, client]);
  const run = `CENTRAL_URL=${made.hub_url} CLUSTER_NAME=${made.cluster} AGENT_TOKEN=${made.token} flotilla-agent`;
  const line = `flotilla agents token ${made.cluster} --manifest | kubectl apply -f -`;
  const apply = `kubectl apply -f - <<'EOF'\n${made.manifest.trimEnd()}\nEOF`;
  return (
    <Panel title={<ClusterName name={made.cluster} />}>
      <div className="grid gap-4 p-3">
        <div role="status">
          {connected ? (
            <Why tone="ok" title={t.setup.connected(made.cluster)} />
          ) : over ? (
            <Why tone="warn">{t.setup.expired}</Why>
          ) : (
            <Why tone="warn">
              <span className="waiting">
                <State tone="idle">{t.setup.waiting}</State>
              </span>{' '}
              {t.setup.waitingHelp}
            </Why>
          )}
        </div>
        {connected ? (
          <div className="flex gap-2">
            <Link to="/fleet/clusters/$name" params={{ name: made.cluster }} className={buttonClass('primary')}>
              {t.setup.open}
            </Link>
            <Button onClick={onOther}>{t.setup.another}</Button>
          </div>
        ) : (
          <>
            <CopyBox label={t.setup.install} text={apply} lines={7} />
            <CopyBox label={t.setup.oneLine} text={line} />
            <CopyBox label={t.setup.orRun} text={run} />
            <p className="m-0 text-[12px] text-ink-2">
              {t.setup.tokenOnce} <Time at={made.expires_at} />.
            </p>
            <div className="flex gap-2">
              <Button onClick={onAgain}>{t.setup.again}</Button>
              <Button look="quiet" onClick={onOther}>
                {t.setup.another}
              </Button>
            </div>
          </>
        )}
      </div>
    </Panel>
  );
}

function WithCredentials({ kind }: { kind: Kind }) {
  const act = useAct();
  const navigate = route.useNavigate();
  const form = useRef<HTMLFormElement>(null);
  const [tested, setTested] = useState<ClusterTest | null>(null);
  const [error, setError] = useState<unknown>(null);
  const [busy, setBusy] = useState<'test' | 'add' | null>(null);
  const guarded = async (what: 'test' | 'add', run: () => Promise<void>) => {
    if (busy || !form.current?.reportValidity()) return;
    setBusy(what);
    setError(null);
    try {
      await run();
    } catch (failure) {
      setError(failure);
    } finally {
      setBusy(null);
    }
  };
  const read = () => {
    const data = new FormData(form.current ?? undefined);
    return { name: text(data, 'name'), body: bodyOf(kind, data) };
  };
  const test = () =>
    guarded('test', async () => {
      const { name, body } = read();
      setTested(null);
      setTested(await ok(hub.POST('/api/clusters/{id}/test', { params: { path: { id: name } }, body })));
    });
  const add = () =>
    guarded('add', async () => {
      const { name, body } = read();
      await act({
        run: () => ok(hub.POST('/api/clusters', { body: { ...body, name } })),
        done: t.setup.added(name),
        changes: ['clusters'],
      });
      await navigate({ to: '/fleet/clusters/$name', params: { name } });
    });
  return (
    <Panel title={t.setup.ways[kind][0]}>
      <form
        ref={form}
        className="grid gap-3 p-3"
        onChange={() => setTested(null)}
        onSubmit={(event) => {
          event.preventDefault();
          void (tested?.ok ? add() : test());
        }}
      >
        <Name />
        <CredentialFields kind={kind} />
        <div aria-live="polite" className="grid gap-3">
          {error !== null && <Problem error={error} />}
          {tested && <TestResult tested={tested} />}
        </div>
        <div className="flex gap-2">
          <Button look={tested?.ok ? 'plain' : 'primary'} busy={busy === 'test'} onClick={() => void test()}>
            {t.setup.test}
          </Button>
          <Button
            look={tested?.ok ? 'primary' : 'plain'}
            busy={busy === 'add'}
            denied={tested?.ok ? undefined : t.setup.testFirst}
            onClick={() => void add()}
          >
            {t.setup.addIt}
          </Button>
        </div>
      </form>
    </Panel>
  );
}

/** What a test of credentials found. */
export function TestResult({ tested }: { tested: ClusterTest }) {
  if (tested.ok) return <Why tone="ok">{t.setup.works(tested.server_version ?? '', tested.latency_ms)}</Why>;
  const missing = tested.missing_permissions ?? [];
  return (
    <Why title={(tested.error && t.clusters.errorTitles[tested.error]) || t.setup.fails}>
      {tested.detail && sentence(tested.detail)}
      {missing.length > 0 && (
        <span className="mt-1 block">
          {t.setup.missing} <code>{missing.join(', ')}</code>
        </span>
      )}
    </Why>
  );
}
