/** Roles: what each allows and where it is written; those of the hub's database can be changed. */
import { useQuery } from '@tanstack/react-query';
import { getRouteApi } from '@tanstack/react-router';
import { useState } from 'react';
import { useAct } from '@/api/act';
import { hub, ok } from '@/api/client';
import type { ClusterRule, Role, RoleView } from '@/api/hub';
import { roleList } from '@/api/queries';
import { useAdminOnly } from '@/api/rights';
import { Button } from '@/kit/button';
import { Confirm, FormDialog } from '@/kit/dialog';
import { Field, Input, Textarea, text } from '@/kit/field';
import { Chip, Facts, Page, Split } from '@/kit/page';
import { Empty, Loaded } from '@/kit/states';
import { type Column, RowOpen, Table } from '@/kit/table';
import { t } from '@/text';

const route = getRouteApi('/app/settings/roles');
const words = t.roles;

const TEMPLATE: Role = {
  name: 'support',
  description: 'Looks at what runs, reads logs',
  clusters: [
    {
      name: 'dev-*',
      namespaces: ['*'],
      verbs: ['get', 'list', 'watch', 'logs'],
      resources: ['pods', 'services', 'deployments'],
    },
  ],
};

/** Where a role is written. Shares of clusters are kept as roles, too, and changed on the cluster's page. */
function sourceOf(role: RoleView): string {
  return role.name.startsWith('share.') ? 'share' : role.source;
}

/** A role as it is written, without where it is written. */
function written({ source: _, ...role }: RoleView): Role {
  return role;
}

function parsed(form: FormData): Role {
  try {
    return JSON.parse(text(form, 'role')) as Role;
  } catch (error) {
    throw new Error(words.badJson(error instanceof Error ? error.message : String(error)));
  }
}

function reach(role: RoleView): string {
  return [...new Set(role.clusters.map((rule) => rule.name))].join(', ');
}

export function RolesPage() {
  const denied = useAdminOnly();
  const act = useAct();
  const query = useQuery(roleList);
  const { q = '', row, sort } = route.useSearch();
  const navigate = route.useNavigate();
  const [adding, setAdding] = useState(false);
  const set = (change: { q?: string; row?: string; sort?: string }) =>
    void navigate({ search: (search) => ({ ...search, ...change }), replace: true });
  const columns: readonly Column<RoleView>[] = [
    {
      id: 'name',
      head: words.columns.name,
      by: (role) => role.name,
      cell: (role) => <RowOpen onClick={() => set({ row: role.name })}>{role.name}</RowOpen>,
    },
    {
      id: 'source',
      head: words.columns.source,
      by: sourceOf,
      cell: (role) => words.sources[sourceOf(role)] ?? role.source,
    },
    { id: 'rules', head: words.columns.rules, by: reach, cell: (role) => <code>{reach(role)}</code>, wide: true },
    { id: 'what', head: words.columns.what, cell: (role) => role.description, grow: true, wide: true },
  ];
  const selected = query.data?.find((role) => role.name === row);
  return (
    <Page
      flush
      title={words.title}
      lead={words.lead}
      actions={
        <>
          <Input
            data-filter
            type="search"
            aria-label={words.filter}
            placeholder={words.filter}
            defaultValue={q}
            onChange={(event) => set({ q: event.target.value || undefined })}
            className="w-[220px]!"
          />
          <Button look="primary" denied={denied} onClick={() => setAdding(true)}>
            {words.add}
          </Button>
        </>
      }
    >
      <Loaded query={query}>
        {(roles) => {
          const shown = roles.filter((role) => JSON.stringify(role).toLowerCase().includes(q.toLowerCase()));
          return (
            <Split
              label={words.detail}
              onClose={() => set({ row: undefined })}
              detail={selected && <Detail key={selected.name} role={selected} onGone={() => set({ row: undefined })} />}
            >
              <div className="border-y border-line">
                {shown.length === 0 ? (
                  <Empty title={t.common.filteredAway}>{t.common.filteredAwayHelp}</Empty>
                ) : (
                  <Table
                    label={words.title}
                    rows={shown}
                    id={(role) => role.name}
                    columns={columns}
                    selected={row ?? ''}
                    sort={sort}
                    onSort={(next) => set({ sort: next })}
                    onOpen={(role) => set({ row: role.name })}
                  />
                )}
              </div>
            </Split>
          );
        }}
      </Loaded>
      <FormDialog
        wide
        open={adding}
        onClose={() => setAdding(false)}
        title={words.newTitle}
        submit={t.common.save}
        onSubmit={(form) => {
          const body = parsed(form);
          return act({ run: () => ok(hub.POST('/api/roles', { body })), done: words.saved, changes: ['roles'] });
        }}
      >
        <Editor role={TEMPLATE} />
      </FormDialog>
    </Page>
  );
}

