/** Signing in: with a provider, with an account of the hub's own, or, where that is switched on, without a proof. */
import { useQuery, useQueryClient } from '@tanstack/react-query';
import { getRouteApi } from '@tanstack/react-router';
import type { FormEvent } from 'react';
import { useEffect, useState } from 'react';
import { HubError, hub, ok } from '@/api/client';
import { signInConfig, whoami } from '@/api/queries';
import { Button, buttonClass } from '@/kit/button';
import { Field, Input } from '@/kit/field';
import { Failure, Problem, Why } from '@/kit/states';
import { t } from '@/text';
import { DoorFrame } from './frame';
import { localTarget } from './target';

const route = getRouteApi('/login');

/** What somebody signed in with. */
interface Typed {
  email: string;
  password: string;
}

/** What a refusal means, in words that help. */
function explained(error: unknown): unknown {
  if (!(error instanceof HubError)) return error;
  if (error.code === 'invalid_credentials') return new Error(t.signIn.wrong);
  if (error.code === 'too_many_requests') return new Error(t.signIn.tooMany);
  return error;
}

export function SignInPage() {
  const target = localTarget(route.useSearch().return_to);
  const client = useQueryClient();
  const config = useQuery(signInConfig);
  const known = useQuery({ ...whoami, retry: false });
  const [must, setMust] = useState<Typed | null>(null);
  // A whole new page: what comes next may be the hub's own (a device to approve), and nothing of before is kept.
  const go = () => {
    client.clear();
    location.assign(target);
  };
  // biome-ignore lint/correctness/useExhaustiveDependencies: only what is known at the beginning counts
  useEffect(() => {
    if (known.data && !must) go();
  }, [known.data]);
  if (must) return <ChangePassword typed={must} onDone={go} />;
  if (config.error) return <Failure whole error={config.error} retry={() => void config.refetch()} />;
  const ways = config.data?.providers ?? [];
  const to = (url: string) => `${url}${url.includes('?') ? '&' : '?'}return_to=${encodeURIComponent(target)}`;
  return (
    <DoorFrame title={t.signIn.title} lead={t.signIn.lead}>
      {ways.length > 0 && (
        <div className="grid gap-2">
          {ways.map((way) => (
            <a key={way.name} href={to(way.url)} className={buttonClass('plain')}>
              {t.signIn.with(way.title)}
            </a>
          ))}
          <p className="m-0 pt-2 text-center text-[12px] text-ink-3">{t.signIn.or}</p>
        </div>
      )}
      {config.data?.password !== false && <PasswordForm onIn={go} onMust={setMust} />}
      {config.data?.developer && (
        <form method="post" action="/dev/login" className="grid gap-2">
          <input type="hidden" name="return_to" value={target} />
          <Why tone="warn" title={t.signIn.developer}>
            {t.signIn.developerHelp}
          </Why>
          <Button type="submit">{t.signIn.developerSubmit}</Button>
        </form>
      )}
    </DoorFrame>
  );
}

function PasswordForm({ onIn, onMust }: { onIn: () => void; onMust: (typed: Typed) => void }) {
  const [error, setError] = useState<unknown>(null);
  const [busy, setBusy] = useState(false);
  const submit = async (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    const [email, password] = [String(form.get('email')), String(form.get('password'))];
    setBusy(true);
    setError(null);
    try {
      const answer = await ok(hub.POST('/auth/login', { body: { email, password, session: 'cookie' } }));
      if ('password_change_required' in answer && answer.password_change_required) onMust({ email, password });
      else onIn();
    } catch (failure) {
      setError(explained(failure));
      setBusy(false);
    }
  };
  return (
    <form className="grid gap-3" onSubmit={submit}>
      <Field label={t.signIn.email}>
        <Input name="email" type="email" autoComplete="username" required />
      </Field>
      <Field label={t.signIn.password}>
        <Input name="password" type="password" autoComplete="current-password" required />
      </Field>
      {error !== null && <Problem error={error} />}
      <Button type="submit" look="primary" busy={busy}>
        {t.signIn.submit}
      </Button>
      <p className="m-0 text-[12px] text-ink-3">{t.signIn.first}</p>
    </form>
  );
}

function ChangePassword({ typed, onDone }: { typed: Typed; onDone: () => void }) {
  const [error, setError] = useState<unknown>(null);
  const [busy, setBusy] = useState(false);
  const submit = async (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const next = String(new FormData(event.currentTarget).get('next'));
    setBusy(true);
    setError(null);
    try {
      await ok(hub.POST('/auth/password', { body: { current: typed.password, new: next } }));
      onDone();
    } catch (failure) {
      setError(failure);
      setBusy(false);
    }
  };
  return (
    <DoorFrame title={t.signIn.change.title} lead={t.signIn.change.lead}>
      <form className="grid gap-3" onSubmit={submit}>
        {/* For password managers: whose password this is. */}
        <input type="hidden" name="email" autoComplete="username" value={typed.email} />
        <Field label={t.signIn.change.next} hint={t.signIn.change.hint}>
          <Input name="next" type="password" autoComplete="new-password" minLength={12} maxLength={256} required />
        </Field>
        {error !== null && <Problem error={error} />}
        <Button type="submit" look="primary" busy={busy}>
          {t.signIn.change.submit}
        </Button>
      </form>
    </DoorFrame>
  );
}
