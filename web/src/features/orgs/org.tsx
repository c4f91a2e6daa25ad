/** One organisation: members, teams, clusters, open invitations. */
import { useQuery } from '@tanstack/react-query';
import { getRouteApi, Link } from '@tanstack/react-router';
import { useState } from 'react';
import { useAct, useDo } from '@/api/act';
import { HubError, hub, ok } from '@/api/client';
import type { OrgCluster, OrgRole, OrgView, TeamView } from '@/api/hub';
import { orgClusters, orgInvitations, orgList, orgMembers, teamList } from '@/api/queries';
import { Button } from '@/kit/button';
import { Confirm, FormDialog } from '@/kit/dialog';
import { Field, Input, Select, text } from '@/kit/field';
import { ClusterName } from '@/kit/flag';
import { Chip, Page, Panel } from '@/kit/page';
import { Failure, Loaded, Loading } from '@/kit/states';
import { Time } from '@/kit/time';
import { t } from '@/text';
import { Members } from './members';
import { useManages, useOwns } from './rights';

const route = getRouteApi('/app/settings/organisations/$org');
const words = t.orgs;
const ROLES = ['org_member', 'org_admin', 'org_owner'] as const;
const MODES = ['tier', 'shared', 'raw'] as const;

export function OrgPage() {
  const { org: name } = route.useParams();
  const query = useQuery(orgList);
  const org = query.data?.find((one) => one.name === name);
  if (query.error) return <Failure whole error={query.error} retry={() => void query.refetch()} />;
  if (query.isPending) return <Loading />;
  if (!org) return <Failure whole error={new HubError(404, 'not_found', words.none)} />;
  return <Org org={org} />;
}

function Org({ org }: { org: OrgView }) {
  const manages = useManages(org);
  const owns = useOwns(org);
  const act = useAct();
  const navigate = route.useNavigate();
  const [open, setOpen] = useState<'rename' | 'remove' | null>(null);
  const id = { params: { path: { id: org.id } } };
  return (
    <Page
      title={org.display_name || org.name}
      lead={
        <>
          <code>{org.name}</code> {org.role && <Chip tone="accent">{words.roles[org.role] ?? org.role}</Chip>}
        </>
      }
      actions={
        <>
          <Button denied={manages} onClick={() => setOpen('rename')}>
            {words.rename}
          </Button>
          <Button look="danger" denied={owns} onClick={() => setOpen('remove')}>
            {words.remove}
          </Button>
        </>
      }
    >
      <div className="grid grid-cols-2 items-start gap-3.5 max-wide:grid-cols-1">
        <Members<OrgRole>
          query={orgMembers(org.id)}
          roles={ROLES}
          denied={manages}
          put={(email, role) => ok(hub.PUT('/api/orgs/{id}/members', { ...id, body: { email, role } }))}
          remove={(user) => ok(hub.DELETE('/api/orgs/{id}/members/{user}', { params: { path: { id: org.id, user } } }))}
          invite={(email, role) => ok(hub.POST('/api/orgs/{id}/invite', { ...id, body: { email, role } }))}
        />
        <div className="grid gap-3.5">
          <Teams org={org} denied={manages} />
          {!manages && <Invitations org={org} />}
        </div>
        <Clusters org={org} denied={manages} />
      </div>
      <FormDialog
        open={open === 'rename'}
        onClose={() => setOpen(null)}
        title={words.rename}
        submit={t.common.save}
        onSubmit={(form) =>
          act({
            run: () => ok(hub.PATCH('/api/orgs/{id}', { ...id, body: { display_name: text(form, 'display') } })),
            done: words.saved,
            changes: ['orgs', 'me'],
          })
        }
      >
        <Field label={words.displayName}>
          <Input name="display" required defaultValue={org.display_name} autoComplete="off" />
        </Field>
      </FormDialog>
      <Confirm
        open={open === 'remove'}
        onClose={() => setOpen(null)}
        title={words.removeTitle(org.name)}
        lead={words.removeLead}
        submit={words.remove}
        typed={org.name}
        onConfirm={async () => {
          await act({ run: () => ok(hub.DELETE('/api/orgs/{id}', id)), done: words.removed });
          await navigate({ to: '/settings/organisations' });
          await act({ run: async () => {}, changes: ['orgs', 'teams', 'me'] });
        }}
      />
    </Page>
  );
}

function Teams({ org, denied }: { org: OrgView; denied: string | undefined }) {
  const act = useAct();
  const query = useQuery(teamList);
  const [adding, setAdding] = useState(false);
  return (
    <Panel
      title={words.teams}
      aside={
        <Button denied={denied} onClick={() => setAdding(true)}>
          {words.addTeam}
        </Button>
      }
    >
      <Loaded query={query} inPanel>
        {(all) => {
          const teams = all.filter((team) => team.org === org.id);
          return teams.length === 0 ? (
            <p className="m-0 px-3 py-3 text-ink-2">{words.noTeams}</p>
          ) : (
            <ul className="m-0 list-none p-0">
              {teams.map((team) => (
                <li key={team.id} className="border-b border-line-soft last:border-0">
                  <Link
                    to="/settings/organisations/$org/teams/$team"
                    params={{ org: org.name, team: team.name }}
                    data-row-link
                    className="flex items-center gap-2 px-3 py-2 hover:bg-bg"
                  >
                    <b className="font-medium">{team.name}</b>
                    {team.role && <Chip tone="accent">{words.roles[team.role] ?? team.role}</Chip>}
                    <span className="ml-auto truncate text-[12px] text-ink-3">
                      {team.policy.bindings
                        ?.map((one) => words.binding(words.roles[one.role] ?? one.role, one.policy))
                        .join(', ') || words.noBindings}
                    </span>
                  </Link>
                </li>
              ))}
            </ul>
          );
        }}
      </Loaded>
      <FormDialog
        open={adding}
        onClose={() => setAdding(false)}
        title={words.addTeam}
        submit={words.addTeam}
        onSubmit={(form) =>
          act({
            run: () => ok(hub.POST('/api/teams', { body: { org: org.id, name: text(form, 'name') } })),
            done: words.saved,
            changes: ['teams', 'me'],
          })
        }
      >
        <Field label={words.name} hint={words.nameHint}>
          <Input name="name" mono required pattern="[a-z0-9\-]{1,40}" autoComplete="off" />
        </Field>
      </FormDialog>
    </Panel>
  );
}

