/** A cluster's signal flag: two colours and a shape that follow from its name, the same everywhere and for everyone. */
import { cx } from './class';

const COLOURS = { r: '#d6362f', y: '#f4b92a', b: '#1558a6', w: '#ffffff', k: '#1b2430', g: '#2f8f5b' } as const;
type Letter = keyof typeof COLOURS;
const PAIRS: readonly (readonly [Letter, Letter])[] = [
  ['r', 'w'],
  ['b', 'y'],
  ['b', 'w'],
  ['y', 'k'],
  ['r', 'g'],
  ['w', 'r'],
  ['k', 'w'],
  ['g', 'y'],
  ['y', 'b'],
  ['w', 'b'],
  ['r', 'b'],
  ['y', 'r'],
];
const SHAPES = [
  'M0 0h10v14H0z',
  'M0 0h20v7H0z',
  'M0 0h20L0 14z',
  'M6 4h8v6H6z',
  'M0 4.7h20v4.6H0z',
  'M0 0h3.4L20 11.6V14h-3.4L0 2.4zM20 0h-3.4L0 11.6V14h3.4L20 2.4z',
  'M0 0h10v7H0zM10 7h10v7H10z',
  'M10 1l8 6-8 6-8-6z',
] as const;

/** FNV-1a with a finaliser, so that names that differ in one letter differ in everything. */
export function hashOf(name: string): number {
  let hash = 2166136261;
  for (const char of name) hash = Math.imul(hash ^ (char.codePointAt(0) ?? 0), 16777619);
  hash = Math.imul(hash ^ (hash >>> 13), 0x5bd1e995);
  return (hash ^ (hash >>> 15)) >>> 0;
}

/** Field colour, figure colour and figure of a name's flag. */
export function flagOf(name: string): { field: string; figure: string; path: string } {
  const hash = hashOf(name);
  const [field, figure] = PAIRS[hash % PAIRS.length] ?? ['b', 'w'];
  return { field: COLOURS[field], figure: COLOURS[figure], path: SHAPES[(hash >>> 8) % SHAPES.length] ?? SHAPES[0] };
}

export function Flag({ name, large }: { name: string; large?: boolean }) {
  const { field, figure, path } = flagOf(name);
  return (
    <svg
      className={cx('flex-none rounded-[1.5px] shadow-[0_0_0_1px_#0003]', large ? 'h-[22px] w-8' : 'h-[14px] w-5')}
      viewBox="0 0 20 14"
      preserveAspectRatio="none"
      aria-hidden="true"
    >
      <path d="M0 0h20v14H0z" fill={field} />
      <path d={path} fill={figure} />
    </svg>
  );
}

/** A cluster's name behind its flag. The flag never stands alone, and a pattern is no cluster. */
export function ClusterName({ name, large }: { name: string; large?: boolean }) {
  if (name.includes('*')) return <code>{name}</code>;
  return (
    <span className="inline-flex min-w-0 items-center gap-2">
      <Flag name={name} large={large} />
      <span className="truncate">{name}</span>
    </span>
  );
}
