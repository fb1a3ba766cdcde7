"use strict";
// @azure/event-hubs: the built-in endpoint.

const { EventHubConsumerClient, earliestEventPosition } = require("@azure/event-hubs");

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
