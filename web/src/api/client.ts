/** The one way to the hub's API: typed by its OpenAPI document, errors as {@link HubError}. */
import createClient from 'openapi-fetch';
import { t } from '@/text';
import type { Code, Problem, paths } from './hub';

export const hub = createClient<paths>({ baseUrl: '', headers: { accept: 'application/json' } });

/** An answer that is none: a problem of RFC 9457, or no answer at all (`status` 0). */
export class HubError extends Error {
  readonly status: number;
  readonly code: Code | 'away';
  readonly requestId: string;

  constructor(status: number, code: Code | 'away', detail: string, requestId = '') {
    super(detail);
    this.name = 'HubError';
    this.status = status;
    this.code = code;
    this.requestId = requestId;
  }
}

function isProblem(value: unknown): value is Problem {
  return typeof value === 'object' && value !== null && 'code' in value && 'detail' in value;
}

/** What an answer that is not a success says. */
export function errorOf(status: number, body: unknown): HubError {
  if (isProblem(body)) return new HubError(status, body.code, body.detail, body.request_id);
  return new HubError(status, 'internal', t.errors.unreadable(status));
}

interface Answer<T> {
  data?: T;
  error?: unknown;
  response: Response;
}

/** The body of a success; everything else is thrown. */
export async function ok<T>(asked: Promise<Answer<T>>): Promise<T> {
  return (await full(asked)).data as T;
}

/** A success with its headers; everything else is thrown. */
export async function full<T>(asked: Promise<Answer<T>>): Promise<Answer<T>> {
  let answer: Answer<T>;
  try {
    answer = await asked;
  } catch (error) {
    if (error instanceof DOMException && error.name === 'AbortError') throw error;
    throw new HubError(0, 'away', t.errors.away);
  }
  if (!answer.response.ok) throw errorOf(answer.response.status, answer.error);
  return answer;
}
