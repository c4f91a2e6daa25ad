/** Every English string of the console, by page. */
import { agents, clusters, setup } from './clusters';
import { common, errors, frame, keysHelp, signIn } from './frame';
import { access, audit, recordings, sessions } from './govern';
import { keys, orgs, profile, roles, users } from './settings';

export const t = {
  product: 'Flotilla',
  common,
  errors,
  frame,
  keysHelp,
  signIn,
  clusters,
  agents,
  setup,
  access,
  audit,
  recordings,
  sessions,
  users,
  roles,
  orgs,
  keys,
  profile,
} as const;
