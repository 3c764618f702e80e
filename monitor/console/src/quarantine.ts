/** Refused records as the monitor answers; see monitor/api/quarantine.py. */
import { HttpError } from './api'
import { t, type Word } from './words'

export interface RefusedRecord {
  place: string
  at: string | null
  stage: string
  reason: string
  field: string
  op: string | null
  redriven: boolean
  raw: string
  payload_bytes: number
  payload_kept: boolean
  hindrance: string
  sent_again_at: string | null
}

export interface EntryPage {
  entries: RefusedRecord[]
  next: string | null
}

export interface Opened {
  entry: RefusedRecord
  key: string
  value: string
}

export interface Outcome {
  place: string
  done: boolean
  text: string
}

export interface Batch {
  outcomes: Outcome[]
  next: string | null
}

const FIXES: Record<string, Word> = {
  malformed: 'fixMalformed',
  unreadable: 'fixUnreadable',
  foreign: 'fixForeign',
  too_large: 'fixTooLarge',
  unrepresentable: 'fixUnrepresentable',
  unchanged_toast: 'fixUnchangedToast',
  mask: 'fixMask',
  leak: 'fixLeak',
  undeliverable: 'fixUndeliverable',
}

/** Return what is to be done about a reason: all others are rules of the contract. */
export function fixOf(reason: string): Word {
  return FIXES[reason] ?? 'fixRule'
}

const LAST_OFFSET = '999999999999999999'

/** Return the place behind which a page begins with another; '' for the first there is. */
export function before(place: string): string {
  const [partition, offset] = place.split(':').map(Number)
  if (partition === undefined || offset === undefined || !Number.isSafeInteger(partition) || !Number.isSafeInteger(offset)) return ''
  if (offset > 0) return `${partition}:${offset - 1}`
  return partition > 0 ? `${partition - 1}:${LAST_OFFSET}` : ''
}

const LARGEST_KEY_BYTES = 1000

/** Return the key in a file, read now. Throws HttpError when it cannot be one. */
export async function keyOf(file: File | null): Promise<string> {
  const text = file === null || file.size > LARGEST_KEY_BYTES ? null : await file.text().catch(() => null)
  if (text === null) throw new HttpError(0, t('keyUnreadable'))
  return text.trim()
}
