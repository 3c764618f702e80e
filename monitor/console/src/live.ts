/** The overview as it is now: streamed by the monitor, asked for where the stream does not come through. */
import { onUnmounted, ref, watch, type Ref } from 'vue'
import { ask, HttpError, loginWanted, type Overview } from './api'

const POLL_MS = 2000
const LATE_MS = 3000
const SILENT_MS = 10_000
const STREAM_AGAIN_MS = 15_000

export const overview = ref<Overview | null>(null)
export const away = ref(false)
/** Whether the monitor answers, and not whoever asks. */
export const forbidden = ref(false)

let stream: EventSource | null = null
let heardAt = 0
let streamAt = 0

function listen(): void {
  streamAt = heardAt = Date.now()
  stream = new EventSource('/api/live')
  stream.addEventListener('overview', (event: MessageEvent<string>) => {
    heardAt = Date.now()
    take(JSON.parse(event.data) as Overview)
  })
  stream.onerror = () => {
    hangUp()
    void poll()
  }
}

function take(found: Overview): void {
  overview.value = found
  away.value = forbidden.value = false
}

function hangUp(): void {
  stream?.close()
  stream = null
}

async function poll(): Promise<void> {
  try {
    take(await ask<Overview>('/api/overview'))
    if (stream === null && Date.now() - streamAt > STREAM_AGAIN_MS) listen()
  } catch (error) {
    forbidden.value = error instanceof HttpError && error.status === 403
    away.value = !loginWanted.value && !forbidden.value
    if (forbidden.value) overview.value = null
  }
}

/** A hidden page holds no stream: browsers allow six connections to one server, over all their tabs. */
async function tend(): Promise<void> {
  if (document.hidden || loginWanted.value) return hangUp()
  if (stream !== null && Date.now() - heardAt > SILENT_MS) hangUp()
  if (stream === null || Date.now() - heardAt > LATE_MS) await poll()
}

/** Keep `overview` up to date while the component that asks is there. */
export function keepLive(): void {
  listen()
  const timer = setInterval(tend, POLL_MS)
  const seen = (): void => {
    if (document.hidden) hangUp()
    else if (stream === null && !loginWanted.value) listen()
  }
  const offline = (): void => {
    hangUp()
    void poll()
  }
  document.addEventListener('visibilitychange', seen)
  addEventListener('offline', offline)
  watch(loginWanted, (wanted) => {
    if (wanted) overview.value = null
    else seen()
  })
  onUnmounted(() => {
    clearInterval(timer)
    hangUp()
    document.removeEventListener('visibilitychange', seen)
    removeEventListener('offline', offline)
  })
}

/**
 * Ask for a path again and again; null asks for nothing. What came last stays while the monitor is away.
 *
 * `failed` is what the monitor said last instead of an answer, or empty; `look` asks at once.
 */
export function asked<T>(
  path: () => string | null,
  everyMs = POLL_MS,
): { found: Ref<T | null>; missing: Ref<boolean>; failed: Ref<string>; look: () => Promise<void> } {
  const found = ref(null) as Ref<T | null>
  const missing = ref(false)
  const failed = ref('')
  async function look(): Promise<void> {
    const wanted = path()
    if (wanted === null || document.hidden || loginWanted.value) return
    try {
      const answer = await ask<T>(wanted)
      if (wanted !== path()) return
      found.value = answer
      missing.value = false
      failed.value = ''
    } catch (error) {
      if (!(error instanceof HttpError) || wanted !== path()) return
      if (error.status === 404) missing.value = true
      else failed.value = error.detail || error.message
    }
  }
  watch(path, (_now, before) => {
    if (before !== undefined) found.value = null
    void look()
  }, { immediate: true })
  const timer = setInterval(look, everyMs)
  onUnmounted(() => clearInterval(timer))
  return { found, missing, failed, look }
}
