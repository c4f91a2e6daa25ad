/** Accepting an invitation: as who one is, or with a new account for the address that was invited. */
import { useQuery } from '@tanstack/react-query';
import { getRouteApi } from '@tanstack/react-router';
import type { FormEvent } from 'react';
import { useState } from 'react';
import { hub, ok } from '@/api/client';
import type { InvitationAccepted } from '@/api/hub';
import { whoami } from '@/api/queries';
import { Button, buttonClass } from '@/kit/button';
import { Field, Input } from '@/kit/field';
import { Loading, Problem, Why } from '@/kit/states';
import { t } from '@/text';
import { DoorFrame } from './frame';

const route = getRouteApi('/invitations/$token');

export function InvitationPage() {
  const { token } = route.useParams();
  const known = useQuery({ ...whoami, retry: false });
  const [error, setError] = useState<unknown>(null);
  const [accepted, setAccepted] = useState<InvitationAccepted | null>(null);
  const accept = async (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const given = new FormData(event.currentTarget).get('password');
    const password = typeof given === 'string' ? given : undefined;
    setError(null);
    try {
      setAccepted(
        await ok(hub.POST('/api/invitations/{token}/accept', { params: { path: { token } }, body: { password } })),
      );
    } catch (failure) {
      setError(failure);
    }
  };
  const words = t.signIn.invitation;
  if (accepted) {
    return (
      <DoorFrame title={words.title}>
        <Why tone="ok">{words.done(accepted.team ?? accepted.org, accepted.role)}</Why>
        {accepted.account_made && <p className="m-0">{words.made(accepted.email)}</p>}
        <a href={accepted.account_made ? '/login' : '/'} className={buttonClass('primary')}>
          {accepted.account_made ? words.toSignIn : words.toFleet}
        </a>
      </DoorFrame>
    );
  }
  return (
    <DoorFrame title={words.title} lead={words.lead}>
      {known.isPending ? (
        <Loading rows={2} />
      ) : (
        <form className="grid gap-3" onSubmit={accept}>
          {!known.data && (
            <Field label={words.password} hint={t.signIn.change.hint}>
              <Input
                name="password"
                type="password"
                autoComplete="new-password"
                minLength={12}
                maxLength={256}
                required
              />
            </Field>
          )}
          {error !== null && <Problem error={error} />}
          <Button type="submit" look="primary">
            {known.data ? words.acceptAs(known.data.email) : words.accept}
          </Button>
          {!known.data && (
            <a href={`/login?return_to=/invitations/${token}`} className="text-center text-accent underline">
              {words.other}
            </a>
          )}
        </form>
      )}
    </DoorFrame>
  );
}
