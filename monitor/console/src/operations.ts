/** What the pages of operations, auditors and administrators ask for; see monitor/api/. */
import { computed, shallowRef, type ComputedRef } from 'vue'
import type { Label } from './api'
import { t, type Word } from './words'

export const STATES = { firing: 'isFiring', acknowledged: 'isAcknowledged', silenced: 'isSilenced', resolved: 'isOver' } as const

export interface Alert {
  id: number
  severity: 'warning' | 'critical'
  state: keyof typeof STATES
  stage: string
  where: string
  since_ms: number
  resolved_at_ms: number | null
  what: Label
  cause: Label
  action: Label
  by: string
  reason: string
  until_ms: number | null
}

export interface AlertPage {
  alerts: Alert[]
  next_before: number | null
}

export interface Decision {
  sequence: number
  at: string
  actor: string
  event: string
  request: number
  version: number
  outcome: string
  state: string
  subscriber: string
  view: string
  reason: string
  about: string
}

export interface DecisionPage {
  decisions: Decision[]
  next: number | null
}

export const INDICATORS = {
  completeness: 'completeness',
  validity: 'validity',
  uniqueness: 'uniqueness',
  timeliness: 'timeliness',
  consistency: 'consistency',
} as const

export interface BrokenRule {
  stage: string
  reason: string
  field: string
  changes: number
  /** Where the last of them lie, newest first; of the assessment none. */
  examples: Example[]
}

export interface Example {
  place: string
  partition: number | null
  offset: number | null
  at_ms: number
}

export interface ResourceQuality {
  topic: string
  resource: string
  captured: number
  refused: number
  indicators: Record<keyof typeof INDICATORS, number | null>
  score: number | null
  score_before: number | null
  worst: BrokenRule[]
}

export interface QualityPage {
  resources: ResourceQuality[]
  total: number
  next_offset: number | null
}

export interface Assessment {
  month: string
  made_at: string
  departments: {
    department: string
    label: Label
    resources: number
    supplied: number
    views_used: number
    used: number
    score: number | null
    timeliness: number | null
    overdue: number
  }[]
  rules: (BrokenRule & { resource: string })[]
}

export interface User {
  name: string
  label: Label | null
  roles: { role: string; department: string }[]
  account: 'none' | 'active' | 'disabled'
  sessions: number
  changed_at: string | null
}

export interface UserPage {
  users: User[]
  total: number
  next_offset: number | null
}

/** Pages of a list whose next page is asked for by where the last one ended. */
export function pagesBehind<End extends number | string = number>(size: number): {
  end: ComputedRef<End | null>
  offset: ComputedRef<number>
  nextOffset: (following: End | null) => number | null
  turn: (to: number, following: End | null) => void
  restart: () => void
} {
  const ends = shallowRef<End[]>([])
  const offset = computed(() => ends.value.length * size)
  return {
    end: computed(() => ends.value.at(-1) ?? null),
    offset,
    nextOffset: (following) => (following === null ? null : offset.value + size),
    turn: (to, following) => {
      if (to < offset.value) ends.value = ends.value.slice(0, -1)
      else if (following !== null) ends.value = [...ends.value, following]
    },
    restart: () => (ends.value = []),
  }
}

/** Return the month of now, as the bus counts months: of UTC. */
export function thisMonth(): string {
  return new Date().toISOString().slice(0, 7)
}

export function isMonth(text: string): boolean {
  return /^20\d\d-(0[1-9]|1[0-2])$/.test(text)
}

/** Return a share of 1 as percent, without its sign. */
export function percent(share: number | null): number | null {
  return share === null ? null : 100 * share
}

export function roleText(role: string): string {
  const words: Record<string, Word> = {
    requester: 'roleRequester',
    steward: 'roleSteward',
    authority: 'roleAuthority',
    operations: 'roleOperations',
    auditor: 'roleAuditor',
    administrator: 'roleAdministrator',
  }
  const word = words[role]
  return word === undefined ? role : t(word)
}
