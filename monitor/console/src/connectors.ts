/** Sources' connectors as the monitor answers; see monitor/api/connectors.py. */
import type { Label } from './api'
import { instant, number, t, type Word } from './words'

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

export type Meanwhile = 'wal' | 'wal_until_limit' | 'log' | 'topics' | 'refuses' | 'folders'

export interface Pause {
  operation: string
  wish: 'pause' | 'run'
  by: string
  since_ms: number
  reason: string
  is_obeyed: boolean
}

export interface ReadAnew {
  operation: string
  table: string
  by: string
  at_ms: number
  state: 'ordered' | 'refused' | 'reading' | 'complete'
}

export interface Anew {
  tables: { table: string; views: string[]; estimated_rows: number | null }[]
  subscribers: string[]
  ordered: ReadAnew | null
}

export interface Connector {
  system: string
  kind: string
  writer: string
  tables: { table: string; resource: string; views: string[] }[]
  takes_snapshots: boolean
  may_order: boolean
  pause: Pause | null
  reads_anew: 'no' | 'all' | 'each'
  anew: ReadAnew | null
  meanwhile: Meanwhile
  protect_wal_bytes: number
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

/** What becomes of changes in a pause. */
export const MEANWHILE: Record<Meanwhile, Word> = {
  wal: 'meanwhileWal',
  wal_until_limit: 'meanwhileWalUntilLimit',
  log: 'meanwhileLog',
  topics: 'meanwhileTopics',
  refuses: 'meanwhileRefuses',
  folders: 'meanwhileFolders',
}

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

/** Return since when, by whom and why a connector is paused, and whether it does what is wanted. */
export function pauseText({ by, since_ms, reason, wish, is_obeyed }: Pause): string {
  if (wish === 'run') return t('isToResume')
  const told = t('pausedSince', { time: instant(since_ms), by, reason })
  return is_obeyed ? told : `${told} ${t('isToPause')}`
}

const ANEW_STATES = {
  ordered: 'anewOrdered', refused: 'anewRefused', reading: 'anewReading', complete: 'anewComplete',
} as const

/** Return what has become of the last order to read anew. */
export function anewText({ table, by, at_ms, state }: ReadAnew): string {
  return t(ANEW_STATES[state], { tables: table || t('allTables'), by, time: instant(at_ms) })
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
