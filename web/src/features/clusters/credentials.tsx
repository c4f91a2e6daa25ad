/** The fields of a cluster's credentials, by their kind, and what is sent of them. */
import type { ReactNode } from 'react';
import type { ClusterCreate } from '@/api/hub';
import { Checkbox, Field, Input, Textarea, text } from '@/kit/field';
import { t } from '@/text';

export type Kind = 'kubeconfig' | 'token' | 'certificate' | 'service_account' | 'oidc' | 'eks';

/** The body of `POST /api/clusters` that a form describes. */
export function bodyOf(kind: Kind, form: FormData): ClusterCreate {
  const some = (name: string) => text(form, name) || undefined;
  if (kind === 'kubeconfig') {
    return { auth_type: kind, kubeconfig: some('kubeconfig'), context: some('context') } as ClusterCreate;
  }
  const at = {
    server: some('server'),
    certificate_authority: some('ca'),
    insecure_skip_tls_verify: form.get('insecure') === 'on' || undefined,
  };
  const how = {
    token: { auth_type: 'bearer_token', token: some('token') },
    service_account: { auth_type: 'service_account', token: some('token') },
    certificate: { auth_type: 'client_certificate', client_certificate: some('certificate'), client_key: some('key') },
    oidc: {
      auth_type: 'oidc',
      oidc: {
        issuer: text(form, 'issuer'),
        client_id: text(form, 'client_id'),
        client_secret: some('client_secret'),
        refresh_token: some('refresh_token'),
      },
    },
    eks: { auth_type: 'eks', eks: { cluster_name: text(form, 'eks_name'), region: text(form, 'region') } },
  }[kind];
  return { ...at, ...how } as ClusterCreate;
}

function Server() {
  return (
    <>
      <Field label={t.setup.server}>
        <Input name="server" type="url" mono placeholder="https://10.0.0.1:6443" required />
      </Field>
      <Field label={t.setup.ca} hint={t.setup.caHint}>
        <Textarea name="ca" placeholder="-----BEGIN CERTIFICATE-----" />
      </Field>
      <Checkbox name="insecure" label={t.setup.insecure} />
    </>
  );
}

function Secret({ name, label, hint, optional }: { name: string; label: string; hint?: string; optional?: boolean }) {
  return (
    <Field label={label} hint={hint}>
      <Input name={name} type="password" mono autoComplete="off" required={!optional} />
    </Field>
  );
}

const FIELDS: Record<Kind, () => ReactNode> = {
  kubeconfig: () => (
    <>
      <Field label={t.setup.kubeconfig} hint={t.setup.kubeconfigHint}>
        <Textarea name="kubeconfig" rows={9} required placeholder={'apiVersion: v1\nkind: Config\nclusters: …'} />
      </Field>
      <Field label={t.setup.context} hint={t.setup.contextHint}>
        <Input name="context" mono autoComplete="off" />
      </Field>
    </>
  ),
  token: () => (
    <>
      <Server />
      <Secret name="token" label={t.setup.token} />
    </>
  ),
  service_account: () => (
    <>
      <Server />
      <Secret name="token" label={t.setup.token} />
    </>
  ),
  certificate: () => (
    <>
      <Server />
      <Field label={t.setup.certificate}>
        <Textarea name="certificate" placeholder="-----BEGIN CERTIFICATE-----" required />
      </Field>
      <Field label={t.setup.key}>
        <Textarea name="key" placeholder="-----BEGIN PRIVATE KEY-----" required />
      </Field>
    </>
  ),
  oidc: () => (
    <>
      <Server />
      <Field label={t.setup.issuer}>
        <Input name="issuer" type="url" mono required />
      </Field>
      <Field label={t.setup.clientId}>
        <Input name="client_id" mono autoComplete="off" required />
      </Field>
      <Secret name="client_secret" label={t.setup.clientSecret} optional />
      <Secret name="refresh_token" label={t.setup.refreshToken} hint={t.setup.refreshHint} optional />
    </>
  ),
  eks: () => (
    <>
      <Server />
      <Field label={t.setup.eksName}>
        <Input name="eks_name" mono autoComplete="off" required />
      </Field>
      <Field label={t.setup.region}>
        <Input name="region" mono autoComplete="off" placeholder="eu-central-1" required />
      </Field>
    </>
  ),
};

export function CredentialFields({ kind }: { kind: Kind }) {
  return <>{FIELDS[kind]()}</>;
}
