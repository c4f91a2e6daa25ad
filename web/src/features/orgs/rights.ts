/** What one may do to an organisation or team, as far as pages must know to say what is missing. The hub decides again. */

import type { OrgView, TeamView } from '@/api/hub';
import { useMe } from '@/api/rights';

const NEEDS = {
  manage: 'Needs the role admin or owner in this organisation.',
  own: 'Needs the role owner in this organisation.',
  team: 'Needs the role team admin in this team, or admin in its organisation.',
} as const;

/** Why one may not manage members, teams and clusters of an organisation. */
export function useManages(org: OrgView): string | undefined {
  const { administrator } = useMe();
  return administrator || org.role === 'org_admin' || org.role === 'org_owner' ? undefined : NEEDS.manage;
}

export function useOwns(org: OrgView): string | undefined {
  const { administrator } = useMe();
  return administrator || org.role === 'org_owner' ? undefined : NEEDS.own;
}

export function useLeads(team: TeamView, org: OrgView | undefined): string | undefined {
  const { administrator } = useMe();
  const may = administrator || team.role === 'team_admin' || org?.role === 'org_admin' || org?.role === 'org_owner';
  return may ? undefined : NEEDS.team;
}
