"use strict";
// The vendor's Node SDKs behind a pipe: one call a line of JSON on standard input, one answer a line on standard
// output. `{"id", "call", "args"}` is answered `{"id", "value"}` or `{"id", "error": {...}}`; what comes unasked
// (messages, methods, patches) is `{"from", "what", "value"}`. The calls are those of devices.js, service.js and
// events.js. The test that starts this says what is to come back.

const readline = require("node:readline");

const told = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);
const tell = (from, what, value) => told({ from, what, value });
const calls = {
  ...require("./devices.js")(tell),
  ...require("./service.js")(tell),
  ...require("./events.js")(tell),
};

const described = (error) => ({
  name: error.name,
  message: error.message,
  status: error.response?.statusCode,
});

readline
  .createInterface({ input: process.stdin })
  .on("line", async (line) => {
    const { id, call, args } = JSON.parse(line);
    try {
      told({ id, value: (await calls[call](args)) ?? null });
    } catch (error) {
      told({ id, error: described(error) });
    }
  })
  .on("close", () => process.exit(0));

told({ from: "sdks", what: "ready", value: process.version });
