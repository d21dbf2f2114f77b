// The processes of a run: the suite's origin and the caches before it. Each listens on a free port of loopback, works in
// a temporary directory of its own, stays in the foreground, and is gone when the run ends, however it ends.

import { spawn, spawnSync } from 'node:child_process'
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import http from 'node:http'
import { createRequire } from 'node:module'
import net from 'node:net'
import { tmpdir, userInfo } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

/** How long a process may take to answer after its start, and to go after it was told to, in milliseconds. */
const READY_WITHIN = 20_000
const GONE_WITHIN = 3_000

const here = path.dirname(fileURLToPath(import.meta.url))
const root = path.resolve(here, '../..')
const running = new Set()
const directories = new Set()

/** The suite's origin. */
export async function origin () {
  const script = createRequire(import.meta.url).resolve('http-cache-tests/server/server.mjs')
  const directory = temporary('origin')
  const [port] = await freePorts(1)
  const settings = { protocol: 'http', port: String(port), pidfile: path.join(directory, 'origin.pid') }
  const env = Object.fromEntries(Object.entries(settings).map(([key, value]) => [`npm_config_${key}`, value]))
  return start('origin', port, process.execPath, [script], { cwd: path.dirname(path.dirname(script)), directory, env })
}

/** The caches that can be measured: what each is called, its version if it is installed, and how it starts. */
export const caches = {
  hedgerow: {
    title: 'Hedgerow',
    version: binary => output(binary, ['--version'])?.match(/\d\S*/)?.[0],
    start: hedgerow
  },
  nginx: {
    title: 'nginx',
    version: () => output('nginx', ['-v'])?.match(/nginx\/(\S+)/)?.[1],
    start: nginx
  },
  varnish: {
    title: 'Varnish',
    version: () => output('varnishd', ['-V'])?.match(/varnish-(\S+)/)?.[1],
    start: varnish
  }
}

async function hedgerow (originPort, binary) {
  const directory = temporary('hedgerow')
  const [port] = await freePorts(1)
  // The file is what a user would write, with ports of its own; only these are replaced.
  const example = path.join(root, 'conf/examples/conformance.toml')
  const config = fill(readFileSync(example, 'utf8'), {
    '"127.0.0.1:8000"': `"127.0.0.1:${originPort}"`,
    '"127.0.0.1:8002"': `"127.0.0.1:${port}"`
  })
  const file = write(directory, 'hedgerow.toml', config)
  return start('hedgerow', port, binary, ['run', '--config', file], { directory })
}

async function nginx (originPort) {
  const directory = temporary('nginx')
  const [port] = await freePorts(1)
  const { username } = userInfo()
  const config = fill(readFileSync(path.join(here, 'peers/nginx.conf'), 'utf8'), {
    '@USER@': process.getuid() === 0 ? `user ${username};` : '',
    '@DIRECTORY@': directory,
    '@ORIGIN@': `127.0.0.1:${originPort}`,
    '@LISTEN@': `127.0.0.1:${port}`
  })
  const file = write(directory, 'nginx.conf', config)
  return start('nginx', port, command('nginx'), ['-e', 'stderr', '-p', directory, '-c', file], { directory })
}

async function varnish (originPort) {
  const directory = temporary('varnish')
  const [port] = await freePorts(1)
  const vcl = fill(readFileSync(path.join(here, 'peers/varnish.vcl'), 'utf8'), { '@ORIGIN_PORT@': String(originPort) })
  const file = write(directory, 'default.vcl', vcl)
  const parameters = readFileSync(path.join(here, 'peers/varnish.args'), 'utf8')
    .split('\n')
    .filter(line => line !== '' && !line.startsWith('#'))
    .flatMap(line => line.split(' '))
  const args = ['-F', '-j', 'none', '-n', path.join(directory, 'work'), '-a', `127.0.0.1:${port}`, '-f', file, ...parameters]
  return start('varnish', port, command('varnishd'), args, { directory })
}

