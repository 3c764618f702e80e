import { createHash } from 'node:crypto'
import { copyFileSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import vue from '@vitejs/plugin-vue'
import { defineConfig, type Plugin } from 'vite'

const ROOT_FILES = ['index.html', 'package-lock.json', 'package.json', 'tsconfig.json', 'vite.config.ts']

/** Records of which sources the built files are; tests/unit/monitor/test_console.py compares. */
function recordSources(): Plugin {
  return {
    name: 'record-sources',
    closeBundle() {
      const found = readdirSync('src', { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile())
      const files = [...ROOT_FILES, ...found.map((file) => `${file.parentPath}/${file.name}`)].sort()
      const digest = createHash('sha256')
      for (const file of files) digest.update(`${file}\0`).update(readFileSync(file)).update('\0')
      writeFileSync('dist/sources.sha256', `${digest.digest('hex')}\n`)
    },
  }
}

/** Vue's licence asks to go wherever its code goes. */
function addLicence(): Plugin {
  return {
    name: 'add-licence',
    closeBundle: () => copyFileSync('node_modules/vue/LICENSE', 'dist/vue-license.txt'),
  }
}

export default defineConfig({
  base: './',
  plugins: [vue(), addLicence(), recordSources()],
  build: { rollupOptions: { output: {
    entryFileNames: 'console.js', assetFileNames: 'console.[ext]', codeSplitting: false,
  } } },
})
