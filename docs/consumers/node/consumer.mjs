// An example consumer: it discards duplicates, acknowledges handled events, and returns an event that it cannot handle.
//
//     npm ci && node consumer.mjs amqp://guest:guest@localhost
//
// The process exits with 1 when the connection or the queue is lost. Let systemd or Kubernetes start it again.
// docs/consumers.md has the policy with which RabbitMQ parks an event that was returned too often.

import { setTimeout as pause } from 'node:timers/promises'
import amqp from 'amqplib'

const PARKED = 'call-events.parked' // the exchange and the queue of events that were returned too often
const PREFETCH = 100 // messages that RabbitMQ sends before their acknowledgement
const PAUSE_MS = 1000 // before an event is returned; it must not come again at once
const REMEMBERED_MAX = 100_000

const [url = 'amqp://guest:guest@localhost', queue = 'call-events'] = process.argv.slice(2)
const seen = new Set()

async function handle(event) {
  console.log(event.call_id, event.event_type, event.timestamp)
}

async function take(channel, message) {
  const id = message.properties.messageId // a string: it has more digits than a number of JavaScript can hold
  if (seen.has(id)) return channel.ack(message)
  try {
    await handle(JSON.parse(message.content.toString('utf8')))
  } catch (error) {
    console.error(`event ${id}: ${error}`)
    await pause(PAUSE_MS)
    return channel.reject(message, true) // `nack` would not count against the delivery limit of RabbitMQ 4
  }
  if (id !== undefined) seen.add(id)
  if (seen.size > REMEMBERED_MAX) seen.delete(seen.values().next().value) // the oldest
  channel.ack(message)
}

function end(reason) {
  console.error(reason)
  process.exit(1)
}

const connection = await amqp.connect(url)
connection.on('error', () => {}) // 'close' follows, with the same reason
connection.on('close', (error) => end(`RabbitMQ closed the connection: ${error}`))
const channel = await connection.createChannel()
channel.on('error', (error) => end(`RabbitMQ closed the channel: ${error}`))

await channel.assertExchange(PARKED, 'fanout', { durable: true })
await channel.assertQueue(PARKED, { durable: true, arguments: { 'x-queue-type': 'quorum' } })
await channel.bindQueue(PARKED, PARKED, '')
await channel.checkQueue(queue) // the service declares it; `assertQueue` with other arguments fails with 406
await channel.prefetch(PREFETCH)

// amqplib does not wait for a handler. Each one therefore begins when the one before has ended, which keeps the order.
let last = Promise.resolve()
await channel.consume(queue, (message) => {
  if (message === null) return end('The queue was deleted.')
  last = last.then(() => take(channel, message)).catch(end)
})
