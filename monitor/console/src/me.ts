/** Who looks: known by name and roles once there are users, nobody before. */
import { ref } from 'vue'
import { loginWanted } from './api'

export interface Me {
  name: string
  roles: { role: string; department: string }[]
}

export const me = ref<Me | null>(null)
/** Whether the monitor has no user yet: figures are open then, requests are not. */
export const nobodyYet = ref(false)

/** Where the monitor knows nobody by name there is no such path, and no login. */
export async function meet(): Promise<void> {
  const answer = await fetch('/api/me').catch(() => null)
  if (answer === null) return
  nobodyYet.value = answer.status === 404
  if (answer.status === 401) loginWanted.value = true
  if (!answer.ok) return
  me.value = (await answer.json()) as Me
  loginWanted.value = false
}

export function hasRole(role: string): boolean {
  return me.value?.roles.some((held) => held.role === role) ?? false
}
