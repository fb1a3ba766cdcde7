"""What the vendors' clients leave behind is collected where it was made, and fails no test that comes later."""

import gc
import warnings


def collect_leftovers():
    """Collect now. paho-mqtt 1.6 forgets a socket pair for each connection; whoever collects it hears of it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"unclosed <(socket\.socket|ssl\.SSLSocket)", ResourceWarning)
        gc.collect()
