/** What the caller may do, as far as pages must know to say why an action is not to be had. The hub decides again. */
import { useSuspenseQuery } from '@tanstack/react-query';
import { t } from '@/text';
import { whoami } from './queries';

export function useMe() {
  return useSuspenseQuery(whoami).data;
}

/** Why an administrator's action is not to be had; `undefined` for administrators. */
export function useAdminOnly(): string | undefined {
  return useMe().administrator ? undefined : t.common.needsAdministrator;
}
