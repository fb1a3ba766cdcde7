"""Automatic configurations of devices and modules, and IoT Edge deployments.

Stands for "Automatic IoT device and module management" (learn.microsoft.com, IoT Hub,
iot-hub-automatic-device-management) and "Understand IoT Edge automatic deployments for single devices or at scale"
(IoT Edge, module-deployment-monitoring). A configuration (`configuration`) has a target condition (`target`), a
content (`content`) and metrics (`metrics`); `Configurations` (`book`) keeps them, and the rollout (`rollout`) sets the
twins that they target, worked out in `composing`, whenever a twin or a configuration changes.
"""