function Editor({ role }: { role: Role }) {
  return (
    <Field label={words.editor} hint={words.editorHint}>
      <Textarea name="role" rows={18} required defaultValue={JSON.stringify(role, null, 2)} />
    </Field>
  );
}

function Detail({ role, onGone }: { role: RoleView; onGone: () => void }) {
  const administrators = useAdminOnly();
  const act = useAct();
  const [open, setOpen] = useState<'edit' | 'remove' | null>(null);
  const source = words.sources[sourceOf(role)] ?? role.source;
  const denied = administrators ?? (sourceOf(role) === 'database' ? undefined : words.notHere(source));
  const name = { params: { path: { name: role.name } } };
  return (
    <div className="grid gap-3">
      <h2 className="m-0 pr-8 text-[15px] font-[650] [overflow-wrap:anywhere]">{role.name}</h2>
      <div className="flex flex-wrap gap-1">
        <Chip>{source}</Chip>
        {role.administrator && <Chip tone="accent">{words.administrator}</Chip>}
        {role.auditor && <Chip tone="accent">{words.auditor}</Chip>}
      </div>
      {role.description && <p className="m-0 text-ink-2">{role.description}</p>}
      <div className="flex gap-1.5">
        <Button denied={denied} onClick={() => setOpen('edit')}>
          {words.edit}
        </Button>
        <Button look="danger" denied={denied} onClick={() => setOpen('remove')}>
          {words.remove}
        </Button>
      </div>
      <h3 className="m-0 text-[12px] font-semibold text-ink-2">{words.rules}</h3>
      {role.clusters.map((rule, index) => (
        // biome-ignore lint/suspicious/noArrayIndexKey: rules have no identity but their place
        <Rule key={index} rule={rule} />
      ))}
      <FormDialog
        wide
        open={open === 'edit'}
        onClose={() => setOpen(null)}
        title={role.name}
        submit={t.common.save}
        onSubmit={(form) => {
          const body = parsed(form);
          return act({
            run: () => ok(hub.PUT('/api/roles/{name}', { ...name, body })),
            done: words.saved,
            changes: ['roles', 'whoami'],
          });
        }}
      >
        <Editor role={written(role)} />
      </FormDialog>
      <Confirm
        open={open === 'remove'}
        onClose={() => setOpen(null)}
        title={words.removeTitle(role.name)}
        lead={words.removeLead}
        submit={words.remove}
        typed={role.name}
        onConfirm={async () => {
          await act({
            run: () => ok(hub.DELETE('/api/roles/{name}', name)),
            done: words.removed,
            changes: ['roles', 'users', 'whoami'],
          });
          onGone();
        }}
      />
    </div>
  );
}

function Rule({ rule }: { rule: ClusterRule }) {
  const list = (values: readonly string[] | undefined) => <code>{values?.length ? values.join(', ') : words.all}</code>;
  return (
    <div className="rounded-ctl bg-bg p-2.5">
      <Facts
        facts={[
          [words.rule.clusters, <code key="clusters">{rule.name}</code>],
          [words.rule.namespaces, list(rule.namespaces)],
          [words.rule.verbs, list(rule.verbs)],
          [words.rule.resources, list(rule.resources)],
          rule.api_groups &&
            rule.api_groups.join() !== '*' && [
              words.rule.groups,
              <code key="groups">{rule.api_groups.map((group) => group || '""').join(', ')}</code>,
            ],
          Boolean(rule.names?.length) && [words.rule.names, list(rule.names)],
          Boolean(rule.non_resource_urls?.length) && [words.rule.paths, list(rule.non_resource_urls)],
          rule.record && rule.record !== 'off' && [words.rule.record, rule.record],
        ]}
      />
    </div>
  );
}
