import type { InputHTMLAttributes, ReactNode, SelectHTMLAttributes, TextareaHTMLAttributes } from 'react';
import { createContext, useContext, useId } from 'react';
import { cx } from './class';

const box =
  'w-full rounded-ctl border border-edge bg-surface px-2.5 text-ink aria-invalid:border-bad disabled:bg-bg disabled:text-ink-3';

interface Labelled {
  id: string;
  describedBy?: string;
  invalid?: boolean;
}
const Context = createContext<Labelled | null>(null);

/** A labelled control with a hint and an error below it. */
export function Field({
  label,
  hint,
  error,
  children,
}: {
  label: string;
  hint?: ReactNode;
  error?: string | null;
  children: ReactNode;
}) {
  const id = useId();
  const described = [hint && `${id}-hint`, error && `${id}-error`].filter(Boolean).join(' ');
  return (
    <div className="grid content-start gap-1">
      <label htmlFor={id} className="font-medium">
        {label}
      </label>
      <Context value={{ id, describedBy: described || undefined, invalid: Boolean(error) }}>{children}</Context>
      {hint && (
        <p id={`${id}-hint`} className="text-[12px] text-ink-2">
          {hint}
        </p>
      )}
      {error && (
        <p id={`${id}-error`} className="text-[12px] text-bad">
          {error}
        </p>
      )}
    </div>
  );
}

function useLabelled() {
  const field = useContext(Context);
  return { id: field?.id, 'aria-describedby': field?.describedBy, 'aria-invalid': field?.invalid || undefined };
}

type InputProps = InputHTMLAttributes<HTMLInputElement> & { mono?: boolean };

export function Input({ className, mono, ...rest }: InputProps) {
  return (
    <input
      {...useLabelled()}
      {...rest}
      className={cx(box, 'h-8 max-wide:h-10 max-wide:text-[16px]', mono && 'font-mono text-[12px]', className)}
    />
  );
}

export function Textarea({ className, ...rest }: TextareaHTMLAttributes<HTMLTextAreaElement>) {
  return (
    <textarea
      {...useLabelled()}
      spellCheck={false}
      {...rest}
      className={cx(box, 'min-h-24 resize-y py-2 font-mono text-[12px] leading-[1.5]', className)}
    />
  );
}

export function Select({ className, ...rest }: SelectHTMLAttributes<HTMLSelectElement>) {
  return <select {...useLabelled()} {...rest} className={cx(box, 'h-8 pr-7 max-wide:h-10', className)} />;
}

export function Checkbox({ label, ...rest }: InputHTMLAttributes<HTMLInputElement> & { label: ReactNode }) {
  return (
    <label className="flex items-start gap-2 py-0.5">
      <input {...rest} type="checkbox" className="mt-[3px] size-[14px] accent-accent" />
      <span>{label}</span>
    </label>
  );
}

/** Text of a form's field, trimmed; empty when it is not there. */
export function text(form: FormData, name: string): string {
  const value = form.get(name);
  return typeof value === 'string' ? value.trim() : '';
}

/** Words of a field, separated by commas or white space. */
export function words(form: FormData, name: string): string[] {
  return text(form, name)
    .split(/[\s,]+/)
    .filter(Boolean);
}
