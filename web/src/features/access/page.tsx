/** Access on request: asking, and deciding what others ask. */
import { useQuery } from '@tanstack/react-query';
import { getRouteApi } from '@tanstack/react-router';
import { useState } from 'react';
import { useAct } from '@/api/act';
import { hub, ok } from '@/api/client';
import type { AccessRequestView } from '@/api/hub';
import { requestList } from '@/api/queries';
import { useMe } from '@/api/rights';
import { Button } from '@/kit/button';
import { FormDialog } from '@/kit/dialog';
import { Field, Input, Select } from '@/kit/field';
import { ClusterName } from '@/kit/flag';
import { Facts, Filters, Page, Split } from '@/kit/page';
import { Empty, Loaded, State, type StateTone } from '@/kit/states';
import { type Column, RowOpen, Table } from '@/kit/table';
import { stretch, Time } from '@/kit/time';
import { fits, useScope } from '@/routes/scope';
import { t } from '@/text';
import { Ask } from './ask';

const route = getRouteApi('/app/govern/requests');
const words = t.access;
const TONES: Record<string, StateTone> = {
  pending: 'warn',
  granted: 'ok',
  denied: 'bad',
  ended: 'idle',
  expired: 'idle',
};

function RequestState({ request }: { request: AccessRequestView }) {
  return <State tone={TONES[request.state] ?? 'idle'}>{words.states[request.state] ?? request.state}</State>;
}

export function RequestsPage() {
  const query = useQuery(requestList);
  const scope = useScope();
  const search = route.useSearch();
  const navigate = route.useNavigate();
  const { state = '', row, ask, sort } = search;
  const set = (change: Partial<typeof search>) =>
    void navigate({ search: (now) => ({ ...now, ...change }), replace: true });
  const selected = query.data?.find((request) => request.id === row);
  const columns: readonly Column<AccessRequestView>[] = [
    {
      id: 'what',
      head: words.columns.what,
      grow: true,
      cell: (request) => (
        <RowOpen mono onClick={() => set({ row: request.id })}>
          {words.what(request.ask.verbs.join(','), (request.ask.resources ?? ['pods']).join(','))}
        </RowOpen>
      ),
    },
    {
      id: 'who',
      head: words.columns.who,
      by: (request) => request.email,
      cell: (request) => request.email,
      wide: true,
    },
    {
      id: 'where',
      head: words.columns.where,
      by: (request) => request.ask.cluster,
      cell: (request) =>
        request.clusters.length === 1 && request.clusters[0] ? (
          <ClusterName name={request.clusters[0]} />
        ) : (
          <code>{request.ask.cluster}</code>
        ),
    },
    {
      id: 'how',
      head: words.columns.how,
      by: (request) => request.ask.seconds,
      cell: (request) => stretch(request.ask.seconds * 1000),
      num: true,
      wide: true,
    },
    {
      id: 'state',
      head: words.columns.state,
      by: (request) => request.state,
      cell: (request) => <RequestState request={request} />,
    },
    {
      id: 'when',
      head: words.columns.when,
      by: (request) => request.created_at,
      cell: (request) => <Time at={request.created_at} />,
      num: true,
      wide: true,
    },
  ];
  return (
    <Page
      flush
      title={words.title}
      lead={words.lead}
      actions={
        <Button look="primary" onClick={() => set({ ask: 'new' })}>
          {words.ask}
        </Button>
      }
    >
      <Filters>
        <Select
          aria-label={words.filter}
          data-filter
          value={state}
          onChange={(event) => set({ state: event.target.value || undefined })}
          className="w-auto!"
        >
          <option value="">{words.anyState}</option>
          {Object.entries(words.states).map(([key, name]) => (
            <option key={key} value={key}>
              {name}
            </option>
          ))}
        </Select>
      </Filters>
      <Loaded query={query}>
        {(all) => {
          const inScope = all.filter((request) => !scope || request.clusters.some((name) => fits(scope, name)));
          const shown = inScope.filter((request) => !state || request.state === state);
          return (
            <Split
              label={words.detail}
              onClose={() => set({ row: undefined })}
              detail={selected && <Detail key={selected.id} request={selected} />}
            >
              {shown.length > 0 ? (
                <div className="border-b border-line">
                  <Table
                    label={words.title}
                    rows={shown}
                    id={(request) => request.id}
                    columns={columns}
                    selected={row ?? ''}
                    sort={sort}
                    onSort={(next) => set({ sort: next })}
                    onOpen={(request) => set({ row: request.id })}
                  />
                </div>
              ) : all.length > 0 ? (
                <Empty title={t.common.filteredAway}>{t.common.filteredAwayHelp}</Empty>
              ) : (
                <Empty title={words.none}>{words.noneText}</Empty>
              )}
            </Split>
          );
        }}
      </Loaded>
      <Ask
        open={ask !== undefined}
        cluster={ask === 'new' ? scope : ask}
        given={search}
        onClose={() => set({ ask: undefined, verbs: undefined, resources: undefined, namespace: undefined })}
        onAsked={(request) =>
          set({ ask: undefined, row: request.id, verbs: undefined, resources: undefined, namespace: undefined })
        }
      />
    </Page>
  );
}

