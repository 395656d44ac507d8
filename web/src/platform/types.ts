/** What the platform's endpoints answer. Money is a decimal string. */

export interface Account {
  /** Empty: one of the server's own keys (--api-key), which has no account. */
  id: string;
  name: string;
  role: "admin" | "user";
}

export interface Limits {
  requests_per_minute: number | null;
  tokens_per_minute: number | null;
  concurrent_requests: number | null;
  monthly_tokens: number | null;
}

export interface Balance {
  is_available: boolean;
  balance_infos: { currency: string; total_balance: string }[];
}

export interface UsageRow {
  day: string;
  model: string;
  key: string;
  name: string;
  requests: number;
  prompt_cache_hit_tokens: number;
  prompt_cache_miss_tokens: number;
  completion_tokens: number;
  cost: string;
}

export interface UsageReply {
  days: UsageRow[];
  currency: string;
}

/** Times are seconds since 1970. */
export interface KeyInfo extends Account, Limits {
  models: string[];
  balance: string | null;
  created: number;
  expires: number | null;
  revoked: number | null;
}

export interface Prices {
  currency: string;
  models: { model: string; cache_hit: string; cache_miss: string; output: string }[];
}
