/** The pages of the rail and the palette, in their order. */
import { t } from '@/text';

export type Group = 'top' | 'govern' | 'settings';

export interface PageEntry {
  to:
    | '/fleet'
    | '/govern/requests'
    | '/govern/recordings'
    | '/govern/sessions'
    | '/govern/audit'
    | '/settings/agents'
    | '/settings/users'
    | '/settings/roles'
    | '/settings/organisations'
    | '/settings/keys'
    | '/settings/profile';
  label: string;
  group: Group;
  /** Stands in the bar at the bottom of narrow screens. */
  bar?: boolean;
}

export const PAGES: readonly PageEntry[] = [
  { to: '/fleet', label: t.frame.pages.fleet, group: 'top', bar: true },
  { to: '/govern/requests', label: t.frame.pages.requests, group: 'govern', bar: true },
  { to: '/govern/recordings', label: t.frame.pages.recordings, group: 'govern', bar: true },
  { to: '/govern/sessions', label: t.frame.pages.sessions, group: 'govern' },
  { to: '/govern/audit', label: t.frame.pages.audit, group: 'govern', bar: true },
  { to: '/settings/agents', label: t.frame.pages.agents, group: 'settings' },
  { to: '/settings/users', label: t.frame.pages.users, group: 'settings' },
  { to: '/settings/roles', label: t.frame.pages.roles, group: 'settings' },
  { to: '/settings/organisations', label: t.frame.pages.orgs, group: 'settings' },
  { to: '/settings/keys', label: t.frame.pages.keys, group: 'settings' },
  { to: '/settings/profile', label: t.frame.pages.profile, group: 'settings' },
];
