"use strict";
// @azure/event-hubs: the built-in endpoint; and the way to it from the hub's name, as its sample finds it.

const { createHmac } = require("node:crypto");
const { EventHubConsumerClient, earliestEventPosition } = require("@azure/event-hubs");
const { Connection, ReceiverEvents } = require("rhea-promise"); // the AMQP library of the former

// The sample iothubConnectionString of @azure/event-hubs: a receiver at the hub's own address meets a redirect.
async function endpointOf(connectionString) {
  const parts = Object.fromEntries(connectionString.split(";").map((part) => part.split(/=(.*)/s).slice(0, 2)));
  const { HostName: host, SharedAccessKeyName: policy, SharedAccessKey: key } = parts;
  const resource = encodeURIComponent(`${host}/messages/events`);
  const expiry = Math.ceil(Date.now() / 1000) + 300;
  const signed = createHmac("sha256", Buffer.from(key, "base64")).update(`${resource}\n${expiry}`).digest("base64");
  const connection = new Connection({
    transport: "tls",
    host,
    hostname: host,
    username: `${policy}@sas.root.${host.split(".")[0]}`,
    port: 5671,
    reconnect: false,
    password: `SharedAccessSignature sr=${resource}&sig=${encodeURIComponent(signed)}&se=${expiry}&skn=${policy}`,
  });
  await connection.open();
  try {
    const receiver = await connection.createReceiver({
      source: { address: `amqps://${host}/messages/events/$management` },
    });
    const error = await new Promise((resolve) => {
      receiver.on(ReceiverEvents.receiverError, (context) => resolve(context.receiver.error));
    });
    if (error.condition !== "amqp:link:redirect") throw new Error(`${error.condition}: ${error.description}`);
    const entity = /:\d+\/(.*)\/\$management/i.exec(error.info.address)[1];
    return `Endpoint=sb://${error.info.hostname}/;EntityPath=${entity};SharedAccessKeyName=${policy};SharedAccessKey=${key}`;
  } finally {
    await connection.close().catch(() => {});
  }
}

module.exports = (tell) => {
  const consumers = new Map();
  const shown = (event, partition) => ({
    body: Buffer.isBuffer(event.body) ? event.body.toString() : event.body,
    properties: event.properties ?? {},
    system: event.systemProperties ?? {},
    messageId: event.messageId,
    contentType: event.contentType,
    sequenceNumber: event.sequenceNumber,
    offset: event.offset,
    enqueued: event.enqueuedTimeUtc,
    partition,
  });

  return {
    async endpoint({ connectionString }) {
      return endpointOf(connectionString);
    },
    async consume({ name, connectionString, group = "$Default" }) {
      const client = new EventHubConsumerClient(group, connectionString);
      const subscription = client.subscribe(
        {
          processEvents: async (events, { partitionId }) =>
            events.forEach((event) => tell(name, "event", shown(event, partitionId))),
          processError: async (error) => tell(name, "error", `${error.name}: ${error.message}`),
        },
        { startPosition: earliestEventPosition, maxBatchSize: 50, maxWaitTimeInSeconds: 1 },
      );
      consumers.set(name, { client, subscription });
    },
    async partitions({ name }) {
      const { client } = consumers.get(name);
      const { name: hub, partitionIds } = await client.getEventHubProperties();
      return { hub, partitions: await Promise.all(partitionIds.map((id) => client.getPartitionProperties(id))) };
    },
    async stopConsuming({ name }) {
      const { client, subscription } = consumers.get(name);
      consumers.delete(name);
      await subscription.close();
      await client.close();
    },
  };
};
