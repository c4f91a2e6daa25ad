/** Members of an organisation or team, and inviting more. */
import { type UseQueryOptions, useQuery } from '@tanstack/react-query';
import { useState } from 'react';
import { useAct } from '@/api/act';
import type { InvitationCreated, MemberView } from '@/api/hub';
import { Button } from '@/kit/button';
import { CopyBox } from '@/kit/copy';
import { Confirm, Dialog, FormDialog } from '@/kit/dialog';
import { Field, Input, Select, text } from '@/kit/field';
import { Panel } from '@/kit/page';
import { Loaded } from '@/kit/states';
import { t } from '@/text';

const words = t.orgs;

interface Props<Role extends string> {
  // biome-ignore lint/suspicious/noExplicitAny: the key's type differs from place to place
  query: UseQueryOptions<MemberView[], Error, MemberView[], any>;
  roles: readonly Role[];
  denied: string | undefined;
  put: (email: string, role: Role) => Promise<unknown>;
  remove: (user: string) => Promise<unknown>;
  invite: (email: string | undefined, role: Role) => Promise<InvitationCreated>;
}

export function Members<Role extends string>({ query, roles, denied, put, remove, invite }: Props<Role>) {
  const act = useAct();
  const members = useQuery(query);
  const [open, setOpen] = useState<'add' | 'invite' | null>(null);
  const [removing, setRemoving] = useState<MemberView | null>(null);
  const [made, setMade] = useState<InvitationCreated | null>(null);
  const changes = ['orgs', 'teams', 'me', 'users'];
  const role = (
    <Field label={words.role}>
      <Select name="role">
        {roles.map((one) => (
          <option key={one} value={one}>
            {words.roles[one] ?? one}
          </option>
        ))}
      </Select>
    </Field>
  );
  return (
    <Panel
      title={words.members}
      aside={
        <>
          <Button denied={denied} onClick={() => setOpen('invite')}>
            {words.invite}
          </Button>
          <Button denied={denied} onClick={() => setOpen('add')}>
            {words.addMember}
          </Button>
        </>
      }
    >
      <Loaded query={members} inPanel>
        {(list) =>
          list.length === 0 ? (
            <p className="m-0 px-3 py-3 text-ink-2">{words.noMembers}</p>
          ) : (
            <ul className="m-0 list-none p-0">
              {list.map((member) => (
                <li
                  key={member.user}
                  className="flex flex-wrap items-center gap-2 border-b border-line-soft px-3 py-1.5 last:border-0"
                >
                  <span className="min-w-0 truncate font-medium">{member.email}</span>
                  <span className="ml-auto" />
                  {denied ? (
                    <span className="text-ink-2">{words.roles[member.role] ?? member.role}</span>
                  ) : (
                    <Select
                      aria-label={`${words.role}: ${member.email}`}
                      className="w-auto!"
                      value={member.role}
                      onChange={(event) =>
                        void act({
                          run: () => put(member.email, event.target.value as Role),
                          done: words.saved,
                          changes,
                        }).catch(() => members.refetch())
                      }
                    >
                      {roles.map((one) => (
                        <option key={one} value={one}>
                          {words.roles[one] ?? one}
                        </option>
                      ))}
                    </Select>
                  )}
                  {!denied && (
                    <Button
                      look="quiet"
                      aria-label={`${words.removeMember}: ${member.email}`}
                      onClick={() => setRemoving(member)}
                    >
                      {words.removeMember}
                    </Button>
                  )}
                </li>
              ))}
            </ul>
          )
        }
      </Loaded>
      <FormDialog
        open={open === 'add'}
        onClose={() => setOpen(null)}
        title={words.addMember}
        submit={words.addMember}
        onSubmit={(form) =>
          act({ run: () => put(text(form, 'email'), text(form, 'role') as Role), done: words.saved, changes })
        }
      >
        <Field label={words.member}>
          <Input name="email" type="email" required autoComplete="off" />
        </Field>
        {role}
      </FormDialog>
      <FormDialog
        open={open === 'invite'}
        onClose={() => setOpen(null)}
        title={words.inviteTitle}
        lead={words.inviteLead}
        submit={words.invite}
        onSubmit={async (form) =>
          setMade(
            await act({
              run: () => invite(text(form, 'email') || undefined, text(form, 'role') as Role),
              changes: ['orgs'],
            }),
          )
        }
      >
        <Field label={words.inviteEmail}>
          <Input name="email" type="email" autoComplete="off" />
        </Field>
        {role}
      </FormDialog>
      <Confirm
        open={removing !== null}
        onClose={() => setRemoving(null)}
        title={words.removeMemberTitle(removing?.email ?? '')}
        lead={words.removeMemberLead}
        submit={words.removeMember}
        onConfirm={() => act({ run: () => remove(removing?.user ?? ''), done: words.removed, changes })}
      />
      <Dialog
        open={made !== null}
        onClose={() => setMade(null)}
        title={words.inviteTitle}
        lead={made?.mailed ? words.mailed : words.notMailed}
      >
        <CopyBox label={words.inviteLink} text={made?.link ?? ''} />
        <div className="mt-3 flex justify-end">
          <Button look="primary" onClick={() => setMade(null)}>
            {t.common.close}
          </Button>
        </div>
      </Dialog>
    </Panel>
  );
}