function Invitations({ org }: { org: OrgView }) {
  const act = useDo();
  const query = useQuery(orgInvitations(org.id));
  return (
    <Panel title={words.invitations}>
      <Loaded query={query} inPanel>
        {(list) =>
          list.length === 0 ? (
            <p className="m-0 px-3 py-3 text-ink-2">{words.noInvitations}</p>
          ) : (
            <ul className="m-0 list-none p-0">
              {list.map((invitation) => (
                <li
                  key={invitation.id}
                  className="flex flex-wrap items-center gap-2 border-b border-line-soft px-3 py-1.5 last:border-0"
                >
                  <span className="font-medium">{invitation.email ?? words.anyone}</span>
                  <Chip>{words.roles[invitation.role] ?? invitation.role}</Chip>
                  <span className="text-[12px] text-ink-3">
                    {words.ends} <Time at={invitation.expires_at} />
                  </span>
                  <span className="ml-auto" />
                  <Button
                    look="quiet"
                    onClick={() =>
                      void act({
                        run: () =>
                          ok(
                            hub.DELETE('/api/orgs/{id}/invitations/{invitation}', {
                              params: { path: { id: org.id, invitation: invitation.id } },
                            }),
                          ),
                        changes: ['orgs'],
                      })
                    }
                  >
                    {words.withdraw}
                  </Button>
                </li>
              ))}
            </ul>
          )
        }
      </Loaded>
    </Panel>
  );
}

function Clusters({ org, denied }: { org: OrgView; denied: string | undefined }) {
  const act = useAct();
  const query = useQuery(orgClusters(org.id));
  const teams = (useQuery(teamList).data ?? []).filter((team) => team.org === org.id);
  const [changing, setChanging] = useState<OrgCluster | null>(null);
  const nameOf = (id: string | null | undefined) => teams.find((team: TeamView) => team.id === id)?.name;
  return (
    <Panel title={words.clusters} className="col-span-full">
      <Loaded query={query} inPanel>
        {(list) =>
          list.length === 0 ? (
            <p className="m-0 px-3 py-3 text-ink-2">{words.noClusters}</p>
          ) : (
            <ul className="m-0 list-none p-0">
              {list.map((cluster) => (
                <li
                  key={cluster.id}
                  className="flex flex-wrap items-center gap-x-4 gap-y-1 border-b border-line-soft px-3 py-1.5 last:border-0"
                >
                  <span className="min-w-40 font-medium">
                    <ClusterName name={cluster.name} />
                  </span>
                  <span className="text-ink-2">
                    {words.clusterOwner} {nameOf(cluster.team) ?? words.noOwner}
                  </span>
                  {cluster.shared_to.length > 0 && (
                    <span className="text-ink-2">
                      {words.clusterShared} {cluster.shared_to.map((team) => nameOf(team) ?? team).join(', ')}
                    </span>
                  )}
                  <span className="text-ink-2">
                    {words.clusterMode} {words.modes[cluster.mode] ?? cluster.mode}
                  </span>
                  <span className="ml-auto" />
                  <Button
                    denied={denied}
                    aria-label={`${words.assign}: ${cluster.name}`}
                    onClick={() => setChanging(cluster)}
                  >
                    {words.assign}
                  </Button>
                </li>
              ))}
            </ul>
          )
        }
      </Loaded>
      <FormDialog
        open={changing !== null}
        onClose={() => setChanging(null)}
        title={words.assignTitle(changing?.name ?? '')}
        submit={t.common.save}
        onSubmit={(form) => {
          const body = { team: text(form, 'team') || null, mode: text(form, 'mode') as OrgCluster['mode'] };
          return act({
            run: () =>
              ok(
                hub.PUT('/api/orgs/{id}/clusters/{cluster}', {
                  params: { path: { id: org.id, cluster: changing?.name ?? '' } },
                  body,
                }),
              ),
            done: words.saved,
            changes: ['orgs', 'teams'],
          });
        }}
      >
        <Field label={words.clusterOwner}>
          <Select name="team" defaultValue={changing?.team ?? ''}>
            <option value="">{words.noOwner}</option>
            {teams.map((team) => (
              <option key={team.id} value={team.id}>
                {team.name}
              </option>
            ))}
          </Select>
        </Field>
        <Field label={words.clusterMode}>
          <Select name="mode" defaultValue={changing?.mode}>
            {MODES.map((mode) => (
              <option key={mode} value={mode}>
                {words.modes[mode]}
              </option>
            ))}
          </Select>
        </Field>
      </FormDialog>
    </Panel>
  );
}
