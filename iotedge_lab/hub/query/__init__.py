"""The query language of an IoT Hub over its twins and jobs: `Queries` runs what a service asks.

Stands for "IoT Hub query language for device and module twins, jobs, and message routing" and "Queries for IoT Hub
device and module twins" (learn.microsoft.com, IoT Hub, iot-hub-devguide-query-language and query-twins), POST
`/devices/query`. A query is read by a grammar (`grammar`), compiled to SQL over the store (`document`, `functions`,
`sql`, `statement`) and run on a thread of its own (`reader`), so that no message waits for it.
"""
