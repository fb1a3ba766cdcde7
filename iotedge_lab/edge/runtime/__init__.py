"""The IoT Edge runtime as a process: edge devices put together, hosted, and told what to do."""
