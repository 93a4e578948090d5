import rom_boot

rom_boot.boot(globals())
del rom_boot
