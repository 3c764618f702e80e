/** Objections as the monitor answers; see monitor/api/objection_models.py. */
import type { Label } from './api'
import type { Due } from './requests'
import type { Word } from './words'

export type State = 'filed' | 'answered' | 'corrected' | 'rejected' | 'withdrawn'
export type Act = 'answer' | 'reject' | 'correct' | 'withdraw'

export interface Objection extends Due {
  id: number
  version: number
  state: State
  subscriber: string
  view: string
  fields: string[]
  partition: number
  offset: number
  position: string
  filer: string
  since: string
  department: string
  correction: { offset: number; position: string } | null
  acts: Act[]
}

export interface Detail extends Objection {
  raw_offset: number
  texts: { claim: string; answer: string } | null
  history: { at: string; actor: string; event: string; version: number; state: State }[]
}

export interface ObjectionPage {
  total: number
  objections: Objection[]
}

export interface Choice {
  subscriber: string
  view: string
  label: Label
  fields: string[]
}

export interface Choices {
  choices: Choice[]
  total: number
}

export const STATES: Record<State, Word> = {
  filed: 'objectionFiled',
  answered: 'objectionAnswered',
  corrected: 'objectionCorrected',
  rejected: 'objectionRejected',
  withdrawn: 'stateWithdrawn',
}

export const ACTS: Record<Act, Word> = {
  answer: 'actAnswer',
  reject: 'actReject',
  correct: 'actCorrect',
  withdraw: 'actWithdraw',
}

export const SAYS: Record<Act, Word> = {
  answer: 'sayAnswer',
  reject: 'sayReject',
  correct: 'sayCorrect',
  withdraw: 'sayWithdrawObjection',
}

export const EVENTS: Record<string, Word> = {
  new: 'eventFile',
  answer: 'eventAnswer',
  reject: 'eventReject',
  correct: 'eventCorrect',
  withdraw: 'eventWithdraw',
}
