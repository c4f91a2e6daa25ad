/** Where somebody goes after signing in: a path of ours and nothing that only looks like one. The hub checks the same. */
export function localTarget(target: string | undefined): string {
  if (!target?.startsWith('/') || target.startsWith('//') || target.includes('\\')) return '/';
  try {
    const url = new URL(target, location.origin);
    return url.origin === location.origin ? url.pathname + url.search + url.hash : '/';
  } catch {
    return '/';
  }
}
