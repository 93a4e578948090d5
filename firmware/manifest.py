# Freezes the firmware into a MicroPython build:
#   make -C ports/esp32 BOARD=ESP32_GENERIC FROZEN_MANIFEST=/path/to/firmware/manifest.py
include("$(PORT_DIR)/boards/manifest.py")  # noqa: F821
package("drybag", base_path="lib")  # noqa: F821
package("handset", base_path="lib")  # noqa: F821
module("main.py")  # noqa: F821
