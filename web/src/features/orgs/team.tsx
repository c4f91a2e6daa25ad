/** One team: members, what they may do, clusters that it owns or that are shared to it. */
import { useQuery } from '@tanstack/react-query';
import { getRouteApi, Link } from '@tanstack/react-router';
import { useState } from 'react';
import { useAct, useDo } from '@/api/act';
import { HubError, hub, ok } from '@/api/client';
import type { OrgView, TeamBinding, TeamRole, TeamView } from '@/api/hub';
import { clusterList, orgClusters, orgList, teamList, teamMembers } from '@/api/queries';
import { Button } from '@/kit/button';
import { Confirm, FormDialog } from '@/kit/dialog';
import { Field, Input, Select, Textarea, text } from '@/kit/field';
import { ClusterName } from '@/kit/flag';
import { Chip, Facts, Page, Panel } from '@/kit/page';
import { Failure, Loaded, Loading } from '@/kit/states';
import { stretch } from '@/kit/time';
import { t } from '@/text';
import { Members } from './members';
import { useLeads, useManages } from './rights';

const route = getRouteApi('/app/settings/organisations/$org/teams/$team');
const words = t.orgs;
const ROLES = ['viewer', 'developer', 'team_admin'] as const;

export function TeamPage() {
  const { org: orgName, team: name } = route.useParams();
  const orgs = useQuery(orgList);
  const teams = useQuery(teamList);
  const error = orgs.error ?? teams.error;
  if (error) return <Failure whole error={error} />;
  if (!orgs.data || !teams.data) return <Loading />;
  const org = orgs.data.find((one) => one.name === orgName);
  const team = teams.data.find((one) => one.name === name && one.org === org?.id);
  if (!org || !team) return <Failure whole error={new HubError(404, 'not_found', words.noTeams)} />;
  return <Team org={org} team={team} />;
}

function Team({ org, team }: { org: OrgView; team: TeamView }) {
  const manages = useManages(org);
  const leads = useLeads(team, org);
  const act = useAct();
  const navigate = route.useNavigate();
  const [removing, setRemoving] = useState(false);
  const id = { params: { path: { id: team.id } } };
  return (
    <Page
      title={team.name}
      lead={
        <>
          <Link to="/settings/organisations/$org" params={{ org: org.name }} className="text-accent hover:underline">
            {org.display_name || org.name}
          </Link>{' '}
          {team.role && <Chip tone="accent">{words.roles[team.role] ?? team.role}</Chip>}
        </>
      }
      actions={
        <Button look="danger" denied={manages} onClick={() => setRemoving(true)}>
          {words.remove}
        </Button>
      }
    >
      <div className="grid grid-cols-2 items-start gap-3.5 max-wide:grid-cols-1">
        <Members<TeamRole>
          query={teamMembers(team.id)}
          roles={ROLES}
          denied={leads}
          put={(email, role) => ok(hub.PUT('/api/teams/{id}/members', { ...id, body: { email, role } }))}
          remove={(user) =>
            ok(hub.DELETE('/api/teams/{id}/members/{user}', { params: { path: { id: team.id, user } } }))
          }
          invite={(email, role) => ok(hub.POST('/api/teams/{id}/invite', { ...id, body: { email, role } }))}
        />
        <div className="grid gap-3.5">
          <Policy team={team} denied={manages} />
          <Clusters org={org} team={team} denied={manages} />
        </div>
      </div>
      <Confirm
        open={removing}
        onClose={() => setRemoving(false)}
        title={words.removeTitle(team.name)}
        lead={words.removeTeamLead}
        submit={words.remove}
        typed={team.name}
        onConfirm={async () => {
          await act({ run: () => ok(hub.DELETE('/api/teams/{id}', id)), done: words.removed });
          await navigate({ to: '/settings/organisations/$org', params: { org: org.name } });
          await act({ run: async () => {}, changes: ['teams', 'orgs', 'me'] });
        }}
      />
    </Page>
  );
}

/** `developer: role` lines as bindings; patterns of further clusters are kept as they were. */
export function bindingsOf(lines: string, before: readonly TeamBinding[]): TeamBinding[] {
  const used = lines
    .split('\n')
    .map((one) => one.trim())
    .filter(Boolean);
  return used.map((line) => {
    const [role = '', policy = ''] = line.split(':').map((part) => part.trim());
    if (!ROLES.some((one) => one === role) || !policy) throw new Error(words.bindingBad(line));
    const known = before.find((one) => one.role === role && one.policy === policy);
    return { role: role as TeamRole, policy, clusters: known?.clusters };
  });
}

