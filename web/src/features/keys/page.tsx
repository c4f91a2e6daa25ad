/** API keys of one's own: making, changing and revoking them. */
import { useQuery } from '@tanstack/react-query';
import { useState } from 'react';
import { useAct } from '@/api/act';
import { hub, ok } from '@/api/client';
import type { ApiKeyCreated, ApiKeyView } from '@/api/hub';
import { keyList } from '@/api/queries';
import { Button } from '@/kit/button';
import { CopyBox } from '@/kit/copy';
import { Confirm, Dialog, FormDialog } from '@/kit/dialog';
import { Field, Input, Select, text } from '@/kit/field';
import { Menu } from '@/kit/menu';
import { Chip, Page } from '@/kit/page';
import { Empty, Loaded } from '@/kit/states';
import { type Column, Table } from '@/kit/table';
import { Time } from '@/kit/time';
import { t } from '@/text';

const words = t.keys;

/** Scopes hold commas between verbs; only white space stands between scopes. */
function scopesOf(form: FormData): string[] {
  return text(form, 'scopes').split(/\s+/).filter(Boolean);
}

export function KeysPage() {
  const act = useAct();
  const query = useQuery(keyList);
  const [open, setOpen] = useState<'new' | 'edit' | 'revoke' | null>(null);
  const [key, setKey] = useState<ApiKeyView | null>(null);
  const [made, setMade] = useState<ApiKeyCreated | null>(null);
  const close = () => setOpen(null);
  const on = (what: 'edit' | 'revoke', row: ApiKeyView) => {
    setKey(row);
    setOpen(what);
  };
  const columns: readonly Column<ApiKeyView>[] = [
    {
      id: 'name',
      head: words.columns.name,
      by: (row) => row.name,
      grow: true,
      cell: (row) => (
        <span className="inline-flex items-center gap-2">
          <b className="font-medium">{row.name}</b> <code className="text-ink-3">{row.prefix}…</code>
        </span>
      ),
    },
    {
      id: 'scopes',
      head: words.columns.scopes,
      wide: true,
      cell: (row) => (
        <span className="flex gap-1">
          {row.scopes.map((scope) => (
            <Chip key={scope}>{scope}</Chip>
          ))}
        </span>
      ),
    },
    {
      id: 'used',
      head: words.columns.used,
      by: (row) => row.lastUsedAt ?? '',
      cell: (row) => <Time at={row.lastUsedAt} none={t.common.never} />,
      num: true,
    },
    {
      id: 'ends',
      head: words.columns.ends,
      by: (row) => row.expiresAt ?? '~',
      cell: (row) => <Time at={row.expiresAt} none={words.endless} />,
      num: true,
      wide: true,
    },
    {
      id: 'created',
      head: words.columns.created,
      by: (row) => row.createdAt,
      cell: (row) => <Time at={row.createdAt} />,
      num: true,
      wide: true,
    },
    {
      id: 'act',
      head: '',
      cell: (row) => (
        <Menu
          trigger={
            <Button look="quiet" aria-label={`${t.common.more}: ${row.name}`}>
              {t.common.more}
            </Button>
          }
          items={[
            { label: words.edit, onSelect: () => on('edit', row) },
            { label: words.revoke, danger: true, onSelect: () => on('revoke', row) },
          ]}
        />
      ),
    },
  ];
  const add = (
    <Button look="primary" onClick={() => setOpen('new')}>
      {words.add}
    </Button>
  );
  const id = { params: { path: { id: key?.id ?? '' } } };
  return (
    <Page title={words.title} lead={words.lead} actions={add}>
      <Loaded query={query}>
        {(keys) =>
          keys.length === 0 ? (
            <Empty title={words.none} action={add}>
              {words.noneText}
            </Empty>
          ) : (
            <div className="overflow-hidden rounded-box border border-line">
              <Table label={words.title} rows={keys} id={(row) => row.id} columns={columns} />
            </div>
          )
        }
      </Loaded>
      <FormDialog
        open={open === 'new'}
        onClose={close}
        title={words.add}
        submit={words.create}
        onSubmit={async (form) => {
          const days = Number(text(form, 'days'));
          const body = { name: text(form, 'name'), scopes: scopesOf(form), expiresInDays: days || undefined };
          setMade(await act({ run: () => ok(hub.POST('/api/api-keys', { body })), changes: ['api-keys'] }));
        }}
      >
        <Field label={words.name}>
          <Input name="name" required maxLength={100} autoComplete="off" />
        </Field>
        <Field label={words.scopes} hint={words.scopesHint}>
          <Input name="scopes" mono required defaultValue="k8s:*:get,list,watch" autoComplete="off" />
        </Field>
        <Field label={words.days}>
          <Select name="days" defaultValue="90">
            {words.dayChoices.map(([days, name]) => (
              <option key={days} value={days}>
                {name}
              </option>
            ))}
          </Select>
        </Field>
      </FormDialog>
      <FormDialog
        open={open === 'edit'}
        onClose={close}
        title={words.editTitle}
        submit={t.common.save}
        onSubmit={(form) =>
          act({
            run: () =>
              ok(hub.PUT('/api/api-keys/{id}', { ...id, body: { name: text(form, 'name'), scopes: scopesOf(form) } })),
            done: words.saved,
            changes: ['api-keys'],
          })
        }
      >
        <Field label={words.name}>
          <Input name="name" required maxLength={100} defaultValue={key?.name} autoComplete="off" />
        </Field>
        <Field label={words.scopes} hint={words.scopesHint}>
          <Input name="scopes" mono required defaultValue={key?.scopes.join(' ')} autoComplete="off" />
        </Field>
      </FormDialog>
      <Confirm
        open={open === 'revoke'}
        onClose={close}
        title={words.revokeTitle(key?.name ?? '')}
        lead={words.revokeLead}
        submit={words.revoke}
        onConfirm={() =>
          act({ run: () => ok(hub.DELETE('/api/api-keys/{id}', id)), done: words.revoked, changes: ['api-keys'] })
        }
      />
      <Dialog open={made !== null} onClose={() => setMade(null)} title={made?.apiKey.name ?? ''} lead={words.madeHelp}>
        <CopyBox label={words.made} text={made?.key ?? ''} />
        <div className="mt-3 flex justify-end">
          <Button look="primary" onClick={() => setMade(null)}>
            {t.common.close}
          </Button>
        </div>
      </Dialog>
    </Page>
  );
}
