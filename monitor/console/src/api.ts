/** What the monitor answers; see monitor/api/models.py. Times are milliseconds since 1970-01-01 UTC. */

export interface Part {
  ok: boolean
  text: string
}

export interface Route {
  topic: string
  view_topic: string
  resource: string
  rate_per_s: number
  delivered: number
  filtered: number
  refused: Record<string, number>
  delay_ms: { p50: number; p95: number; p99: number } | null
  last_made_at_ms: number | null
}

/** A connector's halt has no place in Kafka: its topic is empty. */
export interface Halt {
  topic: string
  partition: number
  offset: number
  reason: string
}

export interface Worker {
  stage: string
  writer: string
  state: string
  at_ms: number
  figures: Record<string, number | string>
  halted: Halt[]
  alarms: string[]
}

export interface Position {
  subscriber: string
  topic: string
  lag_records: number
}

export interface Status {
  at_ms: number
  parts: Record<string, Part>
  workers: Worker[]
  routes_window_s: number
  routes: Route[] | null
  balance: { balanced: boolean; captured: number; in_flight: number; problems: number } | null
  subscribers: Position[] | null
}

export interface Imbalance {
  stage: string
  topic: string
  minute_ms: number
  text: string
}

export interface Refusal {
  topic: string
  resource: string
  stage: string
  reason: string
  field: string
  changes: number
  last_made_at_ms: number
}

export async function ask<T>(path: string): Promise<T> {
  const answer = await fetch(path, { signal: AbortSignal.timeout(10_000) })
  if (!answer.ok) throw new Error(`HTTP ${answer.status}`)
  return (await answer.json()) as T
}

export function haltText({ topic, partition, offset, reason }: Halt): string {
  return topic === '' ? reason : `${topic} ${partition}:${offset}: ${reason}`
}
