"""Jobs: a twin update or a direct method for all devices that meet a condition, at a time that is set.

Stands for "Schedule jobs on multiple devices" (learn.microsoft.com, IoT Hub, iot-hub-devguide-jobs) and "Queries for
IoT Hub jobs" (query-jobs). A job (`job`) is kept in the store (`book`) with what came of it for each device
(`targets`), and carried out beside the messages (`runner`).

Left out: the import and export of identities (`/jobs/create`), which is another service's on Azure too.
"""
