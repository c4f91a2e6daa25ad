/** What one may do to an organisation or team, as far as pages must know to say what is missing. The hub decides again. */

import type { OrgView, TeamView } from '@/api/hub';
import { useMe } from '@/api/rights';
import { t } from '@/text';

/** Why one may not manage members, teams and clusters of an organisation. */
export function useManages(org: OrgView): string | undefined {
  const { administrator } = useMe();
  return administrator || org.role === 'org_admin' || org.role === 'org_owner' ? undefined : t.orgs.needs.manage;
}

export function useOwns(org: OrgView): string | undefined {
  const { administrator } = useMe();
  return administrator || org.role === 'org_owner' ? undefined : t.orgs.needs.own;
}

export function useLeads(team: TeamView, org: OrgView | undefined): string | undefined {
  const { administrator } = useMe();
  const may = administrator || team.role === 'team_admin' || org?.role === 'org_admin' || org?.role === 'org_owner';
  return may ? undefined : t.orgs.needs.team;
}
