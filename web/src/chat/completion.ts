/** One answer: the request that a conversation makes, and the stream that comes back. */
import { ApiError, errorMessage, request, type ThinkingMode } from "../lib/api";
import { SseParser } from "../lib/sse";
import { withAttachments, type ChatSettings, type Finish, type Turn, type Usage } from "./tree";

export function requestBody(model: string, mode: ThinkingMode, settings: ChatSettings, path: Turn[]): object {
  const messages: { role: string; content: string }[] = [];
  if (settings.system.trim() !== "") messages.push({ role: "system", content: settings.system });
  for (const turn of path)
    messages.push({ role: turn.role, content: withAttachments(turn.content, turn.attachments) });
  const sampling = Object.fromEntries(
    Object.entries(settings.sampling).filter(([, value]) => value !== null),
  );
  return {
    model,
    messages,
    stream: true,
    stream_options: { include_usage: true },
    ...sampling,
    ...(mode === "optional" ? { thinking: { type: settings.thinking ? "enabled" : "disabled" } } : {}),
  };
}

/** What the events of a stream add up to. */
export interface Progress {
  content: string;
  reasoning: string;
  finish?: Finish;
  usage?: Usage;
  /** A comment came before any text: the request waits for its turn. */
  queued: boolean;
}

const count = (value: unknown): number => (typeof value === "number" ? value : 0);

interface ChunkUsage {
  prompt_tokens?: number;
  completion_tokens?: number;
  prompt_cache_hit_tokens?: number;
  completion_tokens_details?: { reasoning_tokens?: number } | null;
}

interface Chunk {
  choices?: {
    delta?: { content?: string | null; reasoning_content?: string | null };
    finish_reason?: string | null;
  }[];
  usage?: ChunkUsage | null;
}

/** Adds one event's data. Throws ApiError if the event is an error. */
export function addChunk(progress: Progress, data: string): void {
  const chunk = JSON.parse(data) as Chunk & { error?: unknown };
  if (chunk.error !== undefined && chunk.error !== null) {
    throw new ApiError(500, errorMessage(chunk, "the server reported an error without a message"));
  }
  const choice = chunk.choices?.[0];
  progress.content += choice?.delta?.content ?? "";
  progress.reasoning += choice?.delta?.reasoning_content ?? "";
  const reason = choice?.finish_reason;
  if (reason) progress.finish = reason === "stop" || reason === "length" ? reason : "other";
  if (chunk.usage) {
    progress.usage = {
      prompt: count(chunk.usage.prompt_tokens),
      cached: count(chunk.usage.prompt_cache_hit_tokens),
      generated: count(chunk.usage.completion_tokens),
      reasoning: count(chunk.usage.completion_tokens_details?.reasoning_tokens),
    };
  }
}

/**
 * Posts `body` and calls `onProgress` after each piece that arrives. Aborting `signal` cancels on the
 * server, too.
 */
export async function complete(
  body: object,
  signal: AbortSignal,
  onProgress: (progress: Progress) => void,
): Promise<Progress> {
  const progress: Progress = { content: "", reasoning: "", queued: false };
  const response = await request("/v1/chat/completions", { json: body, signal });
  if (!response.body) throw new ApiError(response.status, "the answer has no body");
  const reader = response.body.getReader();
  const parser = new SseParser();
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) break;
      try {
        for (const { data } of parser.push(value)) {
          if (data === "[DONE]") return progress;
          addChunk(progress, data);
        }
      } finally {
        // Also before an error: what came before it stays.
        progress.queued = parser.comments > 0 && progress.content === "" && progress.reasoning === "";
        onProgress(progress);
      }
    }
  } finally {
    reader.cancel().catch(() => undefined);
  }
  if (!progress.finish) throw new ApiError(0, "the connection ended before the answer did");
  return progress;
}
