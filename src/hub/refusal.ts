/** What the hub means by a refusal, and what to do about it. */
import { HubError, printable } from '../errors.ts';

/** Who was refused: `what` names the thing asked for. */
export interface Refused {
  what: string;
  endpoint: URL;
  withToken: boolean;
}

/** The error for an answer that is neither a success nor likely to pass. `said` is its text. */
export function refusal({ what, endpoint, withToken }: Refused, { status, headers }: Response, said: string): HubError {
  const message = headers.get('x-error-message') ?? said;
  const received = `status ${status}${message === '' ? '' : `: ${printable(message)}`}`;
  const error = (reason: HubError['reason'], fix: string) =>
    new HubError({ reason, argument: what, received, expected: 'what was asked for', fix, status });
  const code = headers.get('x-error-code');
  const page = `the model's page on ${endpoint.host}`;
  if (code === 'GatedRepo') {
    const accept = `Accept the model's conditions on ${page}`;
    return error('no-access', `${accept}${withToken ? ' with the account of the token.' : `, then ${LOG_IN}.`}`);
  }
  if (code === 'RevisionNotFound') return error('not-found', `Choose a branch, tag or commit that is on ${page}.`);
  if (code === 'EntryNotFound') return error('not-found', `Choose a file that is on ${page}.`);
  if (status === 404 || code === 'RepoNotFound') return error('not-found', missing(withToken));
  if (status === 401 && !withToken) return error('no-access', missing(withToken));
  if (status === 401) return error('no-access', `The token is not valid, or may not do this: ${LOG_IN}.`);
  if (status === 403) return error('no-access', 'Use a token with the permission for this repository.');
  return error('refused', 'Check what was asked for; the hub will not answer otherwise if asked again.');
}

const LOG_IN = 'set HF_TOKEN to a token of your account, or run `hf auth login`';

/** The hub does not say whether a repository is private or does not exist. */
function missing(withToken: boolean): string {
  const spelling = 'Check the spelling; a folder on this machine must exist.';
  return withToken
    ? `${spelling} If it is private, the token needs access to it.`
    : `${spelling} If it is private, ${LOG_IN}.`;
}