type Decision = 'approve' | 'deny' | 'end';

function Detail({ request }: { request: AccessRequestView }) {
  const me = useMe();
  const act = useAct();
  const [open, setOpen] = useState<Decision | null>(null);
  const own = request.user === me.id;
  const denied = request.may_approve ? undefined : own ? words.own : words.notYours;
  const { ask } = request;
  const given = request.decisions.filter((decision) => decision.approved).length;
  const decide = (what: Decision) => (form: FormData) => {
    const options = {
      params: { path: { id: request.id } },
      body: { comment: String(form.get('comment') ?? '') || undefined },
    };
    const run = {
      approve: () => ok(hub.POST('/api/access-requests/{id}/approve', options)),
      deny: () => ok(hub.POST('/api/access-requests/{id}/deny', options)),
      end: () => ok(hub.POST('/api/access-requests/{id}/end', options)),
    }[what];
    return act({
      run,
      done: { approve: words.approvedDone, deny: words.deniedDone, end: words.endedDone }[what],
      changes: ['requests', 'whoami', 'clusters'],
    });
  };
  const dialogs = [
    {
      what: 'approve',
      title: words.approveTitle(request.email),
      lead: words.approveLead,
      submit: words.approve,
      danger: false,
    },
    { what: 'deny', title: words.denyTitle(request.email), lead: undefined, submit: words.deny, danger: true },
    { what: 'end', title: words.endTitle, lead: words.endLead, submit: words.end, danger: true },
  ] as const;
  return (
    <div className="grid gap-3">
      <div className="pr-8">
        <h2 className="m-0 mb-1 font-mono text-[14px] font-[650] [overflow-wrap:anywhere]">
          {words.what(ask.verbs.join(','), (ask.resources ?? ['pods']).join(','))}
        </h2>
        <RequestState request={request} />
      </div>
      <div className="flex flex-wrap gap-1.5">
        {request.state === 'pending' && (
          <>
            <Button look="primary" denied={denied} onClick={() => setOpen('approve')}>
              {words.approve}
            </Button>
            <Button look="danger" denied={denied} onClick={() => setOpen('deny')}>
              {words.deny}
            </Button>
          </>
        )}
        {request.state === 'granted' && (
          <Button look="danger" onClick={() => setOpen('end')}>
            {words.end}
          </Button>
        )}
      </div>
      {request.state === 'pending' && denied && <p className="m-0 text-[12px] text-ink-2">{denied}</p>}
      <Facts
        facts={[
          [words.facts.who, request.email],
          [words.facts.reason, ask.reason],
          [
            words.facts.clusters,
            <span key="clusters" className="grid gap-1">
              {request.clusters.map((name) => (
                <ClusterName key={name} name={name} />
              ))}
            </span>,
          ],
          [words.facts.namespaces, <code key="namespaces">{ask.namespaces.join(', ')}</code>],
          [words.facts.verbs, <code key="verbs">{ask.verbs.join(', ')}</code>],
          [words.facts.resources, <code key="resources">{(ask.resources ?? ['pods']).join(', ')}</code>],
          [words.facts.duration, stretch(ask.seconds * 1000)],
          [words.facts.asked, <Time key="asked" at={request.created_at} />],
          request.granted_at && [words.facts.from, <Time key="from" at={request.granted_at} />],
          request.ends_at && [words.facts.until, <Time key="until" at={request.ends_at} />],
          [words.facts.approvals, words.approvals(given, request.approvals_needed)],
          request.state === 'granted' && [words.facts.group, <code key="group">flotilla:grant:{request.id}</code>],
        ]}
      />
      {request.decisions.length > 0 && (
        <section>
          <h3 className="mt-1 mb-1.5 text-[12px] font-semibold text-ink-2">{words.decisions}</h3>
          <ul className="m-0 grid list-none gap-1.5 p-0">
            {request.decisions.map((decision) => (
              <li key={decision.email + decision.at}>
                <State tone={decision.approved ? 'ok' : 'bad'}>
                  {decision.approved ? words.approved : words.denied}
                </State>{' '}
                {decision.email}, <Time at={decision.at} />
                {decision.comment && <span className="block text-ink-2">{decision.comment}</span>}
              </li>
            ))}
          </ul>
        </section>
      )}
      {dialogs.map(({ what, ...dialog }) => (
        <FormDialog key={what} {...dialog} open={open === what} onClose={() => setOpen(null)} onSubmit={decide(what)}>
          <Field label={words.comment} hint={words.commentHint}>
            <Input name="comment" autoComplete="off" />
          </Field>
        </FormDialog>
      ))}
    </div>
  );
}
