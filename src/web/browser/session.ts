/** How a page shows its key: it is in the address behind #, which browsers never send, and becomes a cookie. */

/** Exchanges a key in the address for a session, and takes it out of the address. */
export async function beginSession(): Promise<void> {
  const [, key] = /^#key=(.+)$/.exec(location.hash) ?? [];
  if (key === undefined) return;
  history.replaceState(null, '', location.pathname + location.search);
  const headers = { authorization: `Bearer ${decodeURIComponent(key)}`, 'content-type': 'application/json' };
  await fetch('/session', { method: 'POST', headers, body: '{}' });
}
