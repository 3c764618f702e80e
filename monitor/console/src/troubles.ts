/** What is wrong, in words. */
import { haltText, type Lane, type Overview, type Silent, type Trouble, type Worker } from './api'
import { instant, number, t } from './words'

/** brief: one text for all who are silent, for eyes that are far away. */
export function troublesOf(overview: Overview, brief = false): string[] {
  const { parts, workers, silent, lanes, totals, balance } = overview
  const slow = lanes.filter(({ troubles }) => troubles.includes('over_budget'))
  const behind = lanes.filter(({ troubles }) => troubles.includes('growing'))
  const nobody = workers.length === 0 && silent.length === 0
  return [
    ...Object.entries(parts)
      .filter(([, part]) => !part.ok)
      .map(([name, part]) => t('partWrong', { name, text: part.text })),
    ...(brief && silent.length > 1
      ? [t('silentAll', { names: silent.map(({ writer }) => writer).join(', ') })]
      : silent.map(silenceText)),
    ...workers.flatMap(pausesOf),
    ...workers.flatMap(({ writer, halted, alarms }) => [
      ...halted.map((halt) => t('workerWrong', { writer, halt: haltText(halt) })),
      ...alarms.map((text) => t('alarm', { writer, text })),
    ]),
    ...(balance?.newest ?? []).map(({ topic, minute_ms, text }) =>
      t('imbalance', { topic, time: instant(minute_ms), text }),
    ),
    ...(balance !== null && balance.problems > balance.newest.length
      ? [t('moreImbalances', { count: number(balance.problems - balance.newest.length) })]
      : []),
    ...slow.map((lane) => t('overBudget', { route: routeText(lane) })),
    ...(totals !== null && totals.over_budget > slow.length
      ? [t('moreOverBudget', { count: number(totals.over_budget - slow.length) })]
      : []),
    ...new Set(behind.map(({ topic }) => t('fallsBehind', { topic }))),
    ...(totals === null ? [t('noFigures')] : []),
    ...(nobody ? [t('noWorkers')] : []),
  ]
}

/** A connector that somebody paused stands still for a reason. */
function pausesOf({ writer, state, figures }: Worker): string[] {
  const { paused_since_ms: since, paused_by: by = '', paused_reason: reason = '' } = figures
  if (state !== 'paused' || typeof since !== 'number') return []
  return [t('isPaused', { writer, text: t('pausedSince', { time: instant(since), by, reason }) })]
}

export function silenceText({ writer, stage, last_at_ms, since_ms, command }: Silent): string {
  const time = instant(last_at_ms ?? since_ms)
  return t(last_at_ms === null ? 'neverHeard' : 'silentSince', { writer, stage, time, command })
}

export function routeText({ topic, view_topic }: Pick<Lane, 'topic' | 'view_topic'>): string {
  return `${topic} → ${view_topic}`
}

export function troubleText(trouble: Trouble): string {
  const words = {
    halted: 'isHalted', silent: 'isSilent', over_budget: 'isOverBudget', growing: 'isGrowing', refused: 'isRefused',
  } as const
  return t(words[trouble])
}
