/** Doing something at the hub: says that it was done, and has what it changed asked for anew. */
import { useQueryClient } from '@tanstack/react-query';
import { useCallback } from 'react';
import { sentence } from '@/kit/states';
import { toast } from '@/kit/toast';

interface Act<T> {
  run: () => Promise<T>;
  /** Said when it is done. */
  done?: string | ((result: T) => string);
  /** First words of the names under which changed answers are kept. */
  changes?: readonly string[];
}

/** For dialogs, which show what goes wrong themselves. */
export function useAct() {
  const client = useQueryClient();
  return useCallback(
    async <T>({ run, done, changes = [] }: Act<T>): Promise<T> => {
      const result = await run();
      await Promise.all(changes.map((name) => client.invalidateQueries({ queryKey: [name] })));
      const said = typeof done === 'function' ? done(result) : done;
      if (said) toast('ok', said);
      return result;
    },
    [client],
  );
}

/** For buttons: what goes wrong is said, not thrown. */
export function useDo() {
  const act = useAct();
  return useCallback(
    async <T>(what: Act<T>): Promise<T | undefined> => {
      try {
        return await act(what);
      } catch (error) {
        toast('bad', sentence(error instanceof Error ? error.message : String(error)));
        return undefined;
      }
    },
    [act],
  );
}
