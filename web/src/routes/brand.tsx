import { t } from '@/text';

export function Brand() {
  return (
    <>
      <svg width="22" height="18" viewBox="0 0 22 18" aria-hidden="true">
        <path d="M1 13h20l-3.2 4H4.2z" fill="var(--ink)" />
        <path d="M10 1v10H3.5z" fill="var(--accent)" />
        <path d="M12 4v7h6z" fill="var(--ink-3)" />
      </svg>
      {t.product}
    </>
  );
}
