import { describe, expect, it } from 'vitest';
import { type Column, sorted } from './table';

interface Row {
  name: string;
  count: number;
}
const columns: Column<Row>[] = [
  { id: 'name', head: 'Name', cell: (row) => row.name, by: (row) => row.name },
  { id: 'count', head: 'Count', cell: (row) => row.count, by: (row) => row.count },
  { id: 'other', head: 'Other', cell: () => '' },
];
const rows: Row[] = [
  { name: 'web-10', count: 2 },
  { name: 'web-9', count: 10 },
  { name: 'api', count: 1 },
];
const names = (sort: string | undefined) => sorted(rows, columns, sort).map((row) => row.name);

describe('sorting', () => {
  it('counts numbers in names, and numbers as numbers', () => {
    expect(names('name')).toEqual(['api', 'web-9', 'web-10']);
    expect(names('-count')).toEqual(['web-9', 'web-10', 'api']);
  });

  it('leaves rows as they came for columns that cannot be sorted or do not exist', () => {
    for (const sort of [undefined, 'other', '-nope']) expect(names(sort)).toEqual(['web-10', 'web-9', 'api']);
  });
});
