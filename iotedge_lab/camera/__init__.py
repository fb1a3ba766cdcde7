"""The camera: the road it sees, its videos, the detector that looks at them, and what the filter makes of that.

    scene, frames, video    frames, rendered or from a folder of one's own, to video files and back
    model, detector         the pretrained network (conversion, onnx_file, tflite, boxes serve them; scoring judges it)
    motion, events          motion first; boxes of many frames become events
    looking                 the filter's chain, without a hub
    pictures, plates        pictures for a person to see; number plates

Imports nothing by itself. Needs the extra `camera`: numpy, opencv-python-headless, and onnxruntime for the
detector alone; `libraries` says so in words where one is missing.
"""
