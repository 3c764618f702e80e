/** What the monitor answers; see monitor/api/models.py. Times are milliseconds since 1970-01-01 UTC. */
import { ref } from 'vue'
import { t } from './words'

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
  stages: { stage: string; p50: number; p95: number; p99: number; added_p99: number }[]
  budget: { budget_ms: number; kept: boolean; p99_ms: number; slowest_stage: string } | null
  lag_records: number | null
  lag_s: number | null
  trend: Trend | null
  readers_lag_records: number | null
}

export interface RoutePage {
  routes: Route[]
  total: number
  next_offset: number | null
}

export interface SubscriberPosition {
  subscriber: string
  group: string
  partition: number
  lag_records: number
  lag_s: number | null
  trend: Trend | null
}

export interface RouteDetail {
  at_ms: number
  step_s: number
  since_ms: number
  route: Route
  flow: { start_ms: number; delivered: number; filtered: number; records: number }[]
  stages: { start_ms: number; stage: string; changes: number; refused: number; p99_ms: number | null }[]
  readers: SubscriberPosition[]
}

export interface ResourceSummary {
  name: string
  label: Label | null
  department: string
  system: string
  table: string
  views: number
}

export interface ResourcePage {
  plan_version: number | null
  resources: ResourceSummary[]
  total: number
  next_offset: number | null
}

export interface Showing {
  path: string
  how: 'clear' | 'masked' | 'parts' | 'hidden'
  mask: string | null
  settings: Record<string, string | number>
  reason: string
  type: string | null
}

export interface View {
  name: string
  topic: string
  label: Label
  delay_budget_ms: number | null
  rows: { field: string; prefix: string[]; values: string[] }[]
  fields: Showing[]
  readers: string[] | null
}

export interface Field {
  path: string
  source: string
  label: Label
  type: string
  nullable: boolean
  key: boolean
  classification: number
  sensitivity: string | null
  rules: string[]
}

export interface ResourceDetail extends ResourceSummary {
  contract_version: number
  raw_topic: string
  quarantine_topic: string
  partitions: number
  fields: Field[]
  shown_by: View[]
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

export interface Imbalance {
  stage: string
  topic: string
  minute_ms: number
  text: string
}

export interface Label {
  zh: string
  en: string
}

/** Who ought to be at work by the plan, or was, and gives no sign of life. */
export interface Silent {
  stage: string
  writer: string
  last_at_ms: number | null
  since_ms: number
  command: string
}

export type Trend = 'growing' | 'shrinking' | 'steady'
export type Trouble = 'halted' | 'silent' | 'over_budget' | 'growing' | 'refused'

export interface LaneReader {
  name: string
  lag_records: number | null
  lag_s: number | null
  trend: Trend | null
}

export interface Lane {
  system: string
  resource: string
  resource_label: Label | null
  view: string
  view_label: Label | null
  topic: string
  view_topic: string
  rate_per_s: number
  p95_ms: number | null
  troubles: Trouble[]
  readers: LaneReader[]
}

export interface Overview {
  at_ms: number
  parts: Record<string, Part>
  workers: Worker[]
  silent: Silent[]
  plan_version: number | null
  routes_window_s: number
  totals: {
    routes: number
    rate_per_s: number
    slowest_p95_ms: number | null
    refused: number
    over_budget: number
    growing: number
  } | null
  routes: Route[] | null
  lanes: Lane[]
  lanes_left_out: number
  balance: { balanced: boolean; in_flight: number; problems: number; newest: Imbalance[] } | null
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

export interface RefusalPage {
  refusals: Refusal[]
  next_offset: number | null
}

/** An answer that is not 2xx; `detail` is what its problem document says, or empty. */
export class HttpError extends Error {
  constructor(
    readonly status: number,
    readonly detail: string,
  ) {
    super(`HTTP ${status}`)
  }
}

async function refusal(answer: Response): Promise<HttpError> {
  const problem = (await answer.json().catch(() => null)) as { detail?: unknown } | null
  return new HttpError(answer.status, typeof problem?.detail === 'string' ? problem.detail : '')
}

/** Whether the monitor wants a name and a password before it answers. */
export const loginWanted = ref(false)

/** Throws HttpError, or what fetch throws while the monitor is away. */
export async function ask<T>(path: string): Promise<T> {
  const answer = await fetch(path, { signal: AbortSignal.timeout(10_000) })
  if (answer.status === 401) loginWanted.value = true
  if (!answer.ok) throw await refusal(answer)
  return (await answer.json()) as T
}

/** Throws as `ask` does; 401 is an answer here, not a reason to log in. */
export async function send(path: string, body: unknown): Promise<void> {
  const answer = await fetch(path, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify(body),
    signal: AbortSignal.timeout(10_000),
  })
  if (!answer.ok) throw await refusal(answer)
}

/** As `send`, with what was answered. What is decided is brought into force first, which takes a while. */
export function post<T>(path: string, body: unknown, headers: Record<string, string> = {}): Promise<T> {
  return answered<T>(path, JSON.stringify(body), { 'Content-Type': 'application/json', ...headers })
}

/** As `post`, with a file's content as it is. */
export function postFile<T>(path: string, content: ArrayBuffer): Promise<T> {
  return answered<T>(path, content, { 'Content-Type': 'application/octet-stream' })
}

async function answered<T>(path: string, body: BodyInit, headers: Record<string, string>): Promise<T> {
  const answer = await fetch(path, { method: 'POST', headers, body, signal: AbortSignal.timeout(120_000) })
  if (answer.status === 401) loginWanted.value = true
  if (!answer.ok) throw await refusal(answer)
  return (await answer.json()) as T
}

export function haltText({ topic, partition, offset, reason }: Halt): string {
  return topic === '' ? reason : `${topic} ${partition}:${offset}: ${reason}`
}

/** Return why something was not done, as the monitor says it. */
export function problemText(error: unknown): string {
  if (error instanceof HttpError) return error.detail === '' ? t('failed', { status: error.status }) : error.detail
  return t('loginAway')
}
