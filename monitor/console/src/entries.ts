/** Entries of the catalogue as the monitor answers; see monitor/api/entry_models.py. */
import type { Label } from './api'
import type { Due } from './requests'
import { t, type Word } from './words'

export type State = 'draft' | 'submitted' | 'returned' | 'published' | 'retired'
export type Act = 'new' | 'edit' | 'submit' | 'withdraw' | 'publish' | 'return' | 'retire'
export type Kind = '' | 'base' | 'theme'

export interface Content {
  library_kind: Kind
  library: string
  description_zh: string
  description_en: string
  contact: string
}

export interface Entry extends Due {
  resource: string
  code: string
  name: Label
  department: string
  system: string
  table: string
  library_kind: Kind
  library: string
  state: State | null
  version: number
  acts: Act[]
}

export interface Claim {
  library: string
  element: string
  fields: Record<string, string[]>
  source: string
  may_settle: boolean
}

export interface EntryDetail extends Entry {
  share: 'unconditional' | 'conditional' | 'none'
  update_cycle: string
  contract: string
  contract_version: number
  grade: number
  reason: string
  in_force: Content | null
  draft: Content | null
  publications: { at: string; by: string; contract_version: number; registry_version: number | null }[]
  fields: {
    path: string
    label: Label
    type: string
    nullable: boolean
    key: boolean
    classification: number
    sensitivity: string
    element: string
  }[]
  claims: Claim[]
  history: { at: string; actor: string; event: string; version: number; state: State; reason: string }[]
}

export interface EntryDone extends EntryDetail {
  notes: string[]
}

export interface EntryPage {
  total: number
  entries: Entry[]
}

export const STATES: Record<State, Word> = {
  draft: 'stateDraft',
  submitted: 'stateAtAuthority',
  returned: 'stateReturned',
  published: 'entryPublished',
  retired: 'entryRetired',
}

export const ACTS: Record<Act, Word> = {
  new: 'actDraft',
  edit: 'actEdit',
  submit: 'actSubmit',
  withdraw: 'actWithdraw',
  publish: 'actPublish',
  return: 'actReturn',
  retire: 'actRetire',
}

export const SAYS: Record<Act, Word> = {
  new: 'sayDraft',
  edit: 'sayEdit',
  submit: 'saySubmitEntry',
  withdraw: 'sayWithdrawEntry',
  publish: 'sayPublish',
  return: 'sayReturnEntry',
  retire: 'sayRetire',
}

export const EVENTS: Record<string, Word> = {
  new: 'eventNew',
  edit: 'eventEdit',
  submit: 'eventSubmit',
  withdraw: 'eventWithdraw',
  publish: 'eventPublish',
  return: 'eventReturn',
  retire: 'eventRetire',
  notice: 'eventNotice',
}

export const KINDS: Record<Exclude<Kind, ''>, Word> = { base: 'kindBase', theme: 'kindTheme' }

export const SHARES = { unconditional: 'shareAlways', conditional: 'shareOnTerms', none: 'shareNever' } as const

export function libraryText({ library_kind: kind, library }: { library_kind: Kind; library: string }): string {
  if (kind === '') return library || t('none')
  return t('libraryOf', { kind: t(KINDS[kind]), library: library || t('none') })
}

export function stateText(state: State | null): string {
  return t(state === null ? 'entryMissing' : STATES[state])
}

/** Formats of an export. */
export const FORMATS = { csv: 'formatCsv', xlsx: 'formatExcel', odcs: 'formatOdcs', dcat: 'formatDcat' } as const

export interface ImportedRow {
  where: string
  resource: string
  new: boolean
  changed: string[]
  refused: string[]
}

export interface Imported {
  written: boolean
  refused: number
  rows: ImportedRow[]
}
