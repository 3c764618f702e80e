/** What waits for the viewer, as the monitor answers; see monitor/api/inbox.py. */
import { addressOf } from './address'
import { type Entry, libraryText, stateText } from './entries'
import { type Objection, STATES as OBJECTION_STATES } from './objections'
import { type Asked, type Due, STATES as REQUEST_STATES, termText } from './requests'
import { labelText, t } from './words'

export interface Waiting extends Due {
  kind: 'request' | 'objection' | 'entry'
  request: Asked | null
  objection: Objection | null
  entry: Entry | null
}

export interface InboxPage {
  total: number
  waiting: Waiting[]
}

/** One line of the inbox: what it is, where it is decided, and what is to be known before. */
export interface Line {
  key: string
  title: string
  href: string
  about: string
  from: string
  said: string[]
  state: string
}

export function lineOf({ request, objection, entry }: Waiting): Line {
  if (request !== null) return ofRequest(request)
  if (objection !== null) return ofObjection(objection)
  if (entry !== null) return ofEntry(entry)
  throw new Error('nothing of a known kind waits')
}

function ofRequest(one: Asked): Line {
  const changed = one.is_view_changed ? ` – ${t('viewChanged')}` : ''
  return {
    key: `request ${one.id}`,
    title: t('inboxRequest', { id: one.id }),
    href: addressOf('request', { id: one.id }),
    about: one.view,
    from: one.subscriber,
    said: [one.purpose, one.legal_basis, termText(one.until)].filter((text) => text !== ''),
    state: t(REQUEST_STATES[one.state]) + changed,
  }
}

function ofObjection(one: Objection): Line {
  return {
    key: `objection ${one.id}`,
    title: t('inboxObjection', { id: one.id }),
    href: addressOf('objection', { id: one.id }),
    about: one.view,
    from: one.subscriber,
    said: [t('inboxFields', { fields: one.fields.join(', ') })],
    state: t(OBJECTION_STATES[one.state]),
  }
}

function ofEntry(one: Entry): Line {
  return {
    key: `entry ${one.resource}`,
    title: t('inboxEntry'),
    href: addressOf('entry', { resource: one.resource }),
    about: one.resource,
    from: one.department,
    said: [labelText(one.name), libraryText(one)],
    state: stateText(one.state),
  }
}
