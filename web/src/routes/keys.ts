/** Keys that work on every page. Whoever types into something keeps all of them. */
import { useEffect } from 'react';

function typing(target: EventTarget | null): boolean {
  return (
    target instanceof HTMLElement && (target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName))
  );
}

function walk(step: 1 | -1) {
  const links = [...document.querySelectorAll<HTMLElement>('[data-row-link]')];
  const at = links.indexOf(document.activeElement as HTMLElement);
  const next = at < 0 ? links[0] : links[at + step];
  next?.focus();
  next?.scrollIntoView({ block: 'nearest' });
}

interface Doings {
  palette: () => void;
  help: () => void;
}

export function useGlobalKeys({ palette, help }: Doings) {
  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === 'k') {
        event.preventDefault();
        palette();
        return;
      }
      if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
      if (event.key === 'Escape' && !document.querySelector('[role=dialog],[role=menu]')) {
        if (typing(event.target)) (event.target as HTMLElement).blur();
        else document.querySelector<HTMLElement>('[data-close-detail]')?.click();
        return;
      }
      if (typing(event.target) || document.querySelector('[role=dialog]')) return;
      if (event.key === '/') {
        event.preventDefault();
        const filter = document.querySelector<HTMLElement>('[data-filter]');
        if (filter) filter.focus();
        else palette();
      } else if (event.key === 'j') walk(1);
      else if (event.key === 'k') walk(-1);
      else if (event.key === '?') help();
    };
    document.addEventListener('keydown', onKey);
    return () => document.removeEventListener('keydown', onKey);
  }, [palette, help]);
}
