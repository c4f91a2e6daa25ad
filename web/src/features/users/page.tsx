/** Accounts of the hub: making them, their roles, passwords, sessions, removal. */
import { useQuery } from '@tanstack/react-query';
import { getRouteApi } from '@tanstack/react-router';
import { useState } from 'react';
import { useAct, useDo } from '@/api/act';
import { hub, ok } from '@/api/client';
import type { AdminUser, UserCreated } from '@/api/hub';
import { directRoles, roleList, sessionList, userList } from '@/api/queries';
import { useAdminOnly, useMe } from '@/api/rights';
import { Button } from '@/kit/button';
import { CopyBox } from '@/kit/copy';
import { Confirm, Dialog, FormDialog } from '@/kit/dialog';
import { Checkbox, Field, Input, text } from '@/kit/field';
import { Chip, Facts, Page, Split } from '@/kit/page';
import { Empty, Loaded } from '@/kit/states';
import { type Column, RowOpen, Table } from '@/kit/table';
import { Time } from '@/kit/time';
import { t } from '@/text';
import { deviceOf } from '../sessions/device';

const route = getRouteApi('/app/settings/users');
const words = t.users;

/** Roles that somebody holds himself; the others follow from teams, groups and grants. */
function own(roles: readonly string[]): string[] {
  return roles.filter((role) => !/^(team:|group:|grant:|share\.)/.test(role));
}

function matches(user: AdminUser, q: string): boolean {
  const all = [user.email, ...user.roles, ...user.orgs, ...user.teams].join(' ').toLowerCase();
  return q
    .toLowerCase()
    .split(/\s+/)
    .every((word) => all.includes(word));
}

export function UsersPage() {
  const denied = useAdminOnly();
  const act = useAct();
  const query = useQuery(userList);
  const { q = '', row, sort } = route.useSearch();
  const navigate = route.useNavigate();
  const set = (change: { q?: string; row?: string; sort?: string }) =>
    void navigate({ search: (search) => ({ ...search, ...change }), replace: true });
  const [adding, setAdding] = useState(false);
  const [made, setMade] = useState<UserCreated | null>(null);
  const selected = query.data?.find((user) => user.email === row);
  const columns: readonly Column<AdminUser>[] = [
    {
      id: 'email',
      head: words.columns.email,
      by: (user) => user.email,
      grow: true,
      cell: (user) => <RowOpen onClick={() => set({ row: user.email })}>{user.email}</RowOpen>,
    },
    {
      id: 'roles',
      head: words.columns.roles,
      by: (user) => user.roles.join(' '),
      cell: (user) => (
        <span className="flex gap-1">
          {user.platform_admin && <Chip tone="accent">{words.administrator}</Chip>}
          {own(user.roles)
            .slice(0, 3)
            .map((role) => (
              <Chip key={role}>{role}</Chip>
            ))}
          {own(user.roles).length > 3 && <Chip>+{own(user.roles).length - 3}</Chip>}
        </span>
      ),
      wide: true,
    },
    {
      id: 'teams',
      head: words.columns.teams,
      by: (user) => user.teams.join(' '),
      cell: (user) => user.teams.join(', '),
      wide: true,
    },
    {
      id: 'created',
      head: words.columns.created,
      by: (user) => user.created_at,
      cell: (user) => <Time at={user.created_at} />,
      num: true,
    },
  ];
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
        {(users) => {
          const shown = users.filter((user) => matches(user, q));
          return (
            <Split
              label={words.detail}
              onClose={() => set({ row: undefined })}
              detail={
                selected && (
                  <Account
                    key={selected.id}
                    user={selected}
                    onPassword={setMade}
                    onGone={() => set({ row: undefined })}
                  />
                )
              }
            >
              <div className="border-y border-line">
                {shown.length === 0 ? (
                  <Empty title={t.common.filteredAway}>{t.common.filteredAwayHelp}</Empty>
                ) : (
                  <Table
                    label={words.title}
                    rows={shown}
                    id={(user) => user.email}
                    columns={columns}
                    selected={row ?? ''}
                    sort={sort}
                    onSort={(next) => set({ sort: next })}
                    onOpen={(user) => set({ row: user.email })}
                  />
                )}
              </div>
            </Split>
          );
        }}
      </Loaded>
      <FormDialog
        open={adding}
        onClose={() => setAdding(false)}
        title={words.addTitle}
        submit={words.add}
        onSubmit={async (form) => {
          const body = {
            email: text(form, 'email'),
            password: text(form, 'password') || undefined,
            roles: form.getAll('role').map(String),
          };
          const created = await act({
            run: () => ok(hub.POST('/api/users', { body })),
            done: words.added(body.email),
            changes: ['users'],
          });
          if (created.password) setMade(created);
        }}
      >
        <Field label={words.email}>
          <Input name="email" type="email" required autoComplete="off" />
        </Field>
        <Field label={words.password} hint={words.passwordHint}>
          <Input name="password" type="password" autoComplete="new-password" minLength={12} maxLength={256} />
        </Field>
        <RoleChoice held={[]} />
      </FormDialog>
      <Dialog open={made !== null} onClose={() => setMade(null)} title={made?.user.email ?? ''} lead={words.onceHelp}>
        <CopyBox label={words.once} text={made?.password ?? ''} />
        <div className="mt-3 flex justify-end">
          <Button look="primary" onClick={() => setMade(null)}>
            {t.common.close}
          </Button>
        </div>
      </Dialog>
    </Page>
  );
}

