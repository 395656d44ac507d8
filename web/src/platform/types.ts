/** What the platform's endpoints answer. Money is a decimal string. */

export type Limits = Record<string, number | string | null>;

export interface Me {
  id: string;
  name: string;
  role: "admin" | "user";
  limits: Limits;
}

export interface Balance {
  is_available: boolean;
  balance_infos: { currency: string; total_balance: string }[];
}

export interface UsageRow {
  day: string;
  model: string;
  key: string;
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

export interface KeyInfo {
  id: string;
  name: string;
  role: "admin" | "user";
  created: string | number;
  revoked: boolean | string | number | null;
  limits: Limits;
  balance: string | null;
}

export interface Prices {
  currency: string;
  models: { model: string; cache_hit: string; cache_miss: string; output: string }[];
}
