import { Dialog as Radix } from 'radix-ui';
import type { FormEvent, ReactNode } from 'react';
import { useState } from 'react';
import { t } from '@/text';
import { Button } from './button';
import { cx } from './class';
import { Field, Input } from './field';
import { Problem } from './states';

interface DialogProps {
  open: boolean;
  onClose: () => void;
  title: string;
  lead?: ReactNode;
  wide?: boolean;
  children?: ReactNode;
}

export function Dialog({ open, onClose, title, lead, wide, children }: DialogProps) {
  return (
    <Radix.Root open={open} onOpenChange={(now) => !now && onClose()}>
      <Radix.Portal>
        <Radix.Overlay className="fixed inset-0 z-40 bg-veil" />
        <Radix.Content
          {...(lead ? {} : { 'aria-describedby': undefined })}
          className={cx(
            'fixed top-[8vh] left-1/2 z-40 max-h-[84vh] w-[calc(100vw-24px)] -translate-x-1/2 overflow-auto rounded-box border border-line bg-surface p-4 shadow-float',
            wide ? 'max-w-[720px]' : 'max-w-[460px]',
          )}
        >
          <Radix.Title className="m-0 mb-1 text-[16px] font-[650] tracking-[-0.01em]">{title}</Radix.Title>
          {lead && <Radix.Description className="m-0 mb-3 text-ink-2">{lead}</Radix.Description>}
          {children}
        </Radix.Content>
      </Radix.Portal>
    </Radix.Root>
  );
}

interface FormProps extends Omit<DialogProps, 'children'> {
  submit: string;
  danger?: boolean;
  /** Does it. What it throws is shown in the dialog; otherwise the dialog closes. */
  onSubmit: (form: FormData) => Promise<unknown>;
  children?: ReactNode;
}

/** A dialog that asks for something and does it. */
export function FormDialog({ submit, danger, onSubmit, children, ...dialog }: FormProps) {
  const [error, setError] = useState<unknown>(null);
  const [busy, setBusy] = useState(false);
  const close = () => {
    setError(null);
    dialog.onClose();
  };
  const send = async (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    if (busy) return;
    setBusy(true);
    setError(null);
    try {
      await onSubmit(new FormData(event.currentTarget));
      close();
    } catch (failure) {
      setError(failure);
    } finally {
      setBusy(false);
    }
  };
  return (
    <Dialog {...dialog} onClose={close}>
      <form className="grid gap-3" onSubmit={send}>
        {children}
        {error !== null && <Problem error={error} />}
        <div className="flex justify-end gap-2 pt-1">
          <Button look="quiet" onClick={close}>
            {t.common.cancel}
          </Button>
          <Button type="submit" look={danger ? 'danger' : 'primary'} busy={busy}>
            {submit}
          </Button>
        </div>
      </form>
    </Dialog>
  );
}

interface ConfirmProps extends Omit<FormProps, 'children' | 'onSubmit'> {
  /** What must be typed first, for what cannot be undone. */
  typed?: string;
  onConfirm: () => Promise<unknown>;
}

export function Confirm({ typed, onConfirm, ...dialog }: ConfirmProps) {
  const [given, setGiven] = useState('');
  const check = async () => {
    if (typed && given !== typed) throw new Error(t.common.typeIt(typed));
    await onConfirm();
    setGiven('');
  };
  return (
    <FormDialog danger {...dialog} onSubmit={check}>
      {typed && (
        <Field label={t.common.typeIt(typed)}>
          <Input mono autoComplete="off" value={given} onChange={(event) => setGiven(event.target.value)} />
        </Field>
      )}
    </FormDialog>
  );
}
