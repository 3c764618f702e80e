/** Sources' connectors as the monitor answers; see monitor/api/connectors.py. */
import type { Label } from './api'
import { number, t, type Word } from './words'

export type Act = 'start' | 'pause' | 'resume' | 'stop'
export type State = 'ordered' | 'running' | 'paused' | 'complete' | 'stopped' | 'failed'

export interface Snapshot {
  operation: string
  table: string
  view: string
  state: State
  wish: 'run' | 'pause' | 'stop'
  reason: string
  rows: number
  passed: number
  estimated_rows: number
  rows_per_s: number
  is_at_work: boolean
}

export interface Connector {
  system: string
  kind: string
  writer: string
  tables: { table: string; resource: string; views: string[] }[]
  takes_snapshots: boolean
  may_order: boolean
  first_snapshot: { table: string; rows: number } | null
  snapshot: Snapshot | null
  last_error: { alert: number; since_ms: number; resolved_at_ms: number | null; what: Label; action: Label } | null
  problem: string
}

export interface ConnectorPage {
  connectors: Connector[]
  total: number
  next_offset: number | null
}

export interface Ordered {
  system: string
  operation: string
  table: string
  view: string
  wish: string
}

export const ACTS = {
  start: 'snapshotStart',
  pause: 'snapshotPause',
  resume: 'snapshotResume',
  stop: 'snapshotStop',
} as const

const STATES: Record<State, Word> = {
  ordered: 'snapshotOrdered',
  running: 'snapshotRunning',
  paused: 'snapshotPaused',
  complete: 'snapshotComplete',
  stopped: 'snapshotStopped',
  failed: 'snapshotFailed',
}
const OVER: readonly State[] = ['complete', 'stopped', 'failed']
const MIB = 2 ** 20

/** Return what may be ordered now; a wish that its connector has not taken up yet counts as taken up. */
export function actsOn({ may_order, takes_snapshots, snapshot }: Connector): Act[] {
  if (!may_order || !takes_snapshots) return []
  if (snapshot === null || OVER.includes(snapshot.state) || snapshot.wish === 'stop') return ['start']
  return snapshot.wish === 'pause' ? ['resume', 'stop'] : ['pause', 'stop']
}

export function stateText({ state, wish }: Snapshot): string {
  if (OVER.includes(state)) return t(STATES[state])
  if (wish === 'stop') return t('snapshotIsToStop')
  if (wish === 'pause' && state !== 'paused') return t('snapshotIsToPause')
  return t(STATES[state])
}

/** Return how many rows were read, of about how many. */
export function rowsText({ rows, passed, estimated_rows }: Snapshot): string {
  const places = { done: number(rows + passed), sent: number(rows), of: number(estimated_rows) }
  return t(estimated_rows > 0 ? 'snapshotRowsOf' : 'snapshotRows', places)
}

export function isUnderWay({ state }: Snapshot): boolean {
  return !OVER.includes(state)
}

/** Return a span of time in its largest whole unit. */
export function spanText(seconds: number): string {
  if (seconds < 120) return t('secondsLong', { count: number(seconds) })
  if (seconds < 7200) return t('minutesLong', { count: number(seconds / 60) })
  return t('hoursLong', { count: number(seconds / 3600) })
}

export function mibText(bytes: number): string {
  return `${number(bytes / MIB, 1)} MiB`
}