/** Starts a process and waits until it answers HTTP. `{ name, port, base, log() }` */
async function start (name, port, program, args, { cwd, directory, env }) {
  const log = path.join(directory, 'output.log')
  const out = openSync(log, 'a')
  // A group of its own, so that workers go with their master.
  const child = spawn(program, args, {
    cwd: cwd ?? directory,
    detached: true,
    env: { ...process.env, ...env },
    stdio: ['ignore', out, out]
  })
  closeSync(out)
  let failure = null
  child.on('error', error => { failure = error.message })
  child.on('exit', (code, by) => {
    failure ??= `exited with ${by ?? code}`
    // What is left of its group, while the number can be nobody else's.
    signal(child, 'SIGKILL')
    running.delete(child)
  })
  running.add(child)
  const party = { name, port, base: `http://127.0.0.1:${port}`, log: () => readFileSync(log, 'utf8') }
  const deadline = Date.now() + READY_WITHIN
  while (!await answers(port)) {
    if (failure === null && Date.now() > deadline) failure = `did not answer within ${READY_WITHIN / 1000} s`
    if (failure !== null) throw new Error(`${name} ${failure}:\n${party.log().split('\n').slice(-20).join('\n')}`)
    await sleep(50)
  }
  return party
}

/** Ends every process that was started: politely first, then for certain. */
export async function stopAll () {
  for (const child of running) signal(child, 'SIGTERM')
  const deadline = Date.now() + GONE_WITHIN
  while (running.size > 0 && Date.now() < deadline) await sleep(50)
  killAll()
}

/** The same at once, for an exit that cannot wait. */
export function killAll () {
  for (const child of running) signal(child, 'SIGKILL')
  running.clear()
  for (const directory of directories) rmSync(directory, { recursive: true, force: true, maxRetries: 3 })
  directories.clear()
}

function signal (child, name) {
  if (child.pid === undefined) return
  try {
    process.kill(-child.pid, name)
  } catch (error) {
    // Gone already; EPERM is how some systems say that of a group in which only the dead are left.
    if (error.code !== 'ESRCH' && error.code !== 'EPERM') throw error
  }
}

function answers (port) {
  return new Promise(resolve => {
    const request = http.get({ port, host: '127.0.0.1', path: '/', agent: false, timeout: 1000 }, response => {
      response.resume()
      // The origin has an index page; 502 and 503 are those of a cache that does not reach it yet.
      response.on('end', () => resolve(response.statusCode < 500))
      response.on('error', () => resolve(false))
    })
    request.on('timeout', () => request.destroy())
    request.on('error', () => resolve(false))
  })
}

/** Ports that were free a moment ago: all are held at once, so that they differ. */
async function freePorts (count) {
  const servers = await Promise.all(Array.from({ length: count }, () => new Promise((resolve, reject) => {
    const server = net.createServer()
    server.on('error', reject)
    server.listen(0, '127.0.0.1', () => resolve(server))
  })))
  const ports = servers.map(server => server.address().port)
  await Promise.all(servers.map(server => new Promise(resolve => server.close(resolve))))
  return ports
}

/** Replaces every key; one that the text does not have is a mistake in the text. */
function fill (text, values) {
  for (const [key, value] of Object.entries(values)) {
    if (!text.includes(key)) throw new Error(`there is no ${key} in:\n${text}`)
    text = text.replaceAll(key, value)
  }
  return text
}

function temporary (name) {
  const directory = mkdtempSync(path.join(tmpdir(), `hedgerow-conformance-${name}-`))
  directories.add(directory)
  return directory
}

function write (directory, name, text) {
  const file = path.join(directory, name)
  writeFileSync(file, text)
  return file
}

/** Distributions put servers where the PATH of a user may not look. */
function command (name) {
  const found = spawnSync('sh', ['-c', `PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin" command -v ${name}`], { encoding: 'utf8' })
  return found.stdout.trim() || name
}

function output (program, args) {
  const run = spawnSync(command(program), args, { encoding: 'utf8' })
  return run.error ? undefined : run.stdout + run.stderr
}

function sleep (milliseconds) {
  return new Promise(resolve => setTimeout(resolve, milliseconds))
}
