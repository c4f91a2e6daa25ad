/** A dense table: sorted by its heads, at most as many rows in the document as fit on the screen, walked with j and k. */
import { useVirtualizer } from '@tanstack/react-virtual';
import type { ReactNode } from 'react';
import { useLayoutEffect, useMemo, useRef, useState } from 'react';
import { t } from '@/text';
import { cx } from './class';

export interface Column<Row> {
  id: string;
  head: string;
  cell: (row: Row) => ReactNode;
  /** What it sorts by; a column without it cannot be sorted. */
  by?: (row: Row) => string | number;
  num?: boolean;
  /** Left out on narrow screens. */
  wide?: boolean;
  /** Takes the room that is left. */
  grow?: boolean;
}

interface Props<Row> {
  label: string;
  rows: readonly Row[];
  id: (row: Row) => string;
  columns: readonly Column<Row>[];
  selected?: string;
  onOpen?: (row: Row) => void;
  /** `id` or `-id` of the column that it is sorted by. */
  sort?: string;
  onSort?: (sort: string | undefined) => void;
}

const ROW = 32;
/** Shorter tables are drawn whole. */
const WHOLE = 60;

function compare(a: string | number, b: string | number): number {
  return typeof a === 'number' && typeof b === 'number'
    ? a - b
    : String(a).localeCompare(String(b), 'en', { numeric: true });
}

/** Rows in the order that `sort` names; as they came without one. */
export function sorted<Row>(
  rows: readonly Row[],
  columns: readonly Column<Row>[],
  sort: string | undefined,
): readonly Row[] {
  const down = sort?.startsWith('-');
  const by = columns.find((column) => column.id === sort?.replace(/^-/, ''))?.by;
  if (!by) return rows;
  return rows.toSorted((a, b) => (down ? compare(by(b), by(a)) : compare(by(a), by(b))));
}

export function Table<Row>({ label, rows, id, columns, selected, onOpen, sort: given, onSort }: Props<Row>) {
  const [own, setOwn] = useState<string | undefined>();
  const sort = onSort ? given : own;
  const list = useMemo(() => sorted(rows, columns, sort), [rows, columns, sort]);
  const body = useRef<HTMLTableSectionElement>(null);
  const [margin, setMargin] = useState(0);
  // biome-ignore lint/correctness/useExhaustiveDependencies: what stands above moves when the rows change
  useLayoutEffect(() => {
    const main = document.getElementById('main');
    if (body.current && main) {
      setMargin(body.current.getBoundingClientRect().top - main.getBoundingClientRect().top + main.scrollTop);
    }
  }, [rows.length]);
  const virtual = useVirtualizer({
    count: list.length,
    getScrollElement: () => document.getElementById('main'),
    estimateSize: () => ROW,
    overscan: 10,
    scrollMargin: margin,
    enabled: list.length > WHOLE,
  });
  const items = list.length > WHOLE ? virtual.getVirtualItems() : null;
  const shown = items ? items.map((item) => item.index) : list.map((_, index) => index);
  const above = items?.[0] ? items[0].start - margin : 0;
  const last = items?.at(-1);
  const below = last ? virtual.getTotalSize() - (last.end - margin) : 0;
  const turn = (column: Column<Row>) => {
    const next = sort === column.id ? `-${column.id}` : sort === `-${column.id}` ? undefined : column.id;
    (onSort ?? setOwn)(next);
  };
  const cell = (column: Column<Row>) =>
    cx(
      'px-2.5 text-left',
      column.num && 'text-right font-mono text-[12px]',
      column.wide && 'max-wide:hidden',
      column.grow && 'w-full max-w-0',
    );
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: a region that scrolls must be reachable with the keyboard
    <section className="overflow-x-auto" aria-label={label} tabIndex={0}>
      <table className="w-full border-collapse bg-surface" aria-rowcount={list.length + 1}>
        <caption className="sr-only">{label}</caption>
        <thead>
          <tr className="h-8 border-b border-line">
            {columns.map((column) => {
              const direction = sort === column.id ? 'ascending' : sort === `-${column.id}` ? 'descending' : undefined;
              return (
                <th
                  key={column.id}
                  scope="col"
                  aria-sort={direction}
                  className={cx(cell(column), 'text-[12px]! font-semibold whitespace-nowrap text-ink-2')}
                >
                  {column.by ? (
                    <button
                      type="button"
                      className="-mx-1 rounded px-1 font-sans font-semibold hover:text-ink"
                      onClick={() => turn(column)}
                    >
                      {column.head}
                      <span aria-hidden="true">
                        {direction === 'ascending' ? ' ↑' : direction === 'descending' ? ' ↓' : ''}
                      </span>
                    </button>
                  ) : (
                    column.head || <span className="sr-only">{t.common.actions}</span>
                  )}
                </th>
              );
            })}
          </tr>
        </thead>
        <tbody ref={body}>
          {above > 0 && <tr style={{ height: above }} />}
          {shown.map((index) => {
            const row = list[index];
            if (row === undefined) return null;
            const key = id(row);
            return (
              // With a mouse the whole row opens; with keys, the link or button in its first cell.
              <tr
                key={key}
                aria-rowindex={index + 2}
                data-row={key}
                aria-selected={selected === undefined ? undefined : selected === key}
                onClick={
                  onOpen && ((event) => !(event.target as Element).closest('a,button,input,select') && onOpen(row))
                }
                className={cx(
                  'h-8 border-b border-line-soft last:border-0',
                  selected === key && 'bg-accent-soft',
                  onOpen && selected !== key && 'cursor-pointer hover:bg-bg',
                )}
              >
                {columns.map((column) => (
                  <td key={column.id} className={cx(cell(column), 'h-8 truncate', !column.grow && 'max-w-[300px]')}>
                    {column.cell(row)}
                  </td>
                ))}
              </tr>
            );
          })}
          {below > 0 && <tr style={{ height: below }} />}
        </tbody>
      </table>
    </section>
  );
}

/** The button of a row's first cell: opens the row, and is where j and k go. */
export function RowOpen({ children, onClick, mono }: { children: ReactNode; onClick: () => void; mono?: boolean }) {
  return (
    <button
      type="button"
      data-row-link
      onClick={onClick}
      className={cx(
        'max-w-full truncate rounded text-left font-medium hover:underline',
        mono && 'font-mono text-[12px]',
      )}
    >
      {children}
    </button>
  );
}
