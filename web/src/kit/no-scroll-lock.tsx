/**
 * Stands in for `react-remove-scroll` (see vite.config.ts), which Radix uses below dialogs and menus. The original
 * writes <style> elements, which the content security policy refuses. What it prevents cannot happen here: the page's
 * body never scrolls, and what lies below a dialog is inert.
 */
import type { ElementType, ReactNode } from 'react';

interface Props {
  as?: ElementType;
  allowPinchZoom?: boolean;
  shards?: unknown;
  enabled?: boolean;
  children?: ReactNode;
}

export function RemoveScroll({ as: Tag = 'div', allowPinchZoom: _, shards: __, enabled: ___, ...rest }: Props) {
  return <Tag {...rest} />;
}
