// The client of npm's bittorrent-tracker, on which WebTorrent is built, asks a tracker for all that it can ask.
//
//     node client.mjs MODULES URL ADDRESS
//
// MODULES is the folder that it is installed in (tests/e2e/npm/install), ADDRESS that of the host it runs on. It ends
// with 0 when every reply is what it should be.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'

const [modules, announce, address] = process.argv.slice(2)
const { default: Client } = await import(pathToFileURL(join(modules, 'bittorrent-tracker/client.js')))

const INFO_HASH = '20'.repeat(20)
// Of which the tracker has never heard, and whose bytes mean something in a URL.
const UNKNOWN = '2b26253d3f232f20'.repeat(2) + '00ff0a41'
const SECONDS = 15

class Peer {
  constructor(id, port) {
    this.port = port
    this.client = new Client({ infoHash: INFO_HASH, peerId: Buffer.from(id.padEnd(20, '-')), announce, port })
    this.peers = []
    this.client.on('peer', peer => this.peers.push(peer))
  }

  // What the tracker replies; an error or a warning is a failure.
  async ask(method, options) {
    this.peers = []
    const reply = this.reply(method === 'scrape' ? 'scrape' : 'update', method)
    this.client[method](options)
    const { complete, incomplete, downloaded } = await reply
    // Peers are told of after the reply.
    await new Promise(resolve => setImmediate(resolve))
    return { complete, incomplete, ...(method === 'scrape' && { downloaded }) }
  }

  async reply(event, what) {
    const signal = AbortSignal.timeout(SECONDS * 1000)
    const warning = once(this.client, 'warning', { signal }).then(([warning]) => {
      throw new Error(`${what}: ${warning.message}`)
    })
    warning.catch(() => {})
    const [reply] = await Promise.race([once(this.client, event, { signal }), warning])
    return reply
  }
}

// What the tracker says of several torrents, by info hash.
function scrape(infoHashes) {
  // Over UDP the client takes bytes alone, over HTTP digits alone.
  const infoHash = announce.startsWith('udp:') ? infoHashes.map(digits => Buffer.from(digits, 'hex')) : infoHashes
  return new Promise((resolve, reject) => {
    Client.scrape({ announce, infoHash }, (error, results) => (error ? reject(error) : resolve(results)))
  })
}

function counts(results, infoHash) {
  // Over HTTP the client gives a hash that is no text its digits, and these their digits once more.
  const { complete, incomplete, downloaded } = results[infoHash] ?? results[Buffer.from(infoHash).toString('hex')]
  return { complete, incomplete, downloaded }
}

const seeder = new Peer('-E2E001-seeder', 7001)
const leecher = new Peer('-E2E001-leecher', 7002)
const at = peer => `${address.includes(':') ? `[${address}]` : address}:${peer.port}`

assert.deepEqual(await seeder.ask('scrape'), { complete: 0, incomplete: 0, downloaded: 0 }, 'nobody is there')
assert.deepEqual(await seeder.ask('start', { left: 0 }), { complete: 1, incomplete: 0 }, 'the seeder starts')
assert.deepEqual(seeder.peers, [], 'the seeder is alone')
assert.deepEqual(await leecher.ask('start', { left: 5 }), { complete: 1, incomplete: 1 }, 'the leecher starts')
assert.deepEqual(leecher.peers, [at(seeder)], 'the leecher is handed the seeder')
assert.deepEqual(await seeder.ask('update', { left: 0, uploaded: 3 }), { complete: 1, incomplete: 1 }, 'update')
assert.deepEqual(seeder.peers, [at(leecher)], 'the seeder is handed the leecher')
assert.deepEqual(await leecher.ask('complete', { left: 0, downloaded: 5 }), { complete: 2, incomplete: 0 }, 'complete')
assert.deepEqual(await leecher.ask('scrape'), { complete: 2, incomplete: 0, downloaded: 1 }, 'scrape')
const several = await scrape([INFO_HASH, UNKNOWN])
assert.deepEqual(counts(several, INFO_HASH), { complete: 2, incomplete: 0, downloaded: 1 }, 'multi-scrape')
assert.deepEqual(counts(several, UNKNOWN), { complete: 0, incomplete: 0, downloaded: 0 }, 'multi-scrape: unknown')
await leecher.ask('stop', { left: 0 })
assert.deepEqual(await seeder.ask('scrape'), { complete: 1, incomplete: 0, downloaded: 1 }, 'the leecher has left')
await seeder.ask('stop', { left: 0 })
assert.deepEqual(await leecher.ask('scrape'), { complete: 0, incomplete: 0, downloaded: 1 }, 'both have left')
for (const { client } of [seeder, leecher]) client.destroy()
