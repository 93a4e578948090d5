import gc

gc.threshold(4096)  # what stays is loaded side by side, not spread over the heap
from handset.app import main  # noqa: E402

main()
