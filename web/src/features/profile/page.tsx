/** Who one is, what one may do, one's password. */
import { useQuery, useSuspenseQuery } from '@tanstack/react-query';
import type { FormEvent } from 'react';
import { useState } from 'react';
import { useDo } from '@/api/act';
import { hub, ok } from '@/api/client';
import { me as meQuery, whoami } from '@/api/queries';
import { Button } from '@/kit/button';
import { Field, Input } from '@/kit/field';
import { Chip, Facts, Page, Panel } from '@/kit/page';
import { type Column, Table } from '@/kit/table';
import { setTheme, useTheme } from '@/routes/theme';
import { t } from '@/text';

const words = t.profile;

export function ProfilePage() {
  const who = useSuspenseQuery(whoami).data;
  const { data: me } = useQuery(meQuery);
  const theme = useTheme();
  type Rule = (typeof who.permissions)[number];
  const columns: readonly Column<Rule & { key: string }>[] = [
    { id: 'role', head: words.columns.role, by: (row) => row.role, cell: (row) => row.role },
    { id: 'clusters', head: words.columns.clusters, by: (row) => row.name, cell: (row) => <code>{row.name}</code> },
    {
      id: 'namespaces',
      head: words.columns.namespaces,
      cell: (row) => <code>{row.namespaces?.join(', ')}</code>,
      wide: true,
    },
    { id: 'verbs', head: words.columns.verbs, cell: (row) => <code>{row.verbs.join(', ')}</code>, grow: true },
    {
      id: 'resources',
      head: words.columns.resources,
      cell: (row) => <code>{row.resources?.join(', ')}</code>,
      wide: true,
    },
  ];
  const rules = who.permissions.map((rule, index) => ({ ...rule, key: String(index) }));
  return (
    <Page title={words.title}>
      <div className="grid grid-cols-2 items-start gap-3.5 max-wide:grid-cols-1">
        <Panel title={words.you}>
          <div className="p-3">
            <Facts
              facts={[
                [words.facts.email, <b key="email">{who.email}</b>],
                [words.facts.administrator, who.administrator ? words.isAdministrator : words.notAdministrator],
                [
                  words.facts.roles,
                  who.roles.length === 0 ? (
                    words.noRoles
                  ) : (
                    <span key="roles" className="flex flex-wrap gap-1">
                      {who.roles.map((role) => (
                        <Chip key={role}>{role}</Chip>
                      ))}
                    </span>
                  ),
                ],
                me &&
                  me.orgs.length > 0 && [
                    words.facts.orgs,
                    me.orgs.map((org) => `${org.name} (${t.orgs.roles[org.role ?? ''] ?? ''})`).join(', '),
                  ],
                me &&
                  me.teams.length > 0 && [
                    words.facts.teams,
                    me.teams.map((team) => `${team.path} (${t.orgs.roles[team.role] ?? team.role})`).join(', '),
                  ],
                [words.facts.id, <code key="id">{who.id}</code>],
                [
                  words.colours,
                  <span key="theme" className="flex gap-1.5">
                    {(['light', 'dark'] as const).map((one) => (
                      <Button
                        key={one}
                        aria-pressed={theme === one}
                        className="aria-pressed:bg-accent-soft"
                        onClick={() => setTheme(one)}
                      >
                        {t.frame.theme[one]}
                      </Button>
                    ))}
                  </span>,
                ],
              ]}
            />
          </div>
        </Panel>
        <Panel title={words.password}>
          <PasswordForm />
        </Panel>
      </div>
      <Panel
        title={words.rights}
        aside={<span className="text-ink-3">{words.rightsLead}</span>}
        className="mt-3.5 overflow-hidden"
      >
        {rules.length === 0 ? (
          <p className="m-0 px-3 py-3 text-ink-2">{words.noRights}</p>
        ) : (
          <Table label={words.rights} rows={rules} id={(row) => row.key} columns={columns} />
        )}
      </Panel>
    </Page>
  );
}

function PasswordForm() {
  const act = useDo();
  const [busy, setBusy] = useState(false);
  const submit = async (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const target = event.currentTarget;
    const form = new FormData(target);
    setBusy(true);
    const body = { current: String(form.get('current')), new: String(form.get('next')) };
    const done = await act({
      run: async () => {
        await ok(hub.POST('/auth/password', { body }));
        return true;
      },
      done: words.passwordSaved,
      changes: ['sessions'],
    });
    if (done) target.reset();
    setBusy(false);
  };
  return (
    <form className="grid gap-3 p-3" onSubmit={submit}>
      <Field label={words.passwordNow}>
        <Input name="current" type="password" autoComplete="current-password" required />
      </Field>
      <Field label={words.passwordNew} hint={words.passwordHint}>
        <Input name="next" type="password" autoComplete="new-password" minLength={12} maxLength={256} required />
      </Field>
      <div>
        <Button type="submit" busy={busy}>
          {words.passwordSave}
        </Button>
      </div>
    </form>
  );
}
