/** The form in which access is asked for. What is missing elsewhere comes filled in. */
import { useAct } from '@/api/act';
import { hub, ok } from '@/api/client';
import type { AccessRequestView } from '@/api/hub';
import { FormDialog } from '@/kit/dialog';
import { Field, Input, words as list, Select, text } from '@/kit/field';
import { t } from '@/text';

const words = t.access.form;

interface Props {
  open: boolean;
  cluster: string | undefined;
  given: { verbs?: string; resources?: string; namespace?: string };
  onClose: () => void;
  onAsked: (request: AccessRequestView) => void;
}

export function Ask({ open, cluster, given, onClose, onAsked }: Props) {
  const act = useAct();
  return (
    <FormDialog
      open={open}
      onClose={onClose}
      title={words.title}
      lead={words.lead}
      submit={words.submit}
      onSubmit={async (form) => {
        const resources = list(form, 'resources');
        const body = {
          cluster: text(form, 'cluster'),
          namespaces: list(form, 'namespaces'),
          verbs: list(form, 'verbs'),
          resources: resources.length ? resources : undefined,
          seconds: Number(text(form, 'seconds')),
          reason: text(form, 'reason'),
        };
        onAsked(
          await act({
            run: () => ok(hub.POST('/api/access-requests', { body })),
            done: words.done,
            changes: ['requests'],
          }),
        );
      }}
    >
      <div className="grid grid-cols-2 gap-3 max-wide:grid-cols-1">
        <Field label={words.cluster} hint={words.clusterHint}>
          <Input name="cluster" mono required defaultValue={cluster} autoComplete="off" />
        </Field>
        <Field label={words.namespaces} hint={words.namespacesHint}>
          <Input name="namespaces" mono required defaultValue={given.namespace ?? 'default'} autoComplete="off" />
        </Field>
      </div>
      <Field label={words.verbs} hint={words.verbsHint}>
        <Input name="verbs" mono required defaultValue={given.verbs ?? 'get, list, logs'} autoComplete="off" />
      </Field>
      <Field label={words.resources} hint={words.resourcesHint}>
        <Input name="resources" mono defaultValue={given.resources} autoComplete="off" />
      </Field>
      <Field label={words.duration}>
        <Select name="seconds" defaultValue="3600">
          {words.durations.map(([seconds, name]) => (
            <option key={seconds} value={seconds}>
              {name}
            </option>
          ))}
        </Select>
      </Field>
      <Field label={words.reason} hint={words.reasonHint}>
        <Input name="reason" required autoComplete="off" />
      </Field>
    </FormDialog>
  );
}
