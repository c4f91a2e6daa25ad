/** Light or dark: the system's, until one is chosen here (`public/theme.js` does the same before the first paint). */
import { useSyncExternalStore } from 'react';

export type Theme = 'light' | 'dark';

const KEY = 'flotilla.theme';
const listeners = new Set<() => void>();

function current(): Theme {
  return document.documentElement.dataset.theme === 'dark' ? 'dark' : 'light';
}

export function setTheme(theme: Theme) {
  document.documentElement.dataset.theme = theme;
  try {
    localStorage.setItem(KEY, theme);
  } catch {
    // It holds until the page is left.
  }
  for (const each of listeners) each();
}

export function useTheme(): Theme {
  return useSyncExternalStore((listener) => {
    listeners.add(listener);
    return () => listeners.delete(listener);
  }, current);
}
