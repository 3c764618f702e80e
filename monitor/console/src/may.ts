/** What is offered to whom; monitor/api/gate.py decides, and refuses what is asked for all the same. */
import type { Page } from './address'
import { hasRole, me, nobodyYet } from './me'

const SEES_ALL = ['authority', 'operations', 'auditor', 'administrator']
const READERS: Partial<Record<Page, readonly string[]>> = {
  alerts: SEES_ALL,
  quality: [...SEES_ALL, 'steward'],
  report: SEES_ALL,
  audit: ['authority', 'auditor', 'administrator'],
  users: ['auditor', 'administrator'],
}
/** As long as there is no user, figures are open on the bus's own machine. */
const OPEN: readonly Page[] = ['alerts', 'quality', 'report']

function hasAny(roles: readonly string[]): boolean {
  return roles.some(hasRole)
}

export function mayOpen(page: Page): boolean {
  const readers = READERS[page]
  if (readers === undefined) return true
  return me.value === null ? nobodyYet.value && OPEN.includes(page) : hasAny(readers)
}

export function mayDeal(): boolean {
  return hasAny(['operations', 'administrator'])
}

export function mayLetIn(): boolean {
  return hasRole('administrator')
}
