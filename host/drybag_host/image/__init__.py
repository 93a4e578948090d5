"""Flash images: partition tables, LittleFS file systems, whole images."""
