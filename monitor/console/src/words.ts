import { ref, watchEffect } from 'vue'
import words from './words.json'

export type Language = keyof typeof words
export type Word = keyof (typeof words)['en']

const chosen = localStorage.getItem('language') ?? (navigator.language.startsWith('zh') ? 'zh' : 'en')
export const language = ref<Language>(chosen === 'zh' ? 'zh' : 'en')

watchEffect(() => {
  localStorage.setItem('language', language.value)
  document.documentElement.lang = language.value
})

/** Return a text in the viewer's language, with its places filled. */
export function t(word: Word, places: Record<string, string | number> = {}): string {
  return words[language.value][word].replace(/\{(\w+)\}/g, (_, name: string) => String(places[name] ?? '–'))
}

export function number(value: number | null | undefined, digits = 0): string {
  if (value === null || value === undefined) return t('none')
  return new Intl.NumberFormat(language.value, { maximumFractionDigits: digits }).format(value)
}

/** Return a name in the viewer's language; nothing where there is none. */
export function labelText(label: { zh: string; en: string } | null): string {
  return label === null ? '' : label[language.value]
}

/** Return the hour and minute of an instant, with its day. */
export function clock(ms: number): string {
  const parts = { month: 'numeric', day: 'numeric', hour: '2-digit', minute: '2-digit' } as const
  return new Intl.DateTimeFormat(language.value, parts).format(ms)
}

/** Return an instant in the viewer's time zone. */
export function instant(ms: number | null | undefined): string {
  if (ms === null || ms === undefined) return t('none')
  return new Intl.DateTimeFormat(language.value, { dateStyle: 'short', timeStyle: 'medium' }).format(ms)
}
