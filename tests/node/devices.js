"use strict";
// azure-iot-device with azure-iot-device-mqtt: devices and modules by name.

const { Client, ModuleClient, Message } = require("azure-iot-device");
const { Mqtt, MqttWs } = require("azure-iot-device-mqtt");
const { HttpsProxyAgent } = require("https-proxy-agent");

module.exports = (tell) => {
  const clients = new Map();
  const twins = new Map();
  const promised = (start) =>
    new Promise((resolve, reject) => start((error, value) => (error ? reject(error) : resolve(value))));
  const shown = (message) => {
    const { messageId, correlationId, contentType, contentEncoding } = message;
    const properties = {};
    for (let index = 0; index < message.properties.count(); index += 1) {
      const { key, value } = message.properties.getItem(index);
      properties[key] = value;
    }
    return { body: message.getData().toString(), properties, messageId, correlationId, contentType, contentEncoding };
  };

  return {
    async connect({ name, connectionString, websocket = false, proxy = null }) {
      const kind = connectionString.includes("ModuleId=") ? ModuleClient : Client;
      const client = kind.fromConnectionString(connectionString, websocket ? MqttWs : Mqtt);
      if (proxy) await client.setOptions({ mqtt: { webSocketAgent: new HttpsProxyAgent(proxy) } });
      clients.set(name, client);
      client.on("disconnect", () => tell(name, "disconnect", null));
      client.on("error", (error) => tell(name, "error", error.message));
      await client.open();
    },
    async listen({ name }) {
      const client = clients.get(name);
      client.on("message", (message) => {
        tell(name, "message", shown(message));
        client.complete(message, () => {});
      });
    },
    async send({ name, body, system = {}, properties = {} }) {
      const message = new Message(body);
      Object.assign(message, system);
      for (const [key, value] of Object.entries(properties)) message.properties.add(key, value);
      await clients.get(name).sendEvent(message);
    },
    async sendOutput({ name, output, body }) {
      await clients.get(name).sendOutputEvent(output, new Message(body));
    },
    // Answers `method` with `status` and what it was called with.
    async onMethod({ name, method, status }) {
      const client = clients.get(name);
      (client.onDeviceMethod ?? client.onMethod).call(client, method, (request, response) => {
        response.send(status, { echo: request.payload }, (error) => {
          tell(name, error ? "error" : "method", error ? error.message : request.methodName);
        });
      });
      // As for the twin below; and there is no public name for it.
      await promised((done) => client._enableMethods(done));
    },
    async twin({ name }) {
      const twin = await clients.get(name).getTwin();
      if (!twins.has(name)) {
        twins.set(name, twin);
        twin.on("properties.desired", (patch) => tell(name, "desired", patch));
        // `on` subscribes without waiting for the hub's word; a patch of that moment would go by unheard.
        await promised((done) => twin.enableTwinDesiredPropertiesUpdates(done));
      }
      const { desired, reported } = JSON.parse(JSON.stringify(twin.properties));
      return { desired, reported };
    },
    async report({ name, patch }) {
      await promised((done) => twins.get(name).properties.reported.update(patch, done));
    },
    async close({ name }) {
      const client = clients.get(name);
      clients.delete(name);
      twins.delete(name);
      await client.close();
    },
  };
};
