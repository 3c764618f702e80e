/** The page that the address names, and what it is about: `#/route?topic=…&view_topic=…`. */
import { computed, ref } from 'vue'

export const PAGES = [
  'overview',
  'wall',
  'resources',
  'catalogue',
  'quarantine',
  'connectors',
  'requests',
  'inbox',
  'grants',
  'objections',
  'alerts',
  'quality',
  'report',
  'audit',
  'users',
] as const
const DETAILS = { route: 'overview', resource: 'resources', request: 'requests', ask: 'requests', objection: 'objections', entry: 'catalogue' } as const
type Detail = keyof typeof DETAILS
export type Page = (typeof PAGES)[number] | Detail

const hash = ref(location.hash)
addEventListener('hashchange', () => (hash.value = location.hash))

const parts = computed(() => hash.value.replace(/^#\//, '').split('?'))
export const page = computed<Page>(() => {
  const name = parts.value[0] ?? ''
  return name in DETAILS ? (name as Detail) : (PAGES.find((known) => known === name) ?? 'overview')
})
/** The page of the menu that the present one belongs to. */
export const section = computed(() => (page.value in DETAILS ? DETAILS[page.value as Detail] : page.value))
export const about = computed(() => new URLSearchParams(parts.value[1] ?? ''))

export function addressOf(name: Page, places: Record<string, string | number>): string {
  return `#/${name}?${new URLSearchParams(Object.entries(places).map(([place, value]) => [place, String(value)]))}`
}
