/** Requests and grants as the monitor answers; see monitor/api/request_models.py and monitor/api/asking.py. */
import { ref } from 'vue'
import type { Label, Showing } from './api'
import type { Mask } from './MaskChoice.vue'
import { language, number, t, type Word } from './words'

export type State =
  | 'draft' | 'submitted' | 'at_authority' | 'granted' | 'returned' | 'withdrawn' | 'renewed' | 'expired' | 'revoked'
export type Act = 'submit' | 'approve' | 'return' | 'withdraw' | 'end' | 'renew' | 'certify'
export type Route = 'direct' | 'steward' | 'authority'

export interface Due {
  due: string | null
  due_is_estimated: boolean
  notice: 'none' | 'reminder' | 'overdue' | 'escalated'
}

export interface Row {
  field: string
  prefix: string[]
  values: string[]
}

export interface Asked extends Due {
  id: number
  version: number
  state: State
  route: Route
  subscriber: string
  view: string
  proposed: { label: Label; fields: Record<string, Mask>; rows: Row[]; delay_budget_ms: number | null } | null
  purpose: string
  legal_basis: string
  until: string | null
  expected_records_per_day: number | null
  requester: string
  approved_by: string[]
  reason: string
  since: string
  renews: number
  resource: string
  department: string
  delivery: string
  is_view_changed: boolean
  is_certified: boolean
  acts: Act[]
}

export interface Done extends Asked {
  notes: string[]
}

export interface Happened {
  at: string
  actor: string
  event: string
  version: number
  state: State
  reason: string
}

export interface Detail extends Asked {
  history: Happened[]
  certificate: { problem: string; public_key: string; access_gone_at: string; signed_at: string } | null
}

export interface AskedPage {
  total: number
  requests: Asked[]
}

export interface Outcome {
  request: number
  status: number
  detail: string
  after: Done | null
}

export interface Choice {
  view: string
  label: Label
  resource: string
  resource_label: Label
  department: string
  share: 'unconditional' | 'conditional'
  taken: string[]
}

export interface Choices {
  subscribers: { name: string; label: Label; department: string; delivery: string }[]
  views: Choice[]
  total: number
  next_offset: number | null
}

export interface FieldPreview {
  showing: Showing
  label: Label
  type: string
  key: boolean
  classification: number
  sensitivity: string | null
  example: string | null
  is_shown: boolean
  text: string | null
  problem: string
}

export interface Preview {
  view: string
  resource: string
  rows: Row[]
  fields: FieldPreview[]
  problems: string[]
  route: Route | null
  needs_purpose: boolean
}

export const STATES: Record<State, Word> = {
  draft: 'stateDraft',
  submitted: 'stateSubmitted',
  at_authority: 'stateAtAuthority',
  granted: 'stateGranted',
  returned: 'stateReturned',
  withdrawn: 'stateWithdrawn',
  renewed: 'stateRenewed',
  expired: 'stateExpired',
  revoked: 'stateRevoked',
}

export const ACTS: Record<Act, Word> = {
  submit: 'actSubmit',
  approve: 'actApprove',
  return: 'actReturn',
  withdraw: 'actWithdraw',
  end: 'actEnd',
  renew: 'actRenew',
  certify: 'actCertify',
}

export const ROUTES: Record<Route, Word> = {
  direct: 'routeDirect',
  steward: 'routeSteward',
  authority: 'routeAuthority',
}

/** What the page of a request is to say first: why a new one is still a draft. */
export const carried = ref('')

export const EVENTS: Record<string, Word> = {
  new: 'eventNew',
  submit: 'eventSubmit',
  approve: 'eventApprove',
  return: 'eventReturn',
  withdraw: 'eventWithdraw',
  revoke: 'eventRevoke',
  renew: 'eventRenew',
  expire: 'eventExpire',
  certify: 'eventCertify',
}

const DELIVERIES: Record<string, Word> = {
  kafka: 'deliveryKafka',
  pull: 'deliveryPull',
  postgres: 'deliveryPostgres',
  clickhouse: 'deliveryClickhouse',
  files: 'deliveryFiles',
  webhook: 'deliveryWebhook',
}

const NOTICES = { none: 'dueOn', reminder: 'dueSoon', overdue: 'dueOver', escalated: 'dueEscalated' } as const

export function deliveryText(kind: string): string {
  const word = DELIVERIES[kind]
  return word === undefined ? kind : t(word)
}

/** Return the last day for a decision, in words that say how urgent it is. */
export function dueText({ due, due_is_estimated, notice }: Due): string {
  if (due === null) return t('none')
  return t(NOTICES[notice], { day: due }) + (due_is_estimated ? ` ${t('estimated')}` : '')
}

export function isLate({ notice }: Due): boolean {
  return notice === 'overdue' || notice === 'escalated'
}

/** Return how long a grant holds: its last day, and the days left, today among them. */
export function termText(until: string | null): string {
  if (until === null) return t('noEnd')
  const today = new Date()
  const left = (Date.parse(until) - Date.UTC(today.getFullYear(), today.getMonth(), today.getDate())) / 86_400_000 + 1
  return left > 0 ? t('daysLeft', { day: until, days: number(left) }) : t('daysOver', { day: until })
}

/** Return how many records a day are expected to be taken. */
export function volumeText(records: number | null): string {
  return records === null ? t('notSaid') : t('recordsADay', { records: number(records) })
}

export function day(at: string): string {
  return new Intl.DateTimeFormat(language.value, { dateStyle: 'short', timeStyle: 'short' }).format(Date.parse(at))
}
