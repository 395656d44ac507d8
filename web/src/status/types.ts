import type { LayerCounts } from "./heatmap";

export interface Status {
  uptime_s: number;
  running: number;
  waiting: number;
  max_num_seqs: number;
  max_queued: number;
  kv_pages: { total: number; used: number; cached: number; page_size: number };
  prefix_cache: { query_tokens: number; hit_tokens: number };
  speculation: { drafted: number; accepted: number } | null;
  tokens: { prompt: number; generated: number };
  tok_s: { prompt: number; generated: number };
  experts: LayerCounts[];
}
