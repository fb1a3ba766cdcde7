"use strict";
// azure-iothub: the registry, twins, methods, jobs (HTTPS, port 443) and cloud-to-device messages (AMQP).

const { Amqp, AmqpWs, Client, JobClient, Registry } = require("azure-iothub");
const { Message } = require("azure-iot-common");

module.exports = (tell) => {
  let connectionString;
  let registry;
  const clients = new Map();

  return {
    async service(args) {
      connectionString = args.connectionString;
      registry = Registry.fromConnectionString(connectionString);
    },
    // Any method of the registry that gives a promise: create, get, update, delete, addModule, updateTwin, ...
    async registry({ method, args }) {
      return (await registry[method](...args)).responseBody;
    },
    async invoke({ device, module, params }) {
      const to = module ? [device, module] : [device];
      return (await Client.fromConnectionString(connectionString).invokeDeviceMethod(...to, params)).result;
    },
    // Any method of the job client: scheduleTwinUpdate, scheduleDeviceMethod, getJob, cancelJob.
    async jobs({ method, args }) {
      return (await JobClient.fromConnectionString(connectionString)[method](...args)).jobStatus;
    },
    // The pages of a query: of jobs by type and status, or of the query language.
    async pages({ text, type, status, size }) {
      const query = text
        ? registry.createQuery(text, size)
        : JobClient.fromConnectionString(connectionString).createQuery(type, status, size);
      const pages = [];
      while (query.hasMoreResults) pages.push((await query.next(query.continuationToken)).result);
      return pages;
    },
    async open({ name, websocket = false }) {
      const client = Client.fromConnectionString(connectionString, websocket ? AmqpWs : Amqp);
      clients.set(name, client);
      client.on("disconnect", () => tell(name, "disconnect", null));
      await client.open();
    },
    async sendTo({ name, device, body, system = {}, properties = {} }) {
      const message = new Message(body);
      Object.assign(message, system);
      for (const [key, value] of Object.entries(properties)) message.properties.add(key, value);
      await clients.get(name).send(device, message);
    },
    async feedback({ name }) {
      const { result: receiver } = await clients.get(name).getFeedbackReceiver();
      receiver.on("error", (error) => tell(name, "error", error.message));
      receiver.on("message", (message) => {
        tell(name, "feedback", JSON.parse(message.getData().toString()));
        receiver.complete(message, () => {});
      });
    },
    async closeService({ name }) {
      const client = clients.get(name);
      clients.delete(name);
      await client.close();
    },
  };
};
