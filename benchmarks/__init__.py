"""How fast the lab's hub is, beside Mosquitto where that is installed: `python -m benchmarks`.

Each measurement is a module with `NAME`, `TITLE` and `run(setting) -> list[Row]`. Load comes from processes of its
own (`raw_sender`, `sdk_sender`, `event_reader`), the same for both servers, so neither pays for its client.
"""
