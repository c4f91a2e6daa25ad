/** Asks what one may do in a cluster: the hub's policy first, then the cluster's own RBAC. */
import { Link } from '@tanstack/react-router';
import type { FormEvent } from 'react';
import { useState } from 'react';
import { hub, ok } from '@/api/client';
import type { CanIResult, Check } from '@/api/hub';
import { Button, buttonClass } from '@/kit/button';
import { Field, Input, text } from '@/kit/field';
import { Panel } from '@/kit/page';
import { Problem, sentence, Why } from '@/kit/states';
import { t } from '@/text';

interface Asked {
  verb: string;
  resource: string;
  namespace: string;
}

function checkOf({ verb, resource, namespace }: Asked): Check {
  const [whole = '', subresource = ''] = resource.split('/');
  const [plural = '', ...group] = whole.split('.');
  return { verb, resource: plural, subresource, group: group.join('.'), namespace, name: '', path: '' };
}

export function CanI({ cluster }: { cluster: string }) {
  const [asked, setAsked] = useState<Asked | null>(null);
  const [result, setResult] = useState<CanIResult | null>(null);
  const [error, setError] = useState<unknown>(null);
  const [busy, setBusy] = useState(false);
  const ask = async (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    const question = { verb: text(form, 'verb'), resource: text(form, 'resource'), namespace: text(form, 'namespace') };
    setBusy(true);
    setError(null);
    setResult(null);
    try {
      const body = { checks: [checkOf(question)] };
      const answer = await ok(hub.POST('/api/clusters/{id}/can-i', { params: { path: { id: cluster } }, body }));
      setAsked(question);
      setResult(answer.results[0] ?? null);
    } catch (failure) {
      setError(failure);
    } finally {
      setBusy(false);
    }
  };
  return (
    <Panel title={t.clusters.can} aside={<span className="text-ink-3">{t.clusters.canLead}</span>}>
      <form className="grid gap-3 p-3" onSubmit={ask}>
        <div className="grid grid-cols-3 gap-2 max-wide:grid-cols-1">
          <Field label={t.clusters.canVerb}>
            <Input name="verb" mono defaultValue="get" required autoComplete="off" />
          </Field>
          <Field label={t.clusters.canResource}>
            <Input name="resource" mono defaultValue="pods" required autoComplete="off" />
          </Field>
          <Field label={t.clusters.canNamespace}>
            <Input name="namespace" mono defaultValue="default" autoComplete="off" />
          </Field>
        </div>
        <div aria-live="polite" className="empty:hidden">
          {error !== null && <Problem error={error} />}
          {result && (
            <Why tone={result.allowed ? 'ok' : 'bad'} title={result.allowed ? t.clusters.canYes : t.clusters.canNo}>
              {t.clusters.canBy(result.by)} {sentence(result.reason)}
            </Why>
          )}
        </div>
        <div className="flex gap-2">
          <Button type="submit" busy={busy}>
            {t.clusters.canAsk}
          </Button>
          {asked && result && !result.allowed && (
            <Link
              to="/govern/requests"
              search={{
                ask: cluster,
                verbs: asked.verb,
                resources: asked.resource,
                namespace: asked.namespace || undefined,
              }}
              className={buttonClass('primary')}
            >
              {t.clusters.canRequest}
            </Link>
          )}
        </div>
      </form>
    </Panel>
  );
}