function Policy({ team, denied }: { team: TeamView; denied: string | undefined }) {
  const act = useAct();
  const [open, setOpen] = useState(false);
  const { bindings = [], approvals = 1, max_grant_seconds = 28_800 } = team.policy;
  return (
    <Panel
      title={words.policy}
      aside={
        <Button denied={denied} onClick={() => setOpen(true)}>
          {words.policyEdit}
        </Button>
      }
    >
      <div className="grid gap-2 p-3">
        {bindings.length === 0 ? (
          <p className="m-0 text-ink-2">{words.noBindings}</p>
        ) : (
          <ul className="m-0 grid list-none gap-1 p-0">
            {bindings.map((one) => (
              <li key={one.role + one.policy}>
                {words.binding(words.roles[one.role] ?? one.role, one.policy)}{' '}
                {one.clusters?.length ? <code>{one.clusters.join(', ')}</code> : null}
              </li>
            ))}
          </ul>
        )}
        <Facts
          facts={[
            [words.approvals, String(approvals)],
            [words.maxGrant.replace(/ \(.*/, ''), stretch(max_grant_seconds * 1000)],
          ]}
        />
      </div>
      <FormDialog
        open={open}
        onClose={() => setOpen(false)}
        title={words.policy}
        lead={words.policyLead}
        submit={t.common.save}
        onSubmit={(form) => {
          const body = {
            bindings: bindingsOf(text(form, 'bindings'), bindings),
            approvals: Number(text(form, 'approvals')),
            max_grant_seconds: Number(text(form, 'minutes')) * 60,
          };
          return act({
            run: () => ok(hub.PUT('/api/teams/{id}/policy', { params: { path: { id: team.id } }, body })),
            done: words.saved,
            changes: ['teams', 'whoami'],
          });
        }}
      >
        <Field label={words.bindings} hint={words.bindingsHint}>
          <Textarea
            name="bindings"
            rows={5}
            defaultValue={bindings.map((one) => `${one.role}: ${one.policy}`).join('\n')}
          />
        </Field>
        <Field label={words.approvals}>
          <Input name="approvals" type="number" min={1} max={5} required defaultValue={approvals} />
        </Field>
        <Field label={words.maxGrant}>
          <Input
            name="minutes"
            type="number"
            min={1}
            max={10_080}
            required
            defaultValue={Math.round(max_grant_seconds / 60)}
          />
        </Field>
      </FormDialog>
    </Panel>
  );
}

function Clusters({ org, team, denied }: { org: OrgView; team: TeamView; denied: string | undefined }) {
  const act = useAct();
  const attempt = useDo();
  const query = useQuery(orgClusters(org.id));
  const { data: all = [] } = useQuery(clusterList);
  const [open, setOpen] = useState(false);
  const changes = ['orgs', 'teams', 'clusters'];
  return (
    <Panel
      title={words.clusters}
      aside={
        <Button denied={denied} onClick={() => setOpen(true)}>
          {words.shareTo}
        </Button>
      }
    >
      <Loaded query={query} inPanel>
        {(list) => {
          const own = list.filter((cluster) => cluster.team === team.id || cluster.shared_to.includes(team.id));
          return own.length === 0 ? (
            <p className="m-0 px-3 py-3 text-ink-2">{words.noTeamClusters}</p>
          ) : (
            <ul className="m-0 list-none p-0">
              {own.map((cluster) => (
                <li
                  key={cluster.id}
                  className="flex items-center gap-2 border-b border-line-soft px-3 py-1.5 last:border-0"
                >
                  <ClusterName name={cluster.name} />
                  <Chip tone={cluster.team === team.id ? 'accent' : undefined}>
                    {cluster.team === team.id ? words.owned : words.shared}
                  </Chip>
                  <span className="ml-auto" />
                  {cluster.team !== team.id && !denied && (
                    <Button
                      look="quiet"
                      onClick={() =>
                        void attempt({
                          run: () =>
                            ok(
                              hub.DELETE('/api/teams/{id}/clusters/{cluster}', {
                                params: { path: { id: team.id, cluster: cluster.name } },
                              }),
                            ),
                          changes,
                        })
                      }
                    >
                      {words.unshareTeam}
                    </Button>
                  )}
                </li>
              ))}
            </ul>
          );
        }}
      </Loaded>
      <FormDialog
        open={open}
        onClose={() => setOpen(false)}
        title={words.shareTo}
        submit={words.shareTo}
        onSubmit={(form) =>
          act({
            run: () =>
              ok(
                hub.PUT('/api/teams/{id}/clusters/{cluster}', {
                  params: { path: { id: team.id, cluster: text(form, 'cluster') } },
                }),
              ),
            changes,
          })
        }
      >
        <Field label={t.access.form.cluster}>
          <Select name="cluster" required>
            {all.map((cluster) => (
              <option key={cluster.id} value={cluster.name}>
                {cluster.name}
              </option>
            ))}
          </Select>
        </Field>
      </FormDialog>
    </Panel>
  );
}
