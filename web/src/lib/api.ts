/** Requests to the server that this page came from. */
import { prefs } from "./prefs";

export class ApiError extends Error {
  constructor(
    readonly status: number,
    message: string,
    readonly retryAfter?: number,
  ) {
    super(message);
  }
}

export type ThinkingMode = "none" | "always" | "optional";

export interface Info {
  version: string;
  model: { id: string; context_length: number; thinking: ThinkingMode };
  auth: boolean;
  accounts: boolean;
  defaults: { temperature?: number | null; top_p?: number | null; max_tokens?: number | null };
}

/** What an error body says, whichever of the usual forms it has; `fallback` when it says nothing. */
export function errorMessage(body: unknown, fallback: string): string {
  if (typeof body === "object" && body !== null) {
    const { error, message } = body as { error?: unknown; message?: unknown };
    if (typeof error === "string") return error;
    if (typeof error === "object" && error !== null) return errorMessage(error, fallback);
    if (typeof message === "string") return message;
  }
  return fallback;
}

async function toError(response: Response): Promise<ApiError> {
  const text = await response.text().catch(() => "");
  let body: unknown = null;
  try {
    body = JSON.parse(text);
  } catch {
    // a proxy's page, say: the status has to do
  }
  const retry = Number(response.headers.get("Retry-After"));
  const message = errorMessage(body, `HTTP ${response.status} ${response.statusText}`.trim());
  return new ApiError(response.status, message, retry > 0 ? retry : undefined);
}

/** A response with a good status, or an ApiError. `json`: a body to POST. */
export async function request(
  path: string,
  options: { json?: unknown; signal?: AbortSignal; key?: string } = {},
): Promise<Response> {
  const headers: Record<string, string> = {};
  const key = options.key ?? prefs.key();
  if (key) headers["Authorization"] = `Bearer ${key}`;
  const init: RequestInit = { headers, signal: options.signal, credentials: "omit", cache: "no-store" };
  if (options.json !== undefined) {
    init.method = "POST";
    headers["Content-Type"] = "application/json";
    init.body = JSON.stringify(options.json);
  }
  const response = await fetch(path, init);
  if (!response.ok) throw await toError(response);
  return response;
}

export async function get<T>(path: string, options: { signal?: AbortSignal; key?: string } = {}): Promise<T> {
  return (await (await request(path, options)).json()) as T;
}

export async function post<T>(path: string, json: unknown): Promise<T> {
  return (await (await request(path, { json })).json()) as T;
}