/** Roles that can be given: those of the hub and its files, not those that follow from teams and grants. */
function RoleChoice({ held }: { held: readonly string[] }) {
  const { data: roles = [] } = useQuery(roleList);
  const given = roles.filter(
    (role) => ['built-in', 'file', 'database'].includes(role.source) && own([role.name]).length > 0,
  );
  return (
    <fieldset className="grid gap-1">
      <legend className="mb-1 font-medium">{words.roles}</legend>
      <div className="grid max-h-56 gap-0.5 overflow-auto rounded-ctl border border-line p-2">
        {given.map((role) => (
          <Checkbox
            key={role.name}
            name="role"
            value={role.name}
            defaultChecked={held.includes(role.name)}
            label={
              <>
                {role.name} {role.description && <span className="text-[12px] text-ink-3">{role.description}</span>}
              </>
            }
          />
        ))}
      </div>
      <p className="m-0 text-[12px] text-ink-2">{words.rolesHint}</p>
    </fieldset>
  );
}

function Account({
  user,
  onPassword,
  onGone,
}: {
  user: AdminUser;
  onPassword: (made: UserCreated) => void;
  onGone: () => void;
}) {
  const act = useAct();
  const self = useMe().id === user.id;
  const [open, setOpen] = useState<'roles' | 'reset' | 'remove' | null>(null);
  const direct = useQuery(directRoles).data?.find((one) => one.id === user.id)?.roles ?? [];
  const id = { params: { path: { id: user.id } } };
  const close = () => setOpen(null);
  return (
    <div className="grid gap-3">
      <h2 className="m-0 pr-8 text-[15px] font-[650] [overflow-wrap:anywhere]">{user.email}</h2>
      <div className="flex flex-wrap gap-1.5">
        <Button onClick={() => setOpen('roles')}>{words.editRoles}</Button>
        <Button onClick={() => setOpen('reset')}>{words.reset}</Button>
        <Button look="danger" denied={self ? words.self : undefined} onClick={() => setOpen('remove')}>
          {words.remove}
        </Button>
      </div>
      <Facts
        facts={[
          [words.direct, own(direct).join(', ') || t.common.none],
          [words.derived, user.roles.filter((role) => !own([role]).length).join(', ') || t.common.none],
          [words.columns.orgs, user.orgs.join(', ') || t.common.none],
          [words.columns.teams, user.teams.join(', ') || t.common.none],
          [words.columns.created, <Time key="created" at={user.created_at} />],
          [t.clusters.facts.id, <code key="id">{user.id}</code>],
        ]}
      />
      <SignedIn user={user.id} />
      <FormDialog
        open={open === 'roles'}
        onClose={close}
        title={words.editRoles}
        lead={user.email}
        submit={t.common.save}
        onSubmit={(form) =>
          act({
            run: () =>
              ok(hub.PUT('/api/users/{id}/roles', { ...id, body: { roles: form.getAll('role').map(String) } })),
            done: words.rolesSaved,
            changes: ['users', 'whoami'],
          })
        }
      >
        <RoleChoice held={direct} />
      </FormDialog>
      <Confirm
        open={open === 'reset'}
        onClose={close}
        title={words.resetTitle(user.email)}
        lead={words.resetLead}
        submit={words.reset}
        onConfirm={async () => onPassword(await act({ run: () => ok(hub.POST('/api/users/{id}/password', id)) }))}
      />
      <Confirm
        open={open === 'remove'}
        onClose={close}
        title={words.removeTitle(user.email)}
        lead={words.removeLead}
        submit={words.remove}
        typed={user.email}
        onConfirm={async () => {
          await act({
            run: () => ok(hub.DELETE('/api/users/{id}', id)),
            done: words.removed(user.email),
            changes: ['users'],
          });
          onGone();
        }}
      />
    </div>
  );
}

function SignedIn({ user }: { user: string }) {
  const query = useQuery(sessionList(user));
  const act = useDo();
  return (
    <section>
      <h3 className="mt-1 mb-1.5 text-[12px] font-semibold text-ink-2">{words.sessions}</h3>
      <Loaded query={query} inPanel>
        {(sessions) =>
          sessions.length === 0 ? (
            <p className="m-0 text-ink-2">{words.noSessions}</p>
          ) : (
            <ul className="m-0 grid list-none gap-1 p-0">
              {sessions.map((session) => (
                <li key={session.id} className="flex items-center gap-2">
                  <span>{deviceOf(session.user_agent)}</span>
                  <code className="text-ink-3">{session.address}</code>
                  <span className="text-[12px] text-ink-3">
                    <Time at={session.last_seen} />
                  </span>
                  <span className="ml-auto" />
                  {!session.current && (
                    <Button
                      look="quiet"
                      aria-label={`${t.sessions.end}: ${deviceOf(session.user_agent)}`}
                      onClick={() =>
                        void act({
                          run: () => ok(hub.DELETE('/api/sessions/{id}', { params: { path: { id: session.id } } })),
                          done: t.sessions.ended,
                          changes: ['sessions'],
                        })
                      }
                    >
                      {t.sessions.end}
                    </Button>
                  )}
                </li>
              ))}
            </ul>
          )
        }
      </Loaded>
    </section>
  );
}
