"""The IoT Edge runtime: agent, hub, workload API, simulator. It talks to the IoT Hub only as an edge device does."""
