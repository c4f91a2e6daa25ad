/** The organisations that one may see. */
import { useQuery } from '@tanstack/react-query';
import { Link } from '@tanstack/react-router';
import { useState } from 'react';
import { useAct } from '@/api/act';
import { hub, ok } from '@/api/client';
import { orgList, teamList } from '@/api/queries';
import { useAdminOnly } from '@/api/rights';
import { Button } from '@/kit/button';
import { FormDialog } from '@/kit/dialog';
import { Field, Input, text } from '@/kit/field';
import { Chip, Page } from '@/kit/page';
import { Empty, Loaded } from '@/kit/states';
import { t } from '@/text';

const words = t.orgs;

export function OrgsPage() {
  const denied = useAdminOnly();
  const act = useAct();
  const query = useQuery(orgList);
  const { data: teams = [] } = useQuery(teamList);
  const [adding, setAdding] = useState(false);
  return (
    <Page
      title={words.title}
      lead={words.lead}
      actions={
        <Button look="primary" denied={denied} onClick={() => setAdding(true)}>
          {words.add}
        </Button>
      }
    >
      <Loaded query={query}>
        {(orgs) =>
          orgs.length === 0 ? (
            <Empty title={words.none} />
          ) : (
            <ul className="m-0 grid list-none grid-cols-[repeat(auto-fill,minmax(280px,1fr))] gap-2.5 p-0">
              {orgs.map((org) => {
                const own = teams.filter((team) => team.org === org.id);
                return (
                  <li key={org.id}>
                    <Link
                      to="/settings/organisations/$org"
                      params={{ org: org.name }}
                      data-row-link
                      className="grid gap-1.5 rounded-box border border-line bg-surface px-3 py-2.5 hover:border-accent"
                    >
                      <span className="flex items-center gap-2">
                        <b className="truncate text-[14px] font-semibold">{org.display_name || org.name}</b>
                        {org.role && (
                          <span className="ml-auto">
                            <Chip tone="accent">{words.roles[org.role] ?? org.role}</Chip>
                          </span>
                        )}
                      </span>
                      <code className="text-ink-3">{org.name}</code>
                      <span className="text-[12px] text-ink-2">
                        {own.length ? own.map((team) => team.name).join(', ') : words.noTeams}
                      </span>
                    </Link>
                  </li>
                );
              })}
            </ul>
          )
        }
      </Loaded>
      <FormDialog
        open={adding}
        onClose={() => setAdding(false)}
        title={words.addTitle}
        submit={words.add}
        onSubmit={(form) => {
          const body = {
            name: text(form, 'name'),
            display_name: text(form, 'display') || undefined,
            owner: text(form, 'owner') || undefined,
          };
          return act({ run: () => ok(hub.POST('/api/orgs', { body })), done: words.saved, changes: ['orgs', 'me'] });
        }}
      >
        <Field label={words.name} hint={words.nameHint}>
          <Input name="name" mono required pattern="[a-z0-9\-]{1,40}" autoComplete="off" />
        </Field>
        <Field label={words.displayName}>
          <Input name="display" autoComplete="off" />
        </Field>
        <Field label={words.owner}>
          <Input name="owner" type="email" autoComplete="off" />
        </Field>
      </FormDialog>
    </Page>
  );
}
