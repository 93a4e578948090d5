"""The emulated board: a real MicroPython which sees an ESP32 and its NOR flash."""
